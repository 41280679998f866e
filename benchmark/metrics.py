"""Multi-label metrics: average precision with ties, precision/recall/F1 by threshold and top-k,
AUROC, PD/ND.

Shapes: N images, C classes, D feature width. Targets are PRESENT 1, ABSENT 0, UNKNOWN -1; UNKNOWN
cells never count. scipy is imported where it is used: a plan imports methods and computes nothing.
"""

from collections.abc import Iterator

import numpy as np

from benchmark.task import ABSENT, PRESENT, UNKNOWN, View

CELLS = 8_000_000  # scored at once: 64 MB in float64
BUCKETS = 1 << 15  # of scores, where a column has many


def average_precision(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(N, C), (N, C) -> (C,) float64 in [0, 1]: area under the precision-recall steps, as
    scikit-learn defines it.

    Tied scores share one threshold. A class without a known positive is NaN. Raises `ValueError` on
    NaN scores.

    Σ over thresholds of Δrecall × precision is the mean over positives of the precision at the
    positive's own score, so it is enough to know how many scores reach each positive's.
    """
    targets, scores = np.asarray(targets), np.asarray(scores)
    if targets.shape != scores.shape or targets.ndim != 2:
        _aligned(targets, scores)  # says what is wrong
    result = np.full(targets.shape[1], np.nan)
    for place, _ in _blocks(np.arange(len(result)), len(targets)):
        result[place] = _average_precision(*_aligned(targets[:, place], scores[:, place]))
    return result


def _average_precision(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    result = np.full(targets.shape[1], np.nan)
    for c in range(targets.shape[1]):
        column, values = targets[:, c], scores[:, c]
        positives = np.sort(values[column == PRESENT])
        if len(positives):
            is_known = column != UNKNOWN
            known = values if is_known.all() else values[is_known]
            # counts scores >= the threshold
            positives_above = len(positives) - np.searchsorted(positives, positives)
            ordered, above = _near(known, positives)
            known_above = above + len(ordered) - np.searchsorted(ordered, positives)
            result[c] = np.mean(positives_above / known_above)
    return result


def _near(values: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted values (n,) among which each threshold can be looked up, and how many of all are above
    these (T,); thresholds (T,) ascend.

    Many values are counted in buckets of equal width, and only those that share one with a
    threshold are sorted: half the time of sorting all. Rounding keeps the order, so counts are
    exact.
    """
    low, high = min(values.min(), thresholds[0]), max(values.max(), thresholds[-1])
    with np.errstate(all="ignore"):
        scale = (BUCKETS - 1) / (high - low)
    if len(values) <= BUCKETS // 4 or not 0 < scale < np.inf:
        return np.sort(values), np.zeros(len(thresholds), np.int64)
    bucket, own = (((some - low) * scale).astype(np.int64) for some in (values, thresholds))
    others, shared = np.bincount(bucket, minlength=BUCKETS), np.zeros(BUCKETS, bool)
    shared[own] = True
    others[shared] = 0
    others = others.cumsum()
    return np.sort(values[shared[bucket]]), others[-1] - others[own]


def auroc(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(N, C), (N, C) -> (C,) float64 in [0, 1]: probability that a positive outscores a negative,
    ties count half.

    A class without a known positive or without a known negative is NaN.
    """
    targets, scores = _aligned(targets, scores)
    result = np.full(targets.shape[1], np.nan)
    for c in range(targets.shape[1]):
        positives = np.sort(scores[targets[:, c] == PRESENT, c])
        negatives = scores[targets[:, c] == ABSENT, c]
        if len(positives) and len(negatives):
            ordered, above = _near(negatives, positives)
            rest = len(negatives) - len(ordered) - above  # below what is sorted near a positive
            below = rest + np.searchsorted(ordered, positives, "left")
            below_or_tied = rest + np.searchsorted(ordered, positives, "right")
            result[c] = np.mean(below + below_or_tied) / (2 * len(negatives))
    return result


def precision_recall_f1(
    targets: np.ndarray, probabilities: np.ndarray, threshold: float
) -> dict[str, float]:
    """CP, CR, CF1_mean, CF1_harm, OP, OR, OF1 in percent; a class is predicted where its
    probability > `threshold`.

    C… average over classes, O… pool all cells. `CF1_mean` is the mean of the per-class F1
    (DualCoOp, `validate`), `CF1_harm` the harmonic mean of CP and CR (most papers). A class that is
    never predicted, or that has no positive, counts as 0 and stays in the mean, as in the official
    code.
    """
    targets, probabilities = _aligned(targets, probabilities)
    return _precision_recall_f1(*_counts(targets, probabilities.astype(np.float64) > threshold))


def precision_recall_f1_at_k(targets: np.ndarray, scores: np.ndarray, k: int) -> dict[str, float]:
    """P, R, F1 in percent, micro averaged, when each image predicts its `k` best classes (DualCoOp,
    `validate_zsl`).

    All C classes are predicted when k > C. Of tied scores the class with the lower index goes
    first. Images without a label count in P. UNKNOWN cells are not candidates.
    """
    targets, scores = _aligned(targets, scores)
    metrics = _precision_recall_f1(*_counts(targets, _top_k(targets, scores, k)))
    return {"P": metrics["OP"], "R": metrics["OR"], "F1": metrics["OF1"]}


def precision_recall_at_k_by_image(
    targets: np.ndarray, scores: np.ndarray, k: int
) -> dict[str, float]:
    """P, R and "hit" in percent, each of one image with its `k` best classes, averaged over the
    images (Cole et al. 2021, official code).

    "hit" counts the images of which at least one of the k is present. An image without a label has
    P, R and hit 0. Ties as in `precision_recall_f1_at_k`.
    """
    targets, scores = _aligned(targets, scores)
    hits, guesses, present = _counts(targets.T, _top_k(targets, scores, k).T)  # of each image
    found = {
        "P": hits / np.maximum(guesses, 1),
        "R": hits / np.maximum(present, 1),
        "hit": hits > 0,
    }
    return {name: 100 * float(np.mean(values)) for name, values in found.items()}


def centroid_distances(
    features: np.ndarray,
    targets: np.ndarray,
    rows: np.ndarray | None = None,
    columns: np.ndarray | None = None,
) -> dict[str, float]:
    """PD, ND and PD/ND of LM-CLIP's test script: mean distance of images to the centroids of their
    own, other classes.

    `features` (N, D) unit norm, `targets` (N, C). A centroid is the mean feature of all images with
    the label, not normalised again; d = ‖feature - centroid + 1e-6‖₂. `rows` (N,) and `columns`
    (C,) bool restrict the averaged pairs (multi-label images, tail classes), never the centroids.
    Classes without a positive are left out.
    """
    from scipy.spatial.distance import cdist

    features = np.asarray(features, np.float64)
    counts = (targets == PRESENT).sum(0)
    # (C, D)
    centroids = (
        (targets == PRESENT).T.astype(np.float64) @ features / np.maximum(counts, 1)[:, None]
    )
    rows = np.ones(len(targets), bool) if rows is None else rows
    columns = (counts > 0) if columns is None else columns & (counts > 0)
    distances = cdist(features[rows] + 1e-6, centroids[columns])
    pairs = targets[rows][:, columns]
    positive, negative = (distances[pairs == label] for label in (PRESENT, ABSENT))
    pd, nd = (d.mean() if d.size else np.nan for d in (positive, negative))
    return {"PD": float(pd), "ND": float(nd), "PD/ND": float(pd / nd)}


def calibrate(targets: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Platt scaling: (a, b) with a >= 0 such that σ(a·score + b) fits the known cells; (1, 0) when
    none is known to be absent.

    The two target values are Platt's smoothed ones, (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2), so that
    separable cells give a finite answer (Platt, "Probabilistic outputs for support vector
    machines", 1999).
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    targets, scores = _aligned(targets, scores)
    known = targets != UNKNOWN
    if not (targets == ABSENT).any():
        return 1.0, 0.0
    labels, values = targets[known], scores[known].astype(np.float64)
    positives = int((labels == PRESENT).sum())
    goal = np.where(
        labels == PRESENT, (positives + 1) / (positives + 2), 1 / (len(labels) - positives + 2)
    )
    # standardised, or the two parameters are badly conditioned
    centre, spread = values.mean(), values.std() or 1.0
    values = (values - centre) / spread

    def loss_and_gradient(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        logits = parameters[0] * values + parameters[1]
        error = (expit(logits) - goal) / len(goal)
        return float(np.mean(np.logaddexp(0, logits) - goal * logits)), np.array(
            [error @ values, error.sum()]
        )

    start = np.array([1.0, np.log(goal.mean() / (1 - goal.mean()))])
    bounds = [(0.0, None), (None, None)]
    slope, offset = minimize(
        loss_and_gradient, start, jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-12
    ).x
    return float(slope / spread), float(offset - slope * centre / spread)


def tune_threshold(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """The threshold with the best OF1 on the known cells (one for all classes), for the rule
    probability > threshold.

    Half-way between two neighbouring probabilities; of equally good ones the highest. 0.5 when the
    known cells are not of both kinds.
    """
    targets, probabilities = _aligned(targets, probabilities)
    known = targets != UNKNOWN
    order = np.argsort(-probabilities[known], kind="stable")
    values, hits = probabilities[known][order], (targets[known] == PRESENT)[order]
    if not hits.any() or hits.all():
        return 0.5
    f1 = 2 * np.cumsum(hits) / (np.arange(1, len(hits) + 1) + hits.sum())
    last_of_tie = np.append(values[1:] < values[:-1], True)
    best = int(np.argmax(np.where(last_of_tie, f1, -1)))
    following = values[best + 1] if best + 1 < len(values) else values[best] - 1
    return float((np.float64(values[best]) + following) / 2)


def evaluate(
    targets: np.ndarray,
    scores: np.ndarray,
    view: View,
    *,
    calibration: tuple[float, float],
    threshold: float,
) -> dict[str, float]:
    """Every metric of one view, in percent except `classes` (those with a known positive, over
    which mAP averages).

    `targets` (N, C) int8 and `scores` (N, C) logits of all test images and classes. CP … OF1 at 0.5
    on calibrated probabilities σ(a·score + b); the same with "@raw" at 0.5 on σ(score), the rule of
    DualCoOp's `validate` for its z₊ - z₋; with "@val" at `threshold` (tuned on val), with "@3" for
    the three best classes of each image; P/R/F1@3 and @5 are micro averaged. `mAP_softmax` ranks
    the softmax over the view's classes, `mAP_softmax_all` that over all classes of the task, as
    LM-CLIP does for its head, middle and tail columns. Names that end in `official` count a class
    without a positive as 0, as DualCoOp's `mAP` and scikit-learn do.
    """
    from scipy.special import expit

    rows, columns = np.flatnonzero(view.rows), np.flatnonzero(view.columns)
    everywhere = bool(view.columns.all())
    all_terms = _softmax_terms(scores, rows, np.arange(scores.shape[1]))
    view_terms = all_terms if everywhere else _softmax_terms(scores, rows, columns)
    precision, precision_softmax, precision_softmax_all, areas = np.empty((4, len(columns)))
    counts = {name: np.empty((3, len(columns)), np.int64) for name in ("", "@raw", "@val")}
    for place, block in _blocks(columns, len(rows)):
        truth = targets[np.ix_(rows, block)]
        values = scores[np.ix_(rows, block)].astype(np.float64)
        precision[place] = average_precision(truth, values)
        areas[place] = auroc(truth, values)
        precision_softmax_all[place] = average_precision(truth, _softmax(values, *all_terms))
        precision_softmax[place] = (
            precision_softmax_all[place]
            if everywhere
            else average_precision(truth, _softmax(values, *view_terms))
        )
        probabilities = expit(calibration[0] * values + calibration[1])
        counts[""][:, place] = _counts(truth, probabilities > 0.5)
        counts["@raw"][:, place] = _counts(truth, values > 0.0)
        counts["@val"][:, place] = _counts(truth, probabilities > threshold)
    result = {
        "mAP": 100 * _mean(precision),
        "mAP_softmax": 100 * _mean(precision_softmax),
        "mAP_softmax_all": 100 * _mean(precision_softmax_all),
        "mAP_official": 100 * _mean(np.nan_to_num(precision)),
        "mAP_softmax_official": 100 * _mean(np.nan_to_num(precision_softmax_all)),
        "AUROC": 100 * _mean(areas),
        "classes": int(np.isfinite(precision).sum()),
    }
    for k in (3, 5):
        counts[f"@{k}"] = _counts_at_k(targets, scores, rows, columns, k)
    for at, some in counts.items():
        values_at = _precision_recall_f1(*some)
        if at != "@5":
            result |= {f"{name}{at}": value for name, value in values_at.items()}
        if at in ("@3", "@5"):  # micro averages
            result |= {f"{name}{at}": values_at[f"O{name}"] for name in ("P", "R", "F1")}
    return result


def official_criterion(metric: str, targets: np.ndarray, scores: np.ndarray, view: View) -> float:
    """One number of `evaluate` in percent, for choosing an epoch: "mAP", "mAP_softmax_all" or
    "F1@3"."""
    rows, columns = np.flatnonzero(view.rows), np.flatnonzero(view.columns)
    if metric == "F1@3":
        counts = _counts_at_k(targets, scores, rows, columns, 3)
        return _precision_recall_f1(*counts)["OF1"]
    assert metric in ("mAP", "mAP_softmax_all"), metric
    terms = _softmax_terms(scores, rows, np.arange(scores.shape[1]))
    precision = np.empty(len(columns))
    for place, block in _blocks(columns, len(rows)):
        values = scores[np.ix_(rows, block)].astype(np.float64)
        if metric == "mAP_softmax_all":
            values = _softmax(values, *terms)
        precision[place] = average_precision(targets[np.ix_(rows, block)], values)
    return 100 * _mean(precision)


def epoch_scalars(
    targets: np.ndarray, scores: np.ndarray, groups: dict[str, np.ndarray], part: str = "val"
) -> dict[str, float]:
    """LM-CLIP's tags val/mAP, val/mAP_{head,middle,tail}, val/AUROC, in percent; `part` "train"
    gives train/mAP …

    `groups` are (C,) bool, of any name; one without a known positive has no tag.
    """
    precision = average_precision(targets, scores)
    result = {
        f"{part}/mAP": 100 * _mean(precision),
        f"{part}/AUROC": 100 * _mean(auroc(targets, scores)),
    }
    for name, group in groups.items():
        if np.isfinite(precision[group]).any():
            result[f"{part}/mAP_{'middle' if name == 'medium' else name}"] = 100 * _mean(
                precision[group]
            )
    return result


def harmonic_mean_of_groups(
    targets: np.ndarray, scores: np.ndarray, groups: dict[str, np.ndarray]
) -> float | None:
    """Harmonic mean of the mAP of the groups "seen" and "unseen", in percent; None in a task
    without them."""
    if not {"seen", "unseen"} <= set(groups):
        return None
    precision = average_precision(targets, scores)
    seen, unseen = 100 * _mean(precision[groups["seen"]]), 100 * _mean(precision[groups["unseen"]])
    return 2 * seen * unseen / (seen + unseen)


def _aligned(targets: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays (N, C), columns contiguous, because everything here sorts columns."""
    targets, scores = np.asarray(targets), np.asarray(scores)
    if targets.shape != scores.shape or targets.ndim != 2:
        raise ValueError(
            f"targets {targets.shape} and scores {scores.shape} must have the same shape (N, C)"
        )
    if np.isnan(scores).any():
        raise ValueError("scores hold NaN; find the diverged run before measuring it")
    return _contiguous_columns(targets), _contiguous_columns(scores)


def _contiguous_columns(array: np.ndarray) -> np.ndarray:
    """`np.asfortranarray` in blocks that fit the cache: three times as fast."""
    columns = np.empty(array.shape[::-1], array.dtype)
    for start in range(0, len(array), 256):
        columns[:, start : start + 256] = array[start : start + 256].T
    return columns.T


def _blocks(columns: np.ndarray, n: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Places in `columns` and the columns there, so many that (n, block) holds `CELLS`: at the size
    of NUS-WIDE one array of all cells in float64 is 0.9 GB, and a dozen would be alive at once."""
    size = max(1, CELLS // max(1, n))
    for start in range(0, len(columns), size):
        yield slice(start, start + size), columns[start : start + size]


def _softmax_terms(
    scores: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n, 1) each: the maximum of a row over these columns, and Σ exp(score - maximum)."""
    peaks, totals = np.empty((len(rows), 1)), np.empty((len(rows), 1))
    for place, block in _blocks(rows, len(columns)):
        values = scores[np.ix_(block, columns)].astype(np.float64)
        peaks[place] = values.max(axis=1, keepdims=True, initial=-np.inf)
        totals[place] = np.exp(values - peaks[place]).sum(axis=1, keepdims=True)
    return peaks, totals


def _softmax(values: np.ndarray, peaks: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Some columns of the softmax whose terms these are."""
    return np.asarray(np.exp(values - peaks) / totals)


def _counts_at_k(
    targets: np.ndarray, scores: np.ndarray, rows: np.ndarray, columns: np.ndarray, k: int
) -> np.ndarray:
    """`_counts` when each image predicts its `k` best classes among `columns`."""
    total = np.zeros((3, len(columns)), np.int64)
    for _, block in _blocks(rows, len(columns)):
        truth = targets[np.ix_(block, columns)]
        total += _counts(truth, _top_k(truth, scores[np.ix_(block, columns)], k))
    return total


def _counts(targets: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(3, C): hits, guesses and positives of each class from predictions (N, C) bool."""
    positive = targets == PRESENT
    hits, guesses = predicted & positive, predicted & (targets != UNKNOWN)
    return np.stack([hits.sum(0), guesses.sum(0), positive.sum(0)])


def _precision_recall_f1(
    hits: np.ndarray, guesses: np.ndarray, actual: np.ndarray
) -> dict[str, float]:
    """CP … OF1 in percent from the counts (C,) of each class."""
    precision, recall = hits / np.maximum(guesses, 1), hits / np.maximum(actual, 1)
    cp, cr = _mean(precision), _mean(recall)
    result = {
        "CP": cp,
        "CR": cr,
        "CF1_mean": _mean(2 * hits / np.maximum(guesses + actual, 1)),
        "CF1_harm": 2 * cp * cr / (cp + cr) if cp + cr > 0 else 0.0,
        "OP": hits.sum() / max(guesses.sum(), 1),
        "OR": hits.sum() / max(actual.sum(), 1),
        "OF1": 2 * hits.sum() / max(guesses.sum() + actual.sum(), 1),
    }
    return {name: 100 * float(value) for name, value in result.items()}


def _top_k(targets: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """(N, C) bool: the `k` best scores of each image among its known cells."""
    candidates = np.ascontiguousarray(np.where(targets == UNKNOWN, -np.inf, scores))
    predicted = np.zeros(scores.shape, bool)
    images = np.arange(len(scores))
    for _ in range(min(k, scores.shape[1])):  # a few passes cost less than sorting every image
        best = candidates.argmax(axis=1)
        predicted[images, best] = True
        candidates[images, best] = -np.inf
    return np.asarray(predicted & (targets != UNKNOWN))


def _mean(values: np.ndarray) -> float:
    """Mean of the finite values, NaN when there is none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")
