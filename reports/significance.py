"""Who differs from whom: what every test image does to the numbers of a run (kept in `cache/`), and
the comparison of every column."""

import functools
import hashlib
import math
import os
from collections import defaultdict
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray

from benchmark.store import Store
from reports.columns import AT_K, Column, columns_of, headline_column, seed_results, seed_values
from reports.groups import Group, Result
from reports.statistics import (
    FEWEST_BLOCKS,
    Array,
    Comparison,
    Ranks,
    average_ranks,
    compare,
    influence_of_average_precision,
    influence_of_ratio,
)

Arrays = dict[str, NDArray[np.generic]]
Job = tuple[Store, str, str, tuple[str, ...], Path]  # task, run, keys and where they go
VERSION = 2  # of what is kept
SHARES = 16  # in which the runs are handed to worker processes
PARALLEL_ABOVE = 2e8  # cells in all, above which worker processes are worth their start


class Significance:
    """Influences of test images on runs and the comparisons made from them; `cache` keeps
    influences between reports."""

    def __init__(self, cache: Path):
        self.cache = cache
        self._compared: dict[tuple[str, str, Column], Comparison | None] = {}
        self._known: dict[str, dict[str, Array]] = {}

    def task(self, result: Result) -> Arrays:
        """Truth, views and thumbnails of the task of a result."""
        return _task(result.store, result.record["task"]["fingerprint"])

    def prepare(self, groups: list[Group]) -> None:
        """Computes what the cache lacks, on all cores where there is much of it, and drops what no
        run needs any more."""
        needed: set[Path] = set()
        missing = []
        for group in groups:
            for result in group.usable:
                if result.has_scores:
                    path = self._path(result, _keys(group))
                    needed.add(path)
                    if not path.is_file():
                        missing.append(self._job(group, result))
        for old in set(self.cache.glob("*.np[yz]")) - needed:
            old.unlink(missing_ok=True)
        sizes = [_task(store, name)["targets"].size for store, name, *_ in missing]
        if sum(sizes) > PARALLEL_ABOVE:
            jobs = joblib.Parallel(n_jobs=-1)
            jobs(joblib.delayed(_compute_all)(missing[start::SHARES]) for start in range(SHARES))
        else:
            _compute_all(missing)

    def influence(self, group: Group, result: Result, key: str) -> Array:
        """(N,) what each test image does to one number of a run, in points."""
        keys = _keys(group)
        if result.id not in self._known:
            path, shape = self._path(result, keys), (len(keys), len(self.task(result)["targets"]))
            found = _kept(path, shape)
            if found is None:
                _compute_all([self._job(group, result)])
                found = np.load(path)
            self._known[result.id] = dict(zip(keys, found, strict=True))
        return self._known[result.id][key]

    def _job(self, group: Group, result: Result) -> Job:
        keys = _keys(group)
        fingerprint = result.record["task"]["fingerprint"]
        return result.store, fingerprint, result.id, keys, self._path(result, keys)

    def _path(self, result: Result, keys: tuple[str, ...]) -> Path:
        """Influences of a run; another name when its scores or what is asked have changed."""
        state = (result.folder / "scores.npy").stat()
        fingerprint = result.record["task"]["fingerprint"]
        made_from = f"{VERSION} {state.st_mtime_ns} {state.st_size} {fingerprint} {keys}"
        return self.cache / f"{result.id}-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}.npy"

    # ---- comparisons -----------------------------------------------------------------------------

    def column(self, group: Group, selection: str, column: Column) -> Comparison | None:
        """Methods of one selection in one column; None where nothing is tested."""
        at = (group.name, selection, column)
        if at not in self._compared:
            self._compared[at] = self._compare(group, selection, column)
        return self._compared[at]

    def _compare(self, group: Group, selection: str, column: Column) -> Comparison | None:
        values: dict[str, dict[int, float]] = {}
        influences: dict[str, dict[int, Array]] = {}
        for line in group.lines if column.key else []:
            if line.selection != selection:
                continue
            found = {
                seed: results
                for seed, results in seed_results(group, line, column).items()
                if all(result.has_scores for result in results)
            }
            if found:
                numbers = seed_values(group, line, column)
                values[line.method] = {seed: numbers[seed] for seed in found}
                influences[line.method] = {
                    seed: np.mean([self.influence(group, r, column.key) for r in results], axis=0)
                    for seed, results in found.items()
                }
        return compare(values, influences) if values else None


