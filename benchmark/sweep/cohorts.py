"""How many runs of a cohort a slot takes at once."""

import math
from collections.abc import Sequence

from benchmark.spec import Job

LARGEST = 64  # a process holds a descriptor for each, and more gain nothing that was measured


def part(alike: Sequence[Job], left: Sequence[Job], slots: int, most: int = 0) -> int:
    """Of the runs `alike`, so many as one slot should compute as one while all of `left` are to be
    done; `most` > 0 limits it.

    Equal parts, none longer than 1 / (2 · slots) of the time that is left, so that at the end no
    slot waits long for another (factoring: Hummel, Schonberg and Flynn 1992), and none smaller than
    what every slot gets when all of them turn to these runs: as one they take less time.
    """
    limit = sum(map(_seconds, left)) / (2 * slots)
    fit = max(1, int(limit * len(alike) / sum(map(_seconds, alike))))
    parts = min(slots, math.ceil(len(alike) / fit))
    return min(math.ceil(len(alike) / parts), most or LARGEST)


def _seconds(job: Job) -> float:
    return max(job.seconds, 1e-3)
