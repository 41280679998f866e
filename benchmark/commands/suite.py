"""What a command compares unless flags say otherwise."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Suite:
    """The defaults of the axes; `run_all.py` holds the two that ship."""

    methods: tuple[str, ...]
    settings: tuple[str, ...]
    seeds: str  # as on the command line: "0-2"
    # setting -> the data sets it is run on when they are there
    datasets: dict[str, tuple[str, ...]]
    # setting -> parameter -> its values, for a setting named without that parameter
    sweeps: dict[str, dict[str, list[Any]]] = field(default_factory=dict)


def parse_seeds(text: str) -> tuple[int, ...]:
    """ "0-2,7" -> (0, 1, 2, 7)."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"Cannot read the seeds {text!r}. Write 0-4 or 0,3.")
        seeds.extend(range(int(first), int(last if dash else first) + 1))
    return tuple(dict.fromkeys(seeds))
