"""What a run cost: seconds of its phases, peak memory, and the device it had to share."""

import contextlib
import ctypes
import gc
import os
import platform
import re
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from benchmark.store import Cost


class Meter:
    """`with meter.phase("fit"): …` adds up seconds; memory counts from the creation of the meter.

    One child serves many runs: what earlier ones left behind is handed back here, as far as the
    system lets us, and what remains (the libraries, a parsed data set) is taken off the peak.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.cohort = 1  # runs that were fitted as one; each has its equal share of the seconds
        self.seconds = {"feature": 0.0, "fit": 0.0, "predict": 0.0}
        self.extraction = 0.0  # seconds of the stored features, also of those that others computed
        gc.collect()
        with contextlib.suppress(AttributeError, OSError):  # glibc keeps what was freed
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):  # Linux; elsewhere the peak is that of the process
            Path("/proc/self/clear_refs").write_text("5")
        self.ram_before = psutil.Process().memory_info().rss
        if self.device.type == "cuda":
            # a fresh child: nothing has touched CUDA yet, and without this the reset refuses
            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats(self.device)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts the seconds of the block as `name`: "feature", "fit" or "predict"; waits for the
        GPU to finish."""
        start = time.perf_counter()
        try:
            yield
        finally:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.seconds[name] += time.perf_counter() - start

    def cost(self, trainable_parameters: int = 0) -> Cost:
        """The `cost` of a record. MB are 10⁶ bytes; `peak_ram_mb` is what the run needed on top of
        `ram_before_mb`, which its process held already; `peak_gpu_mb` is 0 without a GPU."""
        on_gpu = self.device.type == "cuda"
        return {
            "feature_s": round(self.seconds["feature"], 4),
            "extraction_s": round(self.extraction, 4),
            "fit_s": round(self.seconds["fit"], 4),
            "predict_s": round(self.seconds["predict"], 4),
            "peak_ram_mb": round(max(0, peak_ram_bytes() - self.ram_before) / 1e6, 1),
            "ram_before_mb": round(self.ram_before / 1e6, 1),
            "peak_gpu_mb": round(torch.cuda.max_memory_allocated(self.device) / 1e6, 1)
            if on_gpu
            else 0.0,
            "trainable_parameters": trainable_parameters,
            "cohort": self.cohort,
            "device": torch.cuda.get_device_name(self.device) if on_gpu else processor_name(),
            "threads": torch.get_num_threads(),
            # set by the scheduler, see devices.Slot
            "shared_by": int(os.environ.get("LOWLABEL_SHARED_BY", "1")),
        }


def peak_ram_bytes() -> int:
    """The most memory this process held at once since the last reset."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if found is not None:
        return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def processor_name() -> str:
    """The model of the CPU, as exactly as the system tells."""
    information = Path("/proc/cpuinfo")
    model = (
        re.search(r"model name\s*:\s*(.+)", information.read_text())
        if information.exists()
        else None
    )
    return model[1].strip() if model else platform.processor() or platform.machine()
