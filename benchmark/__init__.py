"""The engine of the suite; it names no method and no setting.

A plugin finds the whole contract here: `import benchmark`, then `class Method(benchmark.Method)`.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from benchmark.task import (
        ABSENT,
        PRESENT,
        UNKNOWN,
        Clip,
        Criterion,
        Dataset,
        Labels,
        Method,
        Part,
        Presets,
        Prompts,
        Run,
        Setting,
        Task,
        View,
        seed_for,
    )

__all__ = [
    "ABSENT",
    "PRESENT",
    "UNKNOWN",
    "Clip",
    "Criterion",
    "Dataset",
    "Labels",
    "Method",
    "Part",
    "Presets",
    "Prompts",
    "Run",
    "Setting",
    "Task",
    "View",
    "seed_for",
]

if not TYPE_CHECKING:  # a type checker would take any name for one that exists

    def __getattr__(name: str) -> object:
        """Loads the contract when it is first asked for: a supervisor starts without torch."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module("benchmark.task"), name)
