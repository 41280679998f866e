"""Metrics that people bring: a file with one function, applied to the scores that runs have kept.

`NAME.py` holds `def NAME(targets, scores) -> float`, where targets (N, C) are 1, 0, or -1 for
unknown, and scores (N, C) are logits, of the test images and classes of one view. No run is
repeated for it.
"""

import csv
import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmark import registry
from benchmark.store import Record, Store

Metric = Callable[[np.ndarray, np.ndarray], float]


class Unusable(ValueError):
    """The function did not give a number."""


def read(path: Path) -> Metric:
    """The function of a file. Raises `ValueError` that says what the file lacks."""
    found = importlib.util.spec_from_file_location(f"lowlabel_metric_{path.stem}", path)
    if not path.is_file() or found is None or found.loader is None:
        raise ValueError(f"There is no metric file {path}: give the path of a Python file.")
    module = importlib.util.module_from_spec(found)
    loader = found.loader
    registry.imported(path, lambda: loader.exec_module(module))
    function = getattr(module, path.stem, None)
    if not callable(function):
        raise ValueError(
            f"{path} has no function {path.stem}(targets, scores); the function is called as its "
            f"file is"
        )
    return function  # type: ignore[no-any-return]  # what a person's file holds is checked in use


def write(outs: Sequence[Path], paths: Sequence[Path]) -> list[Path]:
    """`tables/NAME.csv` below the first folder for every metric: run, view and value. Raises
    `Unusable` where a function gives none; runs without scores are left out."""
    written = []
    for path in paths:
        metric, rows = read(path), []
        for store in map(Store, outs):
            for record in store.verified():
                if record["status"] == "done" and store.has_scores(record):
                    rows += _values(path.stem, metric, store, record)
        table = outs[0] / "tables" / f"{path.stem}.csv"
        table.parent.mkdir(parents=True, exist_ok=True)
        with table.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "run", "view", path.stem])
            writer.writerows(rows)
        written.append(table)
    return written


def _values(
    name: str, metric: Metric, store: Store, record: Record
) -> list[tuple[str, str, str, float]]:
    """One row a view of a run."""
    task, scores = store.task(record["task"]["fingerprint"]), store.scores(record["id"])
    rows = []
    for view in task["views"].tolist():
        cells = np.ix_(task[f"view_rows/{view}"], task[f"view_columns/{view}"])
        where = f"for {record['spec'].label}, view {view}"
        try:
            value = metric(task["targets"][cells].copy(), scores[cells].astype(np.float32))
        except (Exception, SystemExit) as error:  # a person's function may raise anything
            raise Unusable(f"{name} raised {type(error).__name__}: {error} {where}") from error
        if not isinstance(value, int | float | np.number) or not math.isfinite(value):
            said = repr(value)[:200]
            raise Unusable(f"{name} returned {said} {where}; it should return one number")
        rows.append((record["id"], record["spec"].label, view, float(value)))
    return rows
