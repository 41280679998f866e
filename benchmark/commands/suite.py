"""What a command compares unless flags say otherwise."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmark.spec import Value

MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Suite:
    """The defaults of the axes; `run_all.py` holds the two that ship."""

    methods: tuple[str, ...]
    settings: tuple[str, ...]
    seeds: str  # as on the command line: "0-2"
    # setting -> the data sets it is run on when they are there
    datasets: dict[str, tuple[str, ...]]
    # setting -> parameter -> its values, for a setting named without that parameter
    sweeps: Mapping[str, Mapping[str, Sequence[Value]]] = field(default_factory=dict)


def parse_seeds(text: str) -> tuple[int, ...]:
    """ "0-2,7" -> (0, 1, 2, 7)."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", part.strip())
        if match is None:
            raise ValueError(f"Cannot read the seeds {text[:80]!r}. Write 0-4 or 0,3.")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < first + MOST_SEEDS:
            raise ValueError(
                f"The seeds {part} are {'none' if last < first else 'too many'}: write the smaller "
                f"number first, at most {MOST_SEEDS:,} of them."
            )
        seeds.extend(range(first, last + 1))
    return tuple(dict.fromkeys(seeds))
