"""Are these two numbers different? Intervals over seeds, a paired bootstrap over test images, Holm,
ranks.

Shapes: N test images, C classes, B resamples, S seeds, M methods. Scores of methods are average
precisions in percent.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.sparse import csr_array

BLOCK = 250  # resamples at a time: keeps the dense operands in cache


@dataclass(frozen=True)
class Interval:
    """Mean, sample standard deviation (nan below two values) and a t interval of the mean over `n`
    seeds."""

    mean: float
    sd: float
    low: float
    high: float
    n: int


def interval(values: np.ndarray, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean of independent `values` (S,); without width information for
    a single value."""
    values = np.asarray(values, float)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan, math.nan, len(values))
    sd = float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * sd / math.sqrt(len(values))
    return Interval(mean, sd, mean - half, mean + half, len(values))


def resample_counts(images: int, resamples: int, seed: int) -> np.ndarray:
    """(N, B) uint8: how often each image is drawn in each bootstrap resample. Same arguments, same
    resamples."""
    rng = np.random.default_rng(seed)
    counts = np.empty((images, resamples), np.uint8)
    for column in range(resamples):
        counts[:, column] = np.minimum(
            np.bincount(rng.integers(images, size=images), minlength=images), 255
        )
    return counts


def bootstrap_average_precision(
    targets: np.ndarray, scores: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Average precision in percent of every class in every resample, (B, C) float32; nan where no
    positive was drawn.

    `targets` (N, C) with -1 for cells to leave out, `scores` (N, C), `counts` (N, B) from
    `resample_counts`. Images are sorted once per class; a resample is then a vector of weights, and
    only the places where a positive stands matter: the weights between two such places are summed
    by a sparse product. Tied scores share one threshold.
    """
    samples = np.full((counts.shape[1], targets.shape[1]), np.nan, np.float32)
    segments = [_segments(targets[:, c], scores[:, c]) for c in range(targets.shape[1])]
    for start in range(0, counts.shape[1], BLOCK):
        weights = counts[:, start : start + BLOCK].astype(np.float32)
        for c, pair in enumerate(segments):
            if pair is not None:
                samples[start : start + BLOCK, c] = _weighted_average_precision(*pair, weights)
    return samples


def _segments(targets: np.ndarray, scores: np.ndarray) -> tuple[csr_array, csr_array] | None:
    """Two (T, N) indicators over the T thresholds at which a positive stands: all images since the
    previous one, and the positives among them. None without a positive."""
    known = np.flatnonzero(targets >= 0)
    order = known[np.argsort(-scores[known], kind="stable")]
    positive = targets[order] == 1
    if not positive.any():
        return None
    # one past each group of tied scores
    ends = np.append(np.flatnonzero(np.diff(scores[order])) + 1, len(order))
    ends = ends[np.diff(np.concatenate([[0], np.cumsum(positive)[ends - 1]])) > 0]
    starts = np.concatenate([[0], ends]).astype(np.int32)
    # what follows the last positive never changes the precision
    kept = order[: ends[-1]].astype(np.int32)
    shape = (len(ends), len(targets))
    everything = csr_array((np.ones(len(kept), np.float32), kept, starts), shape=shape)
    positives_before = np.concatenate([[0], np.cumsum(positive)])[starts].astype(np.int32)
    hits = order[positive].astype(np.int32)
    return everything, csr_array(
        (np.ones(len(hits), np.float32), hits, positives_before), shape=shape
    )


def _weighted_average_precision(
    everything: csr_array, positives: csr_array, weights: np.ndarray
) -> np.ndarray:
    hits = positives @ weights  # (T, B)
    found = _running_sum(hits)
    seen = _running_sum(everything @ weights)
    with np.errstate(invalid="ignore"):  # 0/0: no positive in this resample
        precision = found / np.maximum(seen, 1)
        return 100 * (hits * precision).sum(axis=0) / found[-1]


def _running_sum(values: np.ndarray) -> np.ndarray:
    """`np.cumsum(values, axis=0)` of (T, B) in steps of whole rows, which is three times as
    fast."""
    step = 8
    padded = np.zeros((-(-len(values) // step), step, values.shape[1]), values.dtype)
    padded.reshape(-1, values.shape[1])[: len(values)] = values
    for k in range(1, step):
        padded[:, k] += padded[:, k - 1]
    padded[1:] += np.cumsum(padded[:-1, -1], axis=0)[:, None]
    return padded.reshape(-1, values.shape[1])[: len(values)]


@dataclass(frozen=True)
class Comparison:
    """Every method against every other in one cell. `difference[i, j]` is method i minus method j
    in points.

    `p` is corrected by Holm over all pairs, so the chance of any false difference in the cell is at
    most 5 %. `detectable` is the true difference that this cell would find in four of five
    repetitions (median over pairs).
    """

    methods: tuple[str, ...]
    difference: np.ndarray  # (M, M), nan without a common seed
    error: np.ndarray  # (M, M) standard errors
    p: np.ndarray  # (M, M)
    best: str
    tied: frozenset[str]  # not significantly below the best; holds the best
    detectable: float


def compare(
    values: Mapping[str, Mapping[int, float]],
    samples: Mapping[str, Mapping[int, np.ndarray]],
    level: float = 0.05,
) -> Comparison:
    """Compares methods on the same test images and the same seeds.

    `values[method][seed]` is the score, `samples[method][seed]` (B,) its bootstrap under resamples
    that all methods and seeds share. Two sources of noise are added: the test images (variance of
    the seed-averaged difference over resamples) and the seeds (sample variance of the difference,
    where there are two or more). The second has few degrees of freedom, hence Student's t with
    those of Welch and Satterthwaite.
    """
    methods = tuple(values)
    size = len(methods)
    difference, error, p = np.zeros((size, size)), np.zeros((size, size)), np.ones((size, size))
    spread = []  # what `error` must be multiplied by for a detectable difference
    for i in range(size):
        for j in range(i):
            a, b = methods[i], methods[j]
            seeds = sorted(set(values[a]) & set(values[b]))
            gap, se, dof = _paired(
                np.array([values[a][s] - values[b][s] for s in seeds]),
                [np.asarray(samples[a][s], float) - samples[b][s] for s in seeds],
            )
            difference[i, j], difference[j, i], error[i, j], error[j, i] = gap, -gap, se, se
            p[i, j] = (
                2 * stats.t.sf(abs(gap) / se, dof)
                if se > 0
                else math.nan
                if math.isnan(gap)
                else float(gap == 0)
            )
            spread.append(se * (stats.t.ppf(1 - level / 2, dof) + stats.t.ppf(0.8, dof)))
    lower = np.tril_indices(size, -1)
    p[lower] = holm(p[lower])
    p.T[lower] = p[lower]
    best = max(methods, key=lambda m: float(np.mean(list(values[m].values()))))
    row = methods.index(best)
    tied = frozenset(
        m for k, m in enumerate(methods) if not (p[row, k] < level and difference[row, k] > 0)
    )
    spread = [s for s in spread if not math.isnan(s)]
    return Comparison(
        methods, difference, error, p, best, tied, float(np.median(spread)) if spread else math.nan
    )


def _paired(gaps: np.ndarray, samples: list[np.ndarray]) -> tuple[float, float, float]:
    """Mean difference over seeds, its standard error and the degrees of freedom of that error."""
    if len(gaps) == 0:
        return math.nan, math.nan, math.nan
    from_images = float(np.nanvar(np.mean(samples, axis=0), ddof=1))
    from_seeds = float(np.var(gaps, ddof=1)) / len(gaps) if len(gaps) > 1 else 0.0
    total = from_images + from_seeds
    dof = (len(gaps) - 1) * (total / from_seeds) ** 2 if from_seeds > 0 else math.inf
    return float(gaps.mean()), math.sqrt(total), dof


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction: adjusted p values in the order given; nan stays nan and does not
    count."""
    p = np.asarray(p, float)
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # nan sorts last
    scaled = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1) if len(order) else []
    return adjusted


@dataclass(frozen=True)
class Ranks:
    """Average ranks (1 = best) over complete cells, Nemenyi's critical difference and Friedman's p
    value."""

    methods: tuple[str, ...]
    average: np.ndarray  # (M,)
    critical_difference: float
    friedman_p: float
    cells: int


def average_ranks(cells: list[Mapping[str, float]], level: float = 0.05) -> Ranks | None:
    """Ranks methods over the cells that every method completed (Demšar, JMLR 2006); None below two
    cells or methods."""
    methods = tuple(sorted({m for cell in cells for m in cell}))
    # (cells, M)
    complete = np.array([[cell[m] for m in methods] for cell in cells if len(cell) == len(methods)])
    if len(methods) < 2 or len(complete) < 2:
        return None
    average = stats.rankdata(-complete, axis=1).mean(axis=0)
    size, n = len(methods), len(complete)
    quantile = stats.studentized_range.ppf(1 - level, size, np.inf) / math.sqrt(2)
    p = (
        float(stats.friedmanchisquare(*complete.T).pvalue)
        if size > 2
        else float(stats.wilcoxon(*complete.T).pvalue)
    )
    return Ranks(methods, average, float(quantile * math.sqrt(size * (size + 1) / (6 * n))), p, n)
