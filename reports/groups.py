"""Records of one or several result folders, arranged as they are compared.

A *group* is what one table shows: setting family, data set, encoder and protocol. Its *levels* are
the swept label rates (a single `None` where nothing is swept), its *lines* are methods under one
selection of the epoch.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.planned import Planned
from benchmark.spec import Choice, Spec, Value
from benchmark.store import Record, Store
from reports.labels import LONGEST_LABEL, cut, method_labels, slug

SWEPT = "known"  # the setting parameter whose values become columns
# their columns are views, so a swept rate makes several tables
FAMILIES_WITH_VIEWS = ("zero_shot", "long_tail")
SELECTIONS = {
    "last": "last epoch",
    "val": "epoch chosen on val",
    "oracle": "epoch chosen on test (oracle)",
}
ZERO_SHOT = "zero_shot_clip"  # the method that others must beat
STALE = "computed by older code; --fresh stale runs it again"
Level = float | None


class Line(NamedTuple):
    """A row of a table: a method under one selection of the epoch."""

    selection: str
    method: str  # label

    @property
    def text(self) -> str:
        return self.method if self.selection == "last" else f"{self.method} ({self.selection})"


@dataclass(frozen=True)
class Result:
    """A run that is done, with its numbers."""

    spec: Spec
    method: str  # label
    record: Record
    store: Store
    stale: bool = False  # done, but by older code
    reason: str = ""

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def state(self) -> str:
        return "stale" if self.stale else "done"

    @property
    def folder(self) -> Path:
        return self.store.folder(self.id)

    @functools.cached_property
    def has_scores(self) -> bool:
        return self.store.has_scores(self.record)

    @functools.cached_property
    def average_precision(self) -> NDArray[np.float64]:
        """(C,) percent, nan where a class has no positive test image."""
        found = self.record["per_class"].get("AP", [])
        return np.array([math.nan if v is None else v for v in found], float)

    def value(self, view: str, metric: str = "mAP") -> float:
        """A metric of a view, or the mAP of a class group; nan where the record does not have
        it. `harmonic` is the harmonic mean of the mAP of seen and unseen classes."""
        if metric == "harmonic":
            seen, unseen = self.value("seen"), self.value("unseen")
            return 2 * seen * unseen / (seen + unseen) if seen + unseen > 0 else math.nan
        views, groups = self.record["metrics"], self.record["task"].get("groups", {})
        if view in views:
            found = views[view].get(metric)
            return math.nan if found is None else float(found)
        if view in groups and metric == "mAP":
            chosen = self.average_precision[list(groups[view])]
            return float(np.nanmean(chosen)) if np.isfinite(chosen).any() else math.nan
        return math.nan


@dataclass(frozen=True)
class Hole:
    """A planned run without numbers: `state` is failed, todo or n/a, `command` would fill it."""

    spec: Spec
    method: str  # label
    state: str
    reason: str = ""
    command: str = ""
    record: Record | None = None  # of a failure
    store: Store | None = None

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def text(self) -> str:
        """Why there is no number."""
        if self.state == "n/a":
            return f"n/a: {self.reason}"
        return self.reason if self.state == "failed" else "todo: not run yet"


Entry = Result | Hole


@dataclass(eq=False)
class Group:
    """One table's worth of runs, `runs[line, level][seed]`; not changed once it is arranged."""

    family: str
    dataset: str
    encoder: str
    limited: str  # "limited to 100 images a split", or ""
    # parameters that tell this group from others of the same family, data set and encoder, or ""
    protocol: str
    setting: Choice
    runs: dict[tuple[Line, Level], dict[int, Entry]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    @functools.cached_property
    def name(self) -> str:
        return slug(
            " ".join(
                filter(None, [self.family, self.dataset, self.encoder, self.protocol, self.limited])
            )
        )

    @property
    def published(self) -> str:
        """The family in papers' lines: protocols that cannot be compared have lines of their
        own."""
        return " ".join(filter(None, [self.family, str(self.setting.get("protocol"))]))

    @property
    def title(self) -> str:
        return ", ".join(filter(None, [self.dataset, self.encoder, self.protocol, self.limited]))

    @functools.cached_property
    def levels(self) -> list[Level]:
        return sorted({level for _, level in self.runs}, key=lambda v: -1 if v is None else v)

    @functools.cached_property
    def lines(self) -> list[Line]:
        """Honest selections before the oracle."""
        order = list(SELECTIONS)
        return sorted(
            {line for line, _ in self.runs},
            key=lambda line: (
                order.index(line.selection) if line.selection in order else len(order),
                line.method,
            ),
        )

    @functools.cached_property
    def honest(self) -> str:
        """The selection that is ranked: of the first line that is not an oracle, or ""."""
        return next((line.selection for line in self.lines if line.selection != "oracle"), "")

    def entries(self, line: Line, level: Level) -> dict[int, Entry]:
        return self.runs.get((line, level), {})

    def done(self, line: Line, level: Level) -> dict[int, Result]:
        found = self.entries(line, level).items()
        return {seed: entry for seed, entry in found if isinstance(entry, Result)}

    def of_line(self, line: Line) -> list[Result]:
        """Every result of a line, over all levels."""
        return [e for level in self.levels for _, e in sorted(self.done(line, level).items())]

    @functools.cached_property
    def everything(self) -> list[Entry]:
        return [entry for seeds in self.runs.values() for entry in seeds.values()]

    @functools.cached_property
    def usable(self) -> list[Result]:
        return [entry for entry in self.everything if isinstance(entry, Result)]

    @functools.cached_property
    def headline(self) -> str:
        """Name of the first view."""
        return next((next(iter(e.record["metrics"])) for e in self.usable), "all")

    @functools.cached_property
    def zero_shot(self) -> str:
        """Label of zero-shot CLIP here, or ""."""
        found = {e.method for e in self.everything if e.spec.method.name == ZERO_SHOT}
        return min(found, default="")

    def seeds(self, line: Line) -> set[int]:
        """Seeds that a line was meant to have: all of its group's, or for an oracle its own."""
        lines = [line] if line.selection == "oracle" else self.lines
        return {
            seed
            for (other, _), seeds in self.runs.items()
            for seed, entry in seeds.items()
            if other in lines and entry.state != "n/a"
        }


# ---- from folders to entries ---------------------------------------------------------------------


def collect(
    outs: Sequence[Path],
    plan: Iterable[Planned] = (),
    titles: Mapping[str, str] | None = None,
) -> list[Entry]:
    """Every run that the folders or the plan know, each id once; a done record wins over a failed
    one."""
    recorded: dict[str, tuple[Spec, Record, Store]] = {}
    for store in map(Store, outs):
        for record in store.verified():
            spec = record["spec"]
            known = recorded.get(spec.id)
            done = record["status"] == "done" and bool(record["metrics"])
            if known is None or (done and known[1]["status"] != "done"):
                recorded[spec.id] = (spec, record, store)
    planned = {row.spec.id: row for row in plan}
    specs = {id: row.spec for id, row in planned.items()}
    specs |= {id: found[0] for id, found in recorded.items()}
    labels = method_labels(specs, titles or {})
    entries: list[Entry] = []
    for id in sorted(specs):
        row = planned.get(id)
        command = row.command if row else ""
        if id not in recorded:
            assert row is not None
            state = row.state if row.state == "n/a" else "todo"
            entries.append(Hole(row.spec, labels[id], state, row.reason, command))
            continue
        spec, record, store = recorded[id]
        if record["status"] == "done" and record["metrics"]:
            stale = row is not None and row.state == "stale"
            why = STALE if stale else ""
            entries.append(Result(spec, labels[id], record, store, stale, why))
        else:
            why = failure(record)
            entries.append(Hole(spec, labels[id], "failed", why, command, record, store))
    return entries


def failure(record: Record) -> str:
    """ "failed: ValueError: …" in one line."""
    error = record["error"]
    status = "failed" if record["status"] == "done" else record["status"]
    text = ": ".join(
        str(part) for part in (status, error.get("type"), error.get("message")) if part
    )
    return " ".join(text.split())


# ---- from entries to groups ----------------------------------------------------------------------


def arrange(entries: Iterable[Entry]) -> list[Group]:
    """Entries by family, data set, encoder and protocol, in a stable order."""
    # (family, data set, encoder, limited) -> parameter -> values
    variants: dict[tuple[str, str, str, str], dict[str, set[str]]]
    variants = defaultdict(lambda: defaultdict(set))
    keyed: list[tuple[Entry, tuple[str, str, str, str], dict[str, Value], Level]] = []
    for entry in entries:
        setting = entry.spec.setting
        level = _level(setting)
        in_the_key = {"dataset", *([SWEPT] if level is not None else [])}
        rest = {k: v for k, v in setting.parameters.items() if k not in in_the_key}
        family = (setting.name, entry.spec.dataset, entry.spec.encoder.label, entry.spec.limited)
        for parameter, value in rest.items():
            variants[family][parameter].add(repr(value))
        keyed.append((entry, family, rest, level))
    groups: dict[tuple[str, str, str, str, tuple[tuple[str, str], ...]], Group] = {}
    for entry, family, rest, level in keyed:
        differing = {k: v for k, v in rest.items() if len(variants[family][k]) > 1}
        key = (*family, tuple(sorted((k, repr(v)) for k, v in differing.items())))
        if key not in groups:
            groups[key] = Group(*family, _protocol(differing), entry.spec.setting)
        line = Line(entry.spec.selection, entry.method)
        groups[key].runs[line, level][entry.spec.seed] = entry
    order = {"partial": 0, "zero_shot": 1, "long_tail": 2}
    return [
        groups[key]
        for key in sorted(groups, key=lambda k: (order.get(k[0], 9), k[0], k[1], *k[2:]))
    ]


def _level(setting: Choice) -> Level:
    value = setting.get(SWEPT, None)
    swept = setting.name not in FAMILIES_WITH_VIEWS and isinstance(value, int | float)
    return float(value) if swept and isinstance(value, int | float) else None


def _protocol(differing: Mapping[str, Value]) -> str:
    """A preset's name stands for the parameters that it fixes."""
    if differing.get("preset"):
        further = [f"{key}={differing[key]}" for key in ("protocol", SWEPT) if key in differing]
        return ", ".join([f"{differing['preset']} protocol", *further])
    text = ", ".join(f"{k}={v}" for k, v in differing.items() if v != "")
    return cut(text, 2 * LONGEST_LABEL)
