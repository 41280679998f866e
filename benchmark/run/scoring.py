"""From scores to the numbers of a record."""

import numpy as np

# what `metrics` imports where it is used: here once, before runs are forked
import scipy.optimize
import scipy.spatial
import scipy.special  # noqa: F401

from benchmark import metrics
from benchmark.task import Task


def score(
    task: Task, scores: np.ndarray, val_scores: np.ndarray
) -> tuple[dict[str, dict[str, float | None]], dict[str, list[float | None]]]:
    """{view: {metric: value}} and {"AP": per class}, from test scores (N_test, C) and val scores
    (N_val, C_seen)."""
    val_y = task.val.y[:, task.seen]
    calibration = metrics.calibrate(val_y, val_scores)
    scale, bias = calibration
    threshold = metrics.tune_threshold(
        val_y, 1 / (1 + np.exp(-(scale * val_scores.astype(np.float64) + bias)))
    )
    values: dict[str, dict[str, float | None]] = {}
    for name, view in task.views.items():
        found = metrics.evaluate(
            task.test.y, scores, view, calibration=calibration, threshold=threshold
        )
        values[name] = {**found}
    harmonic = metrics.harmonic_mean_of_groups(task.test.y, scores, task.groups)
    if harmonic is not None:
        values[next(iter(values))]["mAP_harmonic"] = harmonic
    per_class = 100 * metrics.average_precision(task.test.y, scores)
    return values, {"AP": [None if np.isnan(value) else float(value) for value in per_class]}
