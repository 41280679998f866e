"""What stands in a table: numbers, not text. Text is made by the format that is asked for."""

import math
from dataclasses import dataclass

from reports.columns import Column
from reports.statistics import Interval, Verdict

BLOCKS = {
    "last": "Last epoch",
    "val": "Epoch chosen on val",
    "oracle": "Oracle: epoch chosen on test, not ranked",
    "published": "Published",
}
MARKS = {  # behind a number, and what they mean
    "s": "computed by older code",
    "~": "undecided: below the best on these test images, but the seeds scatter too much to tell "
    "whether it is in general; more seeds would",
    "≠": "no seed in common with the best: not compared",
    "?": "its scores are gone: not compared",
    "↓": "below zero-shot CLIP, although it was trained",
    "†": "second hand",
}


@dataclass(frozen=True)
class Measured:
    """A mean over seeds. `verdict` is None where no test was made."""

    interval: Interval
    planned: int  # seeds
    runs: tuple[str, ...] = ()  # ids
    values: tuple[tuple[int, float], ...] = ()  # (seed, value)
    verdict: Verdict | None = None
    best: bool = False  # bold: the best, or not distinguishable from it
    second: bool = False
    flags: tuple[str, ...] = ()  # keys of MARKS

    @property
    def text(self) -> str:
        return f"{self.interval.mean:.1f}"

    @property
    def sd(self) -> str:
        return "" if math.isnan(self.interval.sd) else f"{self.interval.sd:.1f}"

    @property
    def marks(self) -> tuple[str, ...]:
        """ "1/3" (seeds) and flags."""
        incomplete = self.interval.n < self.planned
        return (f"{self.interval.n}/{self.planned}",) * incomplete + self.flags


@dataclass(frozen=True)
class Number:
    """A single number: a published one, a cost, a gap."""

    value: float
    form: str = ".1f"
    flags: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return format(self.value, self.form)

    @property
    def marks(self) -> tuple[str, ...]:
        return self.flags


@dataclass(frozen=True)
class Words:
    text: str


@dataclass(frozen=True)
class Missing:
    """A hole, and why."""

    reason: str
    runs: tuple[str, ...] = ()
    command: str = ""

    @property
    def short(self) -> str:
        """What fits where a number would stand."""
        starts = ("n/a", "failed", "crashed", "timeout", "todo")
        return next((start for start in starts if self.reason.startswith(start)), "–")


Cell = Measured | Number | Words | Missing


def value(cell: Cell) -> float:
    """The number of a cell, nan without one."""
    if isinstance(cell, Measured):
        return cell.interval.mean
    return cell.value if isinstance(cell, Number) else math.nan


@dataclass(frozen=True)
class Row:
    """`block` is a selection, "published" or "" (a line about the table)."""

    label: str
    block: str
    cells: tuple[Cell, ...]
    method: str = ""  # label of a measured method, for hiding it
    note: str = ""  # where it comes from

    @property
    def everywhere(self) -> str:
        """The one reason why all of its cells are empty, or ""."""
        reasons = {cell.reason if isinstance(cell, Missing) else "" for cell in self.cells}
        return reasons.pop() if len(reasons) == 1 else ""


@dataclass(frozen=True)
class Table:
    """`place` is the part of the page that shows the table; `metric` says what its numbers are."""

    name: str
    title: str
    place: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    metric: str = ""
    first: str = "Method"  # header of the labels

    @property
    def caption(self) -> str:
        return f"{self.title}. {self.metric}" if self.metric else self.title

    @property
    def all_notes(self) -> list[str]:
        """The notes, and the meaning of every mark that occurs."""
        used: dict[str, None] = {}
        for row in self.rows:
            for cell in row.cells:
                if isinstance(cell, Measured | Number):
                    used |= dict.fromkeys(cell.marks)
        meanings = [f"{mark}: {MARKS[mark]}" for mark in MARKS if mark in used]
        if any("/" in mark for mark in used):
            meanings.insert(0, "a/b: a of b planned seeds")
        return [*self.notes, *(["; ".join(meanings) + "."] if meanings else [])]
