"""Records of one or several result folders, arranged as they are compared.

A *group* is what one table shows: setting family, data set, encoder and protocol. Its *levels* are
the swept label rates (a single `None` where nothing is swept), its *lines* are methods under one
selection of the epoch.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmark.spec import Choice, Spec
from benchmark.store import Record, Store

SWEPT = "known"  # the setting parameter whose values become columns
# their columns are views, so a swept rate makes several tables
FAMILIES_WITH_VIEWS = ("zero_shot", "long_tail")
SELECTIONS = {
    "last": "last epoch",
    "val": "epoch chosen on val",
    "oracle": "epoch chosen on test (oracle)",
}
LONGEST_LABEL = 60


class Planned(Protocol):
    """A row of a plan, as the engine makes it."""

    @property
    def spec(self) -> Spec: ...

    @property
    def state(self) -> str:
        """todo, done, stale, failed or n/a."""

    @property
    def reason(self) -> str: ...


@dataclass
class Entry:
    """One planned or recorded run. `state`: done, stale (done, but by older code), failed, todo or
    n/a."""

    spec: Spec
    state: str
    reason: str = ""
    record: Record | None = None
    store: Store | None = None
    method: str = ""  # label
    has_scores: bool = False

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def usable(self) -> bool:
        return self.record is not None and self.record["status"] == "done"

    def average_precision(self) -> np.ndarray:
        """(C,) percent, nan where a class has no positive test image."""
        return np.array(
            [np.nan if v is None else v for v in self.record["per_class"].get("AP", [])], float
        )

    def value(self, slice_name: str, metric: str = "mAP") -> float:
        """A metric of a view, or the mAP of a class group; nan where the record does not have
        it."""
        views, groups = self.record["metrics"], self.record["task"].get("groups", {})
        if slice_name in views:
            found = views[slice_name].get(metric)
        elif slice_name in groups and metric == "mAP":
            chosen = self.average_precision()[list(groups[slice_name])]
            found = np.nanmean(chosen) if np.isfinite(chosen).any() else None
        else:
            found = None
        return float("nan") if found is None else float(found)


@dataclass
class Group:
    """One table's worth of runs. `runs[line, level][seed]` is an entry; a line is (selection,
    method label)."""

    family: str
    dataset: str
    encoder: str
    # parameters that tell this group from others of the same family, data set and encoder, or ""
    protocol: str
    setting: Choice
    runs: dict[tuple[tuple[str, str], Any], dict[int, Entry]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    @property
    def name(self) -> str:
        return slug(
            " ".join(filter(None, [self.family, self.dataset, self.encoder, self.protocol]))
        )

    @property
    def title(self) -> str:
        return ", ".join(filter(None, [self.dataset, self.encoder, self.protocol]))

    @property
    def levels(self) -> list[Any]:
        return sorted({level for _, level in self.runs}, key=lambda v: -1 if v is None else v)

    @property
    def lines(self) -> list[tuple[str, str]]:
        """(selection, method), honest selections before the oracle."""
        order = list(SELECTIONS)
        found = {line for line, _ in self.runs}
        return sorted(
            found,
            key=lambda line: (order.index(line[0]) if line[0] in order else len(order), line[1]),
        )

    def entries(self, line: tuple[str, str], level: Any) -> dict[int, Entry]:
        return self.runs.get((line, level), {})

    def done(self, line: tuple[str, str], level: Any) -> dict[int, Entry]:
        return {seed: entry for seed, entry in self.entries(line, level).items() if entry.usable}

    def usable(self) -> list[Entry]:
        return [entry for seeds in self.runs.values() for entry in seeds.values() if entry.usable]

    @property
    def headline(self) -> str:
        """Name of the first view."""
        return next(
            (next(iter(e.record["metrics"])) for e in self.usable() if e.record["metrics"]), "all"
        )


def collect(outs: list[Path], plan: Sequence[Planned] | None = None) -> list[Entry]:
    """Every run that the folders or the plan know, each id once; a done record wins over a failed
    one."""
    entries: dict[str, Entry] = {}
    for out in outs:
        store = Store(out)
        for record in store.verified():
            done = record["status"] == "done"
            known = entries.get(record["id"])
            if known is None or (done and not known.usable):
                state = "done" if done else "failed"
                entry = Entry(record["spec"], state, record=record, store=store)
                entry.reason = "" if done else failure(record)
                entry.has_scores = done and _has_scores(store, record)
                entries[record["id"]] = entry
    for row in plan or []:
        entry = entries.get(row.spec.id)
        if entry is None:
            entries[row.spec.id] = Entry(row.spec, row.state, row.reason)
        elif row.state == "stale" and entry.usable:
            entry.state = "stale"
            entry.reason = "the code has changed since; run again with --fresh stale"
    result = sorted(entries.values(), key=lambda e: e.id)
    label_methods(result)
    return result


def _has_scores(store: Store, record: Record) -> bool:
    truth = store.out / "tasks" / f"{record['task'].get('fingerprint')}.npz"
    return truth.is_file() and (store.folder(record["id"]) / "scores.npy").is_file()


def failure(record: Record) -> str:
    """ "failed: ValueError: …" in one line."""
    error = record["error"]
    text = ": ".join(
        str(part) for part in (record["status"], error.get("type"), error.get("message")) if part
    )
    return " ".join(text.split())


def label_methods(entries: list[Entry]) -> None:
    """Labels a method by its name and the parameters in which its runs differ:
    `coop(context_length=4)`.

    A preset that goes with the encoder, setting and data set (the plan chooses one) makes no
    difference to be shown.
    """
    by_name = defaultdict(list)
    for entry in entries:
        by_name[entry.spec.method.name].append(entry)
    for name, members in by_name.items():
        presets = defaultdict(set)
        for entry in members:
            spec = entry.spec
            case = (spec.encoder.label, spec.setting.name, spec.dataset)
            presets[case].add(spec.method.get("preset"))
        mixed = any(len(found) > 1 for found in presets.values())
        values = defaultdict(lambda: defaultdict(set))  # preset -> parameter -> values
        for entry in members:
            chosen = entry.spec.method
            for parameter, value in chosen.parameters.items():
                values["" if mixed else chosen.get("preset")][parameter].add(repr(value))
        for entry in members:
            chosen = entry.spec.method
            spread = values["" if mixed else chosen.get("preset")]
            shown = [f"{k}={v}" for k, v in chosen.parameters.items() if len(spread[k]) > 1]
            entry.method = f"{name}({', '.join(shown)})" if shown else name
    _shorten(entries)


def _shorten(entries: list[Entry]) -> None:
    """Cuts labels that no table could hold, and keeps them distinct."""
    short: dict[str, str] = {}
    for label in sorted({entry.method for entry in entries}):
        text = label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"
        taken = set(short.values())
        number = 2
        while text in taken:
            text = f"{label[: LONGEST_LABEL - 5]}… #{number}"
            number += 1
        short[label] = text
    for entry in entries:
        entry.method = short[entry.method]


def arrange(entries: list[Entry]) -> list[Group]:
    """Entries by family, data set, encoder and protocol, in a stable order."""
    # (family, data set, encoder) -> parameter -> values
    variants = defaultdict(lambda: defaultdict(set))
    keyed = []
    for entry in entries:
        setting = entry.spec.setting
        swept = setting.name not in FAMILIES_WITH_VIEWS and SWEPT in setting.parameters
        level = setting.get(SWEPT) if swept else None
        in_the_key = {"dataset", *([SWEPT] if level is not None else [])}
        rest = {k: v for k, v in setting.parameters.items() if k not in in_the_key}
        family = (setting.name, entry.spec.dataset, entry.spec.encoder.label)
        for parameter, value in rest.items():
            variants[family][parameter].add(repr(value))
        keyed.append((entry, family, rest, level))
    groups: dict[tuple, Group] = {}
    for entry, family, rest, level in keyed:
        differing = {k: v for k, v in rest.items() if len(variants[family][k]) > 1}
        protocol = _protocol(differing)
        key = (*family, tuple(sorted((k, repr(v)) for k, v in differing.items())))
        group = groups.setdefault(key, Group(*family, protocol, entry.spec.setting))
        spec = entry.spec
        group.runs[(spec.selection, entry.method), level][spec.seed] = entry
    order = {"partial": 0, "zero_shot": 1, "long_tail": 2}
    return [
        groups[key]
        for key in sorted(groups, key=lambda k: (order.get(k[0], 9), k[0], k[1], k[2], k[3]))
    ]


def _protocol(differing: dict[str, Any]) -> str:
    """A preset's name stands for the parameters that it fixes."""
    if differing.get("preset"):
        kept = {k: v for k, v in differing.items() if k == SWEPT}
        return ", ".join(
            [f"{differing['preset']} protocol", *(f"{k}={v}" for k, v in kept.items())]
        )
    text = ", ".join(f"{k}={v}" for k, v in differing.items() if v != "")
    return text if len(text) <= 2 * LONGEST_LABEL else text[: 2 * LONGEST_LABEL] + "…"


def slug(text: str) -> str:
    """A file name: letters, digits, dots and dashes, at most 80 characters."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "_" for c in text)
    return "_".join(filter(None, kept.split("_"))).strip(".")[:80] or "table"
