"""What the columns of a group's table are, and the number of a run in a column."""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reports.groups import Group, Level, Line, Result

FAMILY_TITLES = {
    "partial": "Partial labels",
    "zero_shot": "Zero-shot classes",
    "long_tail": "Long tail",
}
AT_K = ("P@3", "R@3", "F1@3", "F1@5")


@dataclass(frozen=True)
class Column:
    """A metric of a view at a level; `published` is the name of the column in papers' tables."""

    label: str
    level: Level | Literal["avg"] = None
    view: str = "all"
    metric: str = "mAP"
    top: str = ""
    published: str = ""

    @property
    def text(self) -> str:
        return " ".join(filter(None, [self.top, self.label]))

    @property
    def key(self) -> str:
        """What `significance` knows the number by; "" where nothing is tested."""
        tested = self.metric in ("mAP", "harmonic", *AT_K)
        return f"{self.view}/{self.metric}" if tested else ""


def family_title(family: str) -> str:
    """How a setting family is called in titles."""
    return FAMILY_TITLES.get(family, family.replace("_", " ").capitalize())


@functools.cache
def columns_of(group: Group) -> list[Column]:
    """The layout of a group's table, as in the papers: label rates; ZSL and GZSL; total, head,
    medium and tail."""
    if group.family == "zero_shot":
        columns = [
            Column(metric, None, view, metric, view.upper(), view)
            for view in ("zsl", "gzsl")
            for metric in (*AT_K, "mAP")
        ]
        return [*columns, Column("H", None, "gzsl", "harmonic", "GZSL", "gzsl")]
    if group.family == "long_tail":
        names = {group.headline: "total", "head": "head", "medium": "medium", "tail": "tail"}
        return [Column(label, None, view, published=view) for view, label in names.items()]
    view = group.headline
    if group.levels == [None]:
        views = list(group.usable[0].record["metrics"]) if group.usable else ["all"]
        return [Column("mAP" if v == view else f"mAP {v}", None, v, published=v) for v in views]
    columns = [
        Column(f"{100 * level:g} %", level, view, published=f"{level:g}")
        for level in group.levels
        if level is not None
    ]
    average = [Column("Avg.", "avg", view, published="avg")] if len(columns) > 1 else []
    return columns + average


@functools.cache
def headline_column(group: Group) -> Column:
    """The column by which methods are ordered and the first screen speaks: the average over label
    rates, while no method has all of them the rate that most methods have; else the first mAP
    (GZSL before ZSL)."""
    columns = columns_of(group)
    if columns[-1].level == "avg":
        filled = [sum(bool(seed_results(group, line, c)) for line in group.lines) for c in columns]
        return columns[-1] if filled[-1] else columns[filled.index(max(filled))]
    found = [column for column in columns if column.metric == "mAP"]
    return next((c for c in found if c.view == "gzsl"), found[0])


def levels_of(group: Group, column: Column) -> list[Level]:
    return group.levels if column.level == "avg" else [column.level]


def value_of(result: Result, column: Column) -> float:
    """A column's number of one run; nan where its record does not have it."""
    return result.value(column.view, column.metric)


def seed_results(group: Group, line: Line, column: Column) -> dict[int, list[Result]]:
    """{seed: its results, one a level}; for the average over levels only of seeds that have every
    level, and only where the number is finite."""
    per_level = [group.done(line, level) for level in levels_of(group, column)]
    seeds = set.intersection(*map(set, per_level))
    found = {seed: [done[seed] for done in per_level] for seed in sorted(seeds)}
    return {
        seed: results
        for seed, results in found.items()
        if all(math.isfinite(value_of(result, column)) for result in results)
    }


def seed_values(group: Group, line: Line, column: Column) -> dict[int, float]:
    """{seed: value} of a line in a column."""
    return {
        seed: float(np.mean([value_of(result, column) for result in results]))
        for seed, results in seed_results(group, line, column).items()
    }
