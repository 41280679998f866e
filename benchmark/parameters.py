"""What a parameter of a plugin may be: the range or the choices in the metadata of its field.

    epochs: int = bounded(50, low=1)
    momentum: float = bounded(0.9, low=0, below=1)
    score: str = one_of("cos", "softmax")          the first is the default

A field without either takes the usual range of its name, where it has one, so that a plugin that
calls its parameters as everybody does need not say anything.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import TypeVar

Default = TypeVar("Default")
KEY = "allowed"  # in the metadata of a field


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included, or strictly `above` and `below`."""

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and self.above < value < self.below

    def __str__(self) -> str:
        ends = {"from": self.low, "above": self.above, "up to": self.high, "below": self.below}
        return " and ".join(f"{word} {end:g}" for word, end in ends.items() if math.isfinite(end))


@dataclass(frozen=True)
class OneOf:
    """Some texts."""

    choices: tuple[str, ...]

    def __contains__(self, value: str) -> bool:
        return value in self.choices

    def __str__(self) -> str:
        return "one of " + ", ".join(map(repr, self.choices))


def bounded(
    default: Default,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> Default:
    """A field with a range, of a number or of a tuple of numbers."""
    allowed = Range(low, high, above, below)
    return dataclasses.field(default=default, metadata={KEY: allowed})


def one_of(default: str, *others: str) -> str:
    """A field that takes one of these texts, the first unless another is said."""
    return dataclasses.field(default=default, metadata={KEY: OneOf((default, *others))})


AT_LEAST_ONE, POSITIVE, NOT_NEGATIVE = Range(low=1, high=1e9), Range(above=0), Range(low=0)
USUAL: dict[str, Range | OneOf] = {
    "epochs": AT_LEAST_ONE,
    "batch_size": AT_LEAST_ONE,
    "context_length": AT_LEAST_ONE,
    "copies": NOT_NEGATIVE,
    "draws": POSITIVE,
    "learning_rate": POSITIVE,
    "momentum": Range(low=0, below=1),
    "weight_decay": NOT_NEGATIVE,
    "label_smoothing": Range(low=0, below=1),
    "dropout": Range(low=0, below=1),
    "margin": Range(low=0, below=1),
    "gamma_positive": NOT_NEGATIVE,
    "gamma_negative": NOT_NEGATIVE,
    "loss_weight": NOT_NEGATIVE,
    "temperature": POSITIVE,
    "known": Range(above=0, high=1),
    "val_fraction": Range(low=0, below=1),
    "augment": OneOf(("", "flip", "dualcoop")),
}


def check(plugin: str, field: dataclasses.Field[object], value: object) -> None:
    """Raises `ValueError` that says what is allowed when the value is outside."""
    allowed = field.metadata.get(KEY) or USUAL.get(field.name)
    for one in value if isinstance(value, tuple) else (value,):
        if isinstance(one, float) and not math.isfinite(one):
            raise ValueError(f"{plugin}: {field.name}={one!r} is no finite number")
        if isinstance(allowed, Range) and isinstance(one, int | float) and one not in allowed:
            raise ValueError(f"{plugin}: {field.name}={value!r} should be {allowed}")
        if isinstance(allowed, OneOf) and isinstance(one, str) and one not in allowed:
            raise ValueError(f"{plugin}: {field.name}={value!r} should be {allowed}")
