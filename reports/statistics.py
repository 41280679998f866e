"""Are these two numbers different? Intervals over seeds, the paired error of a difference over test
images and seeds, comparisons with the best, ranks.

Shapes: N test images, C classes, S seeds, M methods. Scores of methods are in percent. What the
procedures hold to, simulated, stands in docs/statistics.md.
"""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
LEVEL = 0.05  # family-wise error of the marks in one column of a table
POWER = 0.8  # of the detectable difference
SHARED = 4.0  # degrees of freedom that the shared noise of seeds counts for at most
FEWEST_BLOCKS = 5  # below which average ranks say nothing (Demšar, JMLR 2006, section 3.2.2)


@dataclass(frozen=True)
class Interval:
    """Mean, sample standard deviation (nan below two values) and a t interval of the mean over `n`
    seeds."""

    mean: float
    sd: float
    low: float
    high: float
    n: int


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean of independent `values` (S,); without width information for
    a single value."""
    found = np.asarray(values, float)
    mean = float(found.mean())
    if len(found) < 2:
        return Interval(mean, math.nan, math.nan, math.nan, len(found))
    sd = float(found.std(ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, len(found) - 1)) * sd / math.sqrt(len(found))
    return Interval(mean, sd, mean - half, mean + half, len(found))


# ---- what one test image does to a metric --------------------------------------------------------


def influence_of_average_precision(
    targets: NDArray[np.int8], scores: NDArray[np.float32]
) -> tuple[Array, Array]:
    """Influence (N, C) of every image on the average precision (C,) of every class, in percent.

    `targets` (N, C) with -1 for cells to leave out. With a weight w_k for image k, AP = Σ over
    positives i of w_i F_i / S_i, divided by Σ w_i, where F_i and S_i are the summed weights of
    positives and of all images scored at least as high as i; the influence is the derivative by
    w_k at w = 1. The sum of squared influences estimates the variance of AP over test sets of this
    size (the infinitesimal jackknife: Jaeckel 1972; Efron, "The jackknife, the bootstrap and other
    resampling plans", 1982, chapter 6), and the influence of a difference is the difference of
    influences, so pairing costs nothing. Tied scores share one threshold; a class without a
    positive is nan.
    """
    labels, values = np.ascontiguousarray(targets.T), np.ascontiguousarray(-scores.T)  # (C, N)
    order = np.argsort(values, axis=1, kind="stable")
    values, labels = np.take_along_axis(values, order, 1), np.take_along_axis(labels, order, 1)
    positive, known = labels == 1, labels >= 0
    changes = values[:, 1:] != values[:, :-1]
    edge = np.ones((len(values), 1), bool)
    place = np.arange(values.shape[1])
    last = np.where(np.concatenate([changes, edge], axis=1), place, len(place) - 1)
    first = np.where(np.concatenate([edge, changes], axis=1), place, 0)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]  # of the images tied with this
    first = np.maximum.accumulate(first, axis=1)
    seen = np.take_along_axis(np.cumsum(known, axis=1), last, 1)
    found = np.take_along_axis(np.cumsum(positive, axis=1), last, 1)
    inverse = 1 / np.maximum(seen, 1)
    precision = found * inverse
    with np.errstate(invalid="ignore", divide="ignore"):  # a class without a positive
        number = positive.sum(axis=1, keepdims=True)
        value = (positive * precision).sum(axis=1, keepdims=True) / number
        # Σ over positives below of 1 / S, and of F / S²
        gained = np.cumsum((positive * inverse)[:, ::-1], axis=1)[:, ::-1]
        lost = np.cumsum((positive * precision * inverse)[:, ::-1], axis=1)[:, ::-1]
        gained, lost = np.take_along_axis(gained, first, 1), np.take_along_axis(lost, first, 1)
        slope = (positive * (precision - value + gained) - known * lost) / number
    influence = np.empty_like(slope)
    np.put_along_axis(influence, order, slope, 1)
    return 100 * influence.T, 100 * value[:, 0]


def influence_of_ratio(above: Array, below: Array) -> Array:
    """Influence (N,) in percent on Σ above / Σ below, of sums over images (N,) each: micro
    averaged precision, recall and F1."""
    total = max(float(below.sum()), 1e-12)
    share = float(above.sum()) / total
    return np.asarray(100 * (above - share * below) / total, float)


# ---- comparisons ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """A method beside the best of its column. `gap` is method minus best in points, with its
    simultaneous interval; `p` is corrected for all methods that may still be the best; `detectable`
    is the true gap that would be found in four of five repetitions."""

    gap: float
    low: float
    high: float
    p: float
    tied: bool  # not significantly below the best
    detectable: float
    comparable: bool = True  # False: no seed in common with the best, and everything else is nan
    # tied only for want of seeds: on the test images alone the gap would be significant
    undecided: bool = False


APART = Verdict(math.nan, math.nan, math.nan, math.nan, False, math.nan, comparable=False)


@dataclass(frozen=True)
class Noise:
    """What is known of a difference: how it varies over test images (the squared standard error
    and its degrees of freedom), over `seeds` common seeds (the sample variance of one seed's
    difference), and how each method varies over its own seeds (sample variances; nan for one
    seed)."""

    images: Array  # (M, M)
    images_dof: Array  # (M, M)
    pairs: Array  # (M, M)
    seeds: NDArray[np.int64]  # (M, M), 0 = not comparable
    methods: Array  # (M,)
    methods_dof: Array  # (M,), 0 for one seed

    def of(self, one: int, active: Sequence[int]) -> tuple[Array, Array]:
        """Standard errors (A,) of the differences of the `active` methods to method `one`, and
        their degrees of freedom (Welch and Satterthwaite).

        Two or three seeds say little about the noise of seeds, and a pair that varies little by
        luck would look certain. Its variance is therefore drawn, where it is lower, towards the
        mean of the methods that are compared, with the weight of that mean's degrees of freedom
        (`SHARED` at most; few where one method varies much and the others little); it is never
        lowered. Where no method has three seeds, twice that mean is taken: every variance then has
        one degree of freedom, and such an estimate is below half of the truth half of the time.
        """
        images, pairs = self.images[active, one], self.pairs[active, one]
        seeds = self.seeds[active, one].astype(float)
        varying, free = self.methods[[one, *active]], self.methods_dof[[one, *active]]
        varying, free = varying[free > 0], free[free > 0]
        shared = 2 * float(varying.mean()) if len(varying) else 0.0
        shared *= 2 if len(free) and free.max() < 2 else 1
        # Welch and Satterthwaite; s⁴ (ν + 2) / ν is what estimates σ⁴
        weight = 0.0
        if shared > 0:
            weight = min(SHARED, float(varying.sum() ** 2 / (varying**2 / (free + 2)).sum()))
        own = np.maximum(seeds - 1, 0)
        pairs = np.where(own > 0, pairs, 0.0)
        mixed = (weight * shared + own * pairs) / np.maximum(weight + own, 1e-12)
        variance = np.maximum(mixed, pairs) / np.maximum(seeds, 1)
        known = np.where(mixed > pairs, weight + own, own)
        total = images + variance
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = images**2 / self.images_dof[active, one]
            parts = parts + np.where(variance > 0, variance**2 / known, 0)
            dof = np.where(parts > 0, total**2 / parts, np.inf)
        return np.sqrt(total), dof

    def of_images(self, one: int, active: Sequence[int]) -> tuple[Array, Array]:
        """As `of`, as if these seeds were all that there is."""
        return np.sqrt(self.images[active, one]), self.images_dof[active, one]


@dataclass(frozen=True)
class Comparison:
    """Methods in one column: `difference[i, j]` is method i minus method j in points over their
    common seeds, nan without any."""

    methods: tuple[str, ...]
    difference: Array  # (M, M)
    noise: Noise
    best: str  # "" when less than half of the methods share a seed
    verdicts: dict[str, Verdict]

    @property
    def tied(self) -> frozenset[str]:
        """The best and what is not significantly below it."""
        return frozenset(m for m, verdict in self.verdicts.items() if verdict.tied)

    def all_pairs(self) -> Array:
        """(M, M) p values of every pair, corrected for all pairs (Tukey)."""
        size = len(self.methods)
        p = np.ones((size, size))
        for k in range(size):
            error, dof = self.noise.of(k, range(size))
            p[:, k] = [tukey(one, size) for one in two_sided(self.difference[:, k], error, dof)]
        return p


def compare(
    values: Mapping[str, Mapping[int, float]],
    influences: Mapping[str, Mapping[int, Array]],
    level: float = LEVEL,
) -> Comparison:
    """Compares methods with the best of them, on the same test images and the same seeds.

    `values[method][seed]` is the score, `influences[method][seed]` (N,) what each test image does
    to it. Two sources of noise are added: the test images (squared influences of the seed-averaged
    difference) and the seeds (see `Noise.of`).
    """
    methods = tuple(values)
    size = len(methods)
    difference = np.full((size, size), math.nan)
    images, images_dof = np.zeros((size, size)), np.full((size, size), math.inf)
    pairs = np.full((size, size), math.nan)
    common = np.zeros((size, size), np.int64)
    for i, j in itertools.combinations_with_replacement(range(size), 2):
        a, b = methods[i], methods[j]
        seeds = sorted(set(values[a]) & set(values[b]))
        both = [(i, j), (j, i)]
        for pair in both:
            common[pair] = len(seeds)
        if seeds:
            gaps = np.array([values[a][s] - values[b][s] for s in seeds])
            effect = np.mean([influences[a][s] - influences[b][s] for s in seeds], axis=0)
            squares = _sum_of_squares(effect)
            difference[i, j], difference[j, i] = gaps.mean(), -gaps.mean()
            for pair in both:
                images[pair], images_dof[pair] = squares
                pairs[pair] = float(gaps.var(ddof=1)) if len(seeds) > 1 else math.nan
    own = np.array([_variance(list(found.values())) for found in values.values()], float)
    free = np.array([len(found) - 1 for found in values.values()], float)
    noise = Noise(images, images_dof, pairs, common, own, free)
    means = {m: float(np.mean(list(found.values()))) for m, found in values.items()}
    reach = (common > 0).sum(axis=1) - 1  # others that share a seed
    among = [m for m, n in zip(methods, reach, strict=True) if 2 * n >= size - 1]
    best = max(among, key=means.__getitem__) if among else ""
    verdicts = dict.fromkeys(methods, APART)
    if best:
        row = methods.index(best)
        found = against_best(difference[:, row], noise, row, level)
        verdicts = dict(zip(methods, found, strict=True))
    return Comparison(methods, difference, noise, best, verdicts)


def _sum_of_squares(effect: Array) -> tuple[float, float]:
    """Σ e² and the degrees of freedom that it has as an estimate of a variance: N for normal
    effects, fewer where few images (the rare positives) decide."""
    squares = np.square(effect)
    total = float(squares.sum())
    spread = float(np.square(squares).sum()) - total**2 / len(effect)
    return total, 2 * total**2 / spread if spread > 0 else math.inf


def _variance(values: Sequence[float]) -> float:
    return float(np.var(values, ddof=1)) if len(values) > 1 else math.nan


def against_best(gap: Array, noise: Noise, best: int, level: float = LEVEL) -> list[Verdict]:
    """One verdict a method, from its gap (M,) to the method at place `best`.

    Step by step, as a model confidence set is made (Hansen, Lunde and Nason, Econometrica 2011):
    of the methods that may still be the best, take the one with the least p; if it is below
    `level` after Tukey's correction for the number of those methods, it is out, and the next is
    judged among one method less. The correction is that of all pairs among them, because the best
    is itself chosen by its score. Methods far below are out first and cost the others nothing.

    What stays may do so for two reasons: its gap is within the noise of the test images, or it is
    not, but its seeds or those of the best scatter so much that the gap may be luck. The latter is
    undecided: more seeds would tell.
    """
    verdicts = [APART] * len(gap)
    verdicts[best] = Verdict(0.0, 0.0, 0.0, 1.0, True, math.nan)
    active = [k for k in range(len(gap)) if k != best and math.isfinite(gap[k])]
    largest, stopped = 0.0, False
    while active:
        errors, dofs = noise.of(best, active)
        p = two_sided(gap[active], errors, dofs)
        first = int(np.argmin(p))
        among = len(active) + 1
        stopped = not (tukey(float(p[first]), among) < level and gap[active[first]] < 0)
        judged = np.argsort(p, kind="stable") if stopped else [first]
        alone = two_sided(gap[active], *noise.of_images(best, active))
        for step, place in enumerate(judged):
            k, error, dof = active[place], float(errors[place]), float(dofs[place])
            largest = max(largest, tukey(float(p[place]), among - step))
            half = error * float(stats.t.isf(pointwise(level, among) / 2, dof))
            found = half + error * float(stats.t.ppf(POWER, dof))
            low, high = float(gap[k]) - half, float(gap[k]) + half
            below = gap[k] < 0 and tukey(float(alone[place]), among) < level
            verdicts[k] = Verdict(
                float(gap[k]), low, high, largest, stopped, found, undecided=stopped and bool(below)
            )
        if stopped:
            break
        del active[first]
    return verdicts


def two_sided(gap: Array, error: Array, dof: Array) -> Array:
    """p values of Student's t; 1 for equal numbers without error, nan where there is no gap."""
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stats.t.sf(np.abs(gap) / error, dof)
    return np.where(np.isnan(gap), math.nan, np.where(error > 0, p, (gap == 0).astype(float)))


def tukey(p: float, methods: int) -> float:
    """The p value of one pair, corrected for all pairs of `methods`: the chance that the range of
    as many standard normal variables exceeds √2 times its normal quantile. p itself for two."""
    if methods <= 2 or math.isnan(p):
        return p
    quantile = math.sqrt(2) * float(stats.norm.isf(p / 2))
    return float(stats.studentized_range.sf(quantile, methods, np.inf)) if p < 1 else 1.0


@functools.cache
def pointwise(level: float, methods: int) -> float:
    """The p value of one pair that `tukey` turns into `level`."""
    if methods <= 2:
        return level
    quantile = float(stats.studentized_range.isf(level, methods, np.inf)) / math.sqrt(2)
    return 2 * float(stats.norm.sf(quantile))


# ---- ranks ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranks:
    """Average ranks (1 = best) over blocks, Nemenyi's critical difference and Friedman's p
    value."""

    methods: tuple[str, ...]
    average: Array  # (M,)
    critical_difference: float
    friedman_p: float
    blocks: int


def average_ranks(
    blocks: Sequence[Mapping[str, float]], fewest: int = FEWEST_BLOCKS
) -> Ranks | None:
    """Ranks the methods that have a number in every block (Demšar, JMLR 2006); a block is one data
    set under one setting, since numbers of one data set are not independent. None below `fewest`
    blocks or two methods."""
    methods = tuple(sorted(set.intersection(*map(set, blocks)))) if blocks else ()
    if len(methods) < 2 or len(blocks) < fewest:
        return None
    complete = np.array([[block[m] for m in methods] for block in blocks])  # (blocks, M)
    average = stats.rankdata(-complete, axis=1).mean(axis=0)
    size, n = len(methods), len(complete)
    quantile = float(stats.studentized_range.ppf(1 - LEVEL, size, np.inf)) / math.sqrt(2)
    test = stats.friedmanchisquare if size > 2 else stats.wilcoxon
    p = float(test(*complete.T).pvalue)
    return Ranks(methods, average, quantile * math.sqrt(size * (size + 1) / (6 * n)), p, n)
