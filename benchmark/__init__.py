"""The engine of the suite; it names no method and no setting.

A plugin finds the whole contract here: `import benchmark`, then `class Method(benchmark.Method)`.
"""

from benchmark.parameters import bounded, one_of
from benchmark.task import (
    ABSENT,
    PRESENT,
    UNKNOWN,
    Clip,
    Criterion,
    Dataset,
    Labels,
    Member,
    Method,
    Part,
    Preset,
    Presets,
    Prompts,
    Run,
    Setting,
    Task,
    View,
    seed_for,
    upload,
)

__version__ = "0.1.0"

__all__ = [
    "ABSENT",
    "PRESENT",
    "UNKNOWN",
    "Clip",
    "Criterion",
    "Dataset",
    "Labels",
    "Member",
    "Method",
    "Part",
    "Preset",
    "Presets",
    "Prompts",
    "Run",
    "Setting",
    "Task",
    "View",
    "bounded",
    "one_of",
    "seed_for",
    "upload",
]
