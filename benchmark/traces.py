"""What a run left changed in its process: the next run must not find it.

Callables that were replaced (`F.logsigmoid = mine`), the working folder, the environment, torch's
switches. What a run adds, such as modules that it imports, touches nobody.
"""

import os
import sys
import threading
import types
from collections.abc import Mapping

LIBRARIES = (
    "builtins", "math", "random", "time", "numpy", "numpy.random", "torch", "torch.nn",
    "torch.nn.functional", "torch.nn.init", "torch.optim", "torch.linalg",
)  # fmt: skip
CLASSES = ("Tensor", "Module", "Generator")  # of those, whose methods are looked at as well
PROJECT = ("benchmark", "methods", "settings")
ENGINE = ("benchmark.metrics", "benchmark.run.", "benchmark.store")  # what scores and records a run
SWITCHES = (
    "get_default_dtype", "get_num_threads", "is_grad_enabled", "get_float32_matmul_precision",
    "are_deterministic_algorithms_enabled", "is_anomaly_enabled",
)  # fmt: skip


def state() -> dict[str, object]:
    """Name -> value or identity of everything that a run could change for the next one."""
    environment = {k: v for k, v in os.environ.items() if k != "LOWLABEL_DATA"}  # set by every run
    found: dict[str, object] = {"threads": threading.active_count(), "environ": environment}
    try:
        found["the working folder"] = os.getcwd()
    except FileNotFoundError:
        found["the working folder"] = ""
    torch = sys.modules.get("torch")
    for switch in SWITCHES if torch is not None else ():
        found[f"torch.{switch}"] = getattr(torch, switch)()
    for name, module in list(sys.modules.items()):
        ours = name.partition(".")[0] in PROJECT
        if ours or name in LIBRARIES:
            found |= _callables(name, vars(module), deep=ours)
    return found


def engine() -> dict[str, object]:
    """As `state`, of the code that scores a run and writes its record."""
    found: dict[str, object] = {}
    for name, module in list(sys.modules.items()):
        if name.startswith(ENGINE):
            found |= _callables(name, vars(module), deep=True)
    return found


def _callables(name: str, names: Mapping[str, object], deep: bool) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in list(names.items()):
        if isinstance(value, type) and (deep or key in CLASSES):
            found |= _callables(f"{name}.{key}", dict(vars(value)), deep=False)
        if callable(value) and not isinstance(value, types.ModuleType):
            found[f"{name}.{key}"] = id(value)
    return found


def left(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """The names of what is not as it was."""
    return [name for name, value in before.items() if after.get(name) != value]