def ranks(groups: list[Group]) -> tuple[Ranks | None, str]:
    """Average ranks over blocks, a block being one data set under one setting (label rates,
    encoders and protocols are averaged first), and a sentence: what was ranked, or why nothing."""
    means: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for group in groups:
        column = headline_column(group)
        for line in group.lines:
            values = list(seed_values(group, line, column).values())
            if line.selection == group.honest and values:
                means[group.family, group.dataset][line.method].append(float(np.mean(values)))
    blocks = []
    for found in means.values():
        most = max(map(len, found.values()))
        blocks.append({m: float(np.mean(v)) for m, v in found.items() if len(v) == most})
    blocks = [block for block in blocks if len(block) > 1]
    result = average_ranks(blocks)
    everyone = {m for block in blocks for m in block}
    if result is None:
        why = f"this needs {FEWEST_BLOCKS} data set × setting blocks, there are {len(blocks)}"
        if len(blocks) >= FEWEST_BLOCKS:
            why = "fewer than two methods have a number in every block"
        return None, f"No average ranks over data sets: {why}."
    left = sorted(everyone - set(result.methods))
    without = f" Left out, for want of a number in some block: {', '.join(left)}." if left else ""
    p = f" Friedman p = {result.friedman_p:.2g}." if math.isfinite(result.friedman_p) else ""
    return result, (
        f"Average ranks over {result.blocks} blocks (a block is one data set under one setting, "
        f"label rates averaged); bars join what does not differ (Nemenyi, 5 %).{p}{without}"
    )


# ---- influences ----------------------------------------------------------------------------------


@functools.cache
def _keys(group: Group) -> tuple[str, ...]:
    return tuple(sorted({column.key for column in columns_of(group) if column.key}))


def _kept(path: Path, shape: tuple[int, int]) -> Array | None:
    """What the cache has, None where that is nothing or damaged."""
    try:
        found: Array = np.load(path)
    except (OSError, ValueError):
        return None
    return found if found.shape == shape and found.dtype == np.float32 else None


def _compute_all(jobs: list[Job]) -> None:
    """Writes the influences (keys, N) of runs."""
    for store, fingerprint, run_id, keys, path in jobs:
        found = influences(_task(store, fingerprint), store.scores(run_id), keys)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            np.save(file, np.array([found[key] for key in keys], np.float32))
        # not the store's way: what a power cut takes from a cache is computed again
        os.replace(temporary, path)


@functools.lru_cache(maxsize=32)
def _task(store: Store, fingerprint: str) -> Arrays:
    return dict(store.task(fingerprint))


def influences(
    task: Arrays, scores: NDArray[np.float32], keys: tuple[str, ...]
) -> dict[str, Array]:
    """{"view/metric": (N,)} of scores (N, C)."""
    targets = task["targets"].astype(np.int8)
    result = {}
    for key in keys:
        view, metric = key.split("/")
        if metric == "harmonic":
            continue
        rows, columns = _view(task, view)
        labels, chosen = targets[rows][:, columns], scores[rows][:, columns]
        effect = np.zeros(len(targets))
        if metric == "mAP":
            effect[rows] = mean_average_precision(labels, chosen)[0]
        else:
            effect[rows] = at_k(labels, chosen, metric)
        result[key] = effect
    for key in keys:
        if key.endswith("/harmonic"):
            result[key] = _harmonic(task, targets, scores)
    return result


def _view(task: Arrays, name: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows and columns of a view or of a class group; nothing of one that the task lacks."""
    if f"view_rows/{name}" in task:
        return task[f"view_rows/{name}"].astype(bool), task[f"view_columns/{name}"].astype(bool)
    everything = np.ones(len(task["targets"]), bool)
    nothing = np.zeros(task["targets"].shape[1], bool)
    return everything, task.get(f"group/{name}", nothing).astype(bool)


def mean_average_precision(
    targets: NDArray[np.int8], scores: NDArray[np.float32]
) -> tuple[Array, float]:
    """Influence (n,) on the mean over classes that have a positive, and that mean."""
    if targets.size == 0:
        return np.zeros(len(targets)), math.nan
    influence, precision = influence_of_average_precision(targets, scores)
    known = np.isfinite(precision)
    if not known.any():
        return np.zeros(len(targets)), math.nan
    return influence[:, known].mean(axis=1), float(precision[known].mean())


def at_k(targets: NDArray[np.int8], scores: NDArray[np.float32], metric: str) -> Array:
    """Influence (n,) on "P@3", "R@5", "F1@3" …, micro averaged over images."""
    assert metric in AT_K
    name, k = metric.split("@")
    ranked = np.where(targets < 0, -np.inf, scores)
    top = np.argsort(-ranked, axis=1, kind="stable")[:, : int(k)]
    found = np.take_along_axis(targets, top, 1)
    hits, guesses = (found == 1).sum(1).astype(float), (found >= 0).sum(1).astype(float)
    actual = (targets == 1).sum(1).astype(float)
    if name == "F1":
        return influence_of_ratio(2 * hits, guesses + actual)
    return influence_of_ratio(hits, guesses if name == "P" else actual)


def _harmonic(task: Arrays, targets: NDArray[np.int8], scores: NDArray[np.float32]) -> Array:
    """Influence (N,) on the harmonic mean of the mAP of seen and unseen classes."""
    effects, values = [], []
    for name in ("seen", "unseen"):
        rows, columns = _view(task, name)
        effect = np.zeros(len(targets))
        found, value = mean_average_precision(targets[rows][:, columns], scores[rows][:, columns])
        effect[rows] = found
        effects.append(effect)
        values.append(value)
    seen, unseen = values
    slope = 2 / (seen + unseen) ** 2 if seen + unseen > 0 else 0.0
    return slope * (unseen**2 * effects[0] + seen**2 * effects[1])
