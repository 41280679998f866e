"""Who differs from whom: bootstrap of every run on shared resamples (kept in `cache/`), comparison
of every cell."""

import functools
import hashlib
import math
import os
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from benchmark.store import Store
from reports.groups import Entry, Group
from reports.statistics import (
    Comparison,
    Ranks,
    average_ranks,
    bootstrap_average_precision,
    compare,
    resample_counts,
)

MOST, FEWEST = 400, 200  # resamples: a standard error from 400 is known to 3.5 %, from 200 to 5 %
WORK = 2e8  # cells × resamples that one run may cost: about half a second
SHARES = 16  # in which the runs are handed to worker processes
PARALLEL_ABOVE = 5e8  # cells × resamples in all, above which worker processes are worth their start


class Significance:
    """Bootstrap samples of runs and the comparisons made from them; `cache` keeps samples between
    reports."""

    def __init__(self, cache: Path):
        self.cache = cache
        self._samples: dict[str, dict[str, np.ndarray]] = {}

    def task(self, entry: Entry) -> dict[str, np.ndarray]:
        """Truth, views and thumbnails of the task of a done entry."""
        return _task(entry.store, entry.record["task"]["fingerprint"])

    def prepare(self, groups: list[Group]) -> None:
        """Names the groups that `cell` will be asked about, and computes what the cache lacks on
        all cores."""
        self.groups = groups
        missing = [
            e for g in groups for e in g.usable() if e.has_scores and not self._path(e).is_file()
        ]
        if sum(self.task(e)["targets"].size for e in missing) * MOST < PARALLEL_ABOVE:
            return
        jobs = joblib.Parallel(n_jobs=-1)
        arguments = [
            (e.store, e.record["task"]["fingerprint"], e.id, self._path(e)) for e in missing
        ]
        jobs(joblib.delayed(_compute_all)(arguments[start::SHARES]) for start in range(SHARES))

    def samples(self, entry: Entry) -> dict[str, np.ndarray]:
        """{view or class group: mAP in percent in every resample (B,)}."""
        if entry.id not in self._samples:
            self._samples[entry.id] = self._cached(entry)
        return self._samples[entry.id]

    def _cached(self, entry: Entry) -> dict[str, np.ndarray]:
        path = self._path(entry)
        if not path.is_file():
            _compute_all([(entry.store, entry.record["task"]["fingerprint"], entry.id, path)])
        with np.load(path) as stored:
            return dict(stored)

    def _path(self, entry: Entry) -> Path:
        """Samples of a run; another name when its scores or the way of sampling have changed."""
        state = (entry.store.folder(entry.id) / "scores.npy").stat()
        made_from = (
            f"{state.st_mtime_ns} {state.st_size} {entry.record['task']['fingerprint']} "
            f"{MOST} {FEWEST} {WORK}"
        )
        return self.cache / f"{entry.id}-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}.npz"

    # ---- comparisons -----------------------------------------------------------------------------

    @functools.cache  # noqa: B019 (one object per report)
    def cell(
        self, group_index: int, selection: str, level: Any, slice_name: str
    ) -> Comparison | None:
        """Methods of one selection at one level (or averaged over all levels: "avg"), None below
        one method."""
        group = self.groups[group_index]
        values, samples = {}, {}
        for line in group.lines:
            if line[0] != selection:
                continue
            levels = group.levels if level == "avg" else [level]
            per_level = [
                {
                    s: e
                    for s, e in group.done(line, v).items()
                    if e.has_scores and math.isfinite(e.value(slice_name))
                }
                for v in levels
            ]
            seeds = set.intersection(*map(set, per_level)) if per_level else set()
            if seeds:
                values[line[1]] = {
                    s: float(np.mean([p[s].value(slice_name) for p in per_level])) for s in seeds
                }
                samples[line[1]] = {
                    s: self._average([p[s] for p in per_level], slice_name) for s in seeds
                }
        return compare(values, samples) if values else None

    def _average(self, entries: list[Entry], slice_name: str) -> np.ndarray:
        return np.mean([self.samples(entry)[slice_name] for entry in entries], axis=0)

    def ranks(self, family: str, selection: str) -> Ranks | None:
        """Average ranks over the cells (group × level) of a family, on the headline view."""
        cells = []
        for group in self.groups:
            if group.family == family:
                for level in group.levels:
                    lines = [line for line in group.lines if line[0] == selection]
                    means = {line[1]: _mean(group, line, level) for line in lines}
                    cells.append({m: v for m, v in means.items() if math.isfinite(v)})
        return average_ranks(cells)


def _mean(group: Group, line: tuple[str, str], level: Any) -> float:
    values = [entry.value(group.headline) for entry in group.done(line, level).values()]
    return float(np.mean(values)) if values else math.nan


def _compute_all(arguments: list[tuple[Store, str, str, Path]]) -> None:
    """Writes the samples of runs: (store, task fingerprint, run id, path) each."""
    for store, fingerprint, run_id, path in arguments:
        samples = bootstrap(_task(store, fingerprint), store.scores(run_id))
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob(f"{run_id}-*.npz"):
            old.unlink(missing_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            np.savez(file, **samples)
        # not the store's way: what a power cut takes from a cache is computed again
        os.replace(temporary, path)


@functools.lru_cache(maxsize=32)
def _task(store: Store, fingerprint: str) -> dict[str, np.ndarray]:
    return store.task(fingerprint)


@functools.lru_cache(maxsize=4)
def _counts(images: int, resamples: int) -> np.ndarray:
    return resample_counts(images, resamples, seed=0)


def bootstrap(task: dict[str, np.ndarray], scores: np.ndarray) -> dict[str, np.ndarray]:
    """mAP in percent of every view and class group of a task in every resample, (B,) float32 each.

    `scores` (N_test, C). Large test sets take fewer resamples.
    """
    targets = task["targets"]
    resamples = int(np.clip(WORK / max(targets.size, 1), FEWEST, MOST))
    counts = _counts(len(targets), resamples)
    everything = bootstrap_average_precision(targets, scores, counts)  # (B, C)
    result = {}
    for name in set(task["groups"].tolist()) - set(task["views"].tolist()):
        result[str(name)] = _class_mean(everything[:, task[f"group/{name}"]])
    for name in task["views"]:
        rows, columns = task[f"view_rows/{name}"], task[f"view_columns/{name}"]
        chosen = everything[:, columns]
        if not rows.all():
            chosen = bootstrap_average_precision(
                targets[rows][:, columns], scores[rows][:, columns], counts[rows]
            )
        result[str(name)] = _class_mean(chosen)
    return result


def _class_mean(samples: np.ndarray) -> np.ndarray:
    """(B, C) -> (B,), over the classes that have a positive in the resample."""
    known = np.isfinite(samples)
    with np.errstate(invalid="ignore"):
        return (np.where(known, samples, 0).sum(axis=1) / known.sum(axis=1)).astype(np.float32)
