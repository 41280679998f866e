"""Two ways to the same result in one process, in turn, on one thread: seconds, error, rate,
memory.

Processor seconds of the process: other programs on the machine matter less than to the clock, but
they still share its caches. Ratios of one run are worth more than seconds of two.
"""

import ctypes
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.clip import frozen_linear

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def seconds(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The median of each, called in turn, after one call of each that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if turn or repeats == 0:
                times[name].append(time.process_time() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def peak_mb(function: Callable[[], object]) -> float:
    """The most memory that a call holds on top of what the process holds before; nan where the
    kernel does not say."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what earlier calls have freed would hide what this takes
        CLEAR.write_text("5")
    except (OSError, AttributeError):
        return float("nan")
    before = _kb("VmRSS")
    function()
    return (_kb("VmHWM") - before) / 1000


def _kb(name: str) -> int:
    return int(STATUS.read_text().partition(f"{name}:")[2].split()[0])


def peak_gflops() -> dict[str, float]:
    """float32 products of 512 × 1024 × 1024 by each library of torch's, the best of some calls."""
    x, weight = torch.randn(512, 1024), torch.randn(1024, 1024)
    products: dict[str, Callable[[], Tensor]] = {"plain": lambda: F.linear(x, weight)}
    try:
        packed = frozen_linear._pack(weight)
        products["packed"] = lambda: frozen_linear._product(x, packed, None)
    except Exception:
        pass  # no such operator in this torch
    rates = {}
    for name, product in products.items():
        times = []
        for _ in range(10):
            start = time.process_time()
            product()
            times.append(time.process_time() - start)
        rates[name] = 2 * 512 * 1024 * 1024 / min(times) / 1e9
    return rates


def relative(actual: Tensor, expected: Tensor) -> float:
    """‖actual - expected‖ / ‖expected‖."""
    return ((actual - expected).norm() / expected.norm()).item()
