"""Statistics against closed forms, scikit-learn and simulated experiments."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from reports.significance import at_k, influences
from reports.statistics import (
    average_ranks,
    compare,
    influence_of_average_precision,
    interval,
    pointwise,
    tukey,
)
from tests.speed.significance import (
    flips,
    null_error,
    one_seed,
    power,
    scores_table,
    seeds_table,
    several_seeds,
)

STEPS = ("step-down",)
OLD = ("all pairs, Holm", "step-down")


def simulate(rng, images, classes, methods, skill, own_noise=0.5):
    """Targets (N, C) and one score matrix per method: what they share (the image's difficulty) plus
    own noise."""
    targets = (rng.random((images, classes)) < 0.2).astype(np.int8)
    shared = rng.normal(size=(images, classes))
    scores = [
        (targets * s + shared + own_noise * rng.normal(size=(images, classes))).astype(np.float32)
        for s in np.broadcast_to(skill, methods)
    ]
    return targets, scores


def test_interval_is_the_textbook_one():
    result = interval([70.0, 72.0, 74.0])
    assert (result.mean, result.sd, result.n) == (72.0, 2.0, 3)
    # t(0.975, 2) from a table
    assert result.high - 72 == pytest.approx(4.302653 * 2 / math.sqrt(3), rel=1e-6)
    single = interval([70.0])
    assert single.mean == 70 and math.isnan(single.sd) and math.isnan(single.low)


def test_interval_covers_the_truth():
    rng = np.random.default_rng(1)
    results = [interval(row) for row in rng.normal(80, 1.5, size=(2000, 5))]
    assert 0.93 <= np.mean([r.low <= 80 <= r.high for r in results]) <= 0.97


@pytest.mark.parametrize("tied", [False, True])
def test_influence_is_the_derivative_of_scikit_learns_average_precision(tied):
    rng = np.random.default_rng(2)
    targets, (scores,) = simulate(rng, 120, 3, 1, 1.0)
    scores = np.round(scores) if tied else scores
    targets[rng.random(targets.shape) < 0.1] = -1
    influence, value = influence_of_average_precision(targets, scores)
    assert influence.sum(axis=0) == pytest.approx([0, 0, 0], abs=1e-9)  # weights that all grow
    for c in range(3):
        known = targets[:, c] >= 0
        pairs = targets[known, c], scores[known, c]
        assert value[c] == pytest.approx(100 * average_precision_score(*pairs))
        for image in (0, 7, 50, 119):
            weights = np.ones(120)
            weights[image] += 1e-5
            moved = average_precision_score(*pairs, sample_weight=weights[known])
            assert influence[image, c] == pytest.approx((100 * moved - value[c]) / 1e-5, abs=1e-3)


def test_a_class_without_a_positive_is_missing_not_zero():
    targets = np.array([[0, 1], [0, 0], [0, 0]], np.int8)
    influence, value = influence_of_average_precision(targets, np.arange(6.0).reshape(3, 2))
    assert np.isnan(value[0]) and np.isnan(influence[:, 0]).all()
    assert value[1] == pytest.approx(100 / 3)


@pytest.mark.parametrize("metric", ["P@3", "R@3", "F1@3", "F1@5"])
def test_influence_of_micro_averages_is_their_derivative(metric):
    targets, (scores,) = simulate(np.random.default_rng(3), 60, 8, 1, 1.0)
    name, k = metric.split("@")
    top = np.argsort(-scores, axis=1, kind="stable")[:, : int(k)]
    hits = np.take_along_axis(targets, top, 1).sum(axis=1)

    def score(weights):
        h, g, a = weights @ hits, weights.sum() * int(k), weights @ targets.sum(axis=1)
        return 100 * {"P": h / g, "R": h / a, "F1": 2 * h / (g + a)}[name]

    for image in (0, 30):
        weights = np.ones(60)
        weights[image] += 1e-6
        moved = (score(weights) - score(np.ones(60))) / 1e-6
        assert at_k(targets, scores, metric)[image] == pytest.approx(moved, abs=1e-4)


def test_influence_of_the_harmonic_mean_is_its_derivative():
    targets, (scores,) = simulate(np.random.default_rng(4), 80, 6, 1, 1.0)
    half = np.arange(6) < 3
    task = {"targets": targets, "group/seen": half, "group/unseen": ~half}
    found = influences(task, scores, ("gzsl/harmonic",))["gzsl/harmonic"]

    def score(weights):
        precision = [
            average_precision_score(targets[:, c], scores[:, c], sample_weight=weights)
            for c in range(6)
        ]
        seen, unseen = np.mean(precision[:3]), np.mean(precision[3:])
        return 100 * 2 * seen * unseen / (seen + unseen)

    for image in (1, 40):
        weights = np.ones(80)
        weights[image] += 1e-5
        moved = (score(weights) - score(np.ones(80))) / 1e-5
        assert found[image] == pytest.approx(moved, abs=1e-3)


def test_interval_of_a_paired_difference_covers_the_truth():
    """Two methods of equal skill: the interval of their difference holds zero in 93-97 % of the
    experiments."""
    rng = np.random.default_rng(3)
    covered = [
        not one_seed(*scores_table(rng, 200, 1, np.ones(2)), STEPS)["step-down"].any()
        for _ in range(800)
    ]
    assert 0.93 <= np.mean(covered) <= 0.97


# ---- what the marks hold to (docs/statistics.md has the large simulation) ------------------------


@pytest.mark.parametrize(
    ("methods", "kind", "tables"),
    [
        *((5, "scores", 200), (12, "scores", 80)),
        *((5, "seeds", 200), (12, "seeds", 200), (30, "seeds", 150)),
    ],
)
def test_family_wise_error_under_the_null(methods, kind, tables):
    """At most 6 % in truth: the share of so many tables is then below this in 99 of 100 tests."""
    found = null_error(methods, tables, np.random.default_rng(methods), kind, STEPS)
    assert found["step-down"] * tables <= stats.binom.ppf(0.99, tables, 0.06)


def test_family_wise_error_of_two_seeds_that_scatter():
    """Few methods and two seeds with three times the noise of images: one table in ten once."""
    found = null_error(5, 200, np.random.default_rng(8), "seeds", STEPS, seeds=2, noise=3.0)
    assert found["step-down"] * 200 <= stats.binom.ppf(0.99, 200, 0.06)


def test_a_planted_point_is_found_more_often_than_by_all_pairs():
    gap, found = power(5, 40, np.random.default_rng(1), rules=OLD)
    assert 0.8 < gap < 1.2  # the planted difference, in points
    assert found["step-down"] >= max(found["all pairs, Holm"], 0.8)


def test_ten_hopeless_methods_flip_no_mark_in_two_hundred_tables():
    assert flips(200, np.random.default_rng(2), rules=STEPS) == {"step-down": 0}


def test_lucky_seeds_do_not_look_certain():
    """Two seeds that agree by luck: what the other methods vary by is counted in."""
    scores = np.array([[80.0, 76.0, 60.0, 40.0], [80.0, 76.0, 70.0, 50.0]])
    assert not several_seeds(scores, 0.1, STEPS)["step-down"][1]
    calm = scores.copy()
    calm[1, 2:] = [60.3, 40.4]
    assert several_seeds(calm, 0.1, STEPS)["step-down"].tolist() == [False, True, True, True]
    rng = np.random.default_rng(3)
    wrong = null_error(12, 150, rng, "seeds", OLD, seeds=2, noise=3.0)
    assert wrong["step-down"] < 0.12 and wrong["all pairs, Holm"] > 0.3
    assert seeds_table(rng, np.zeros(4)).shape == (3, 4)


def test_a_wide_gap_between_scattering_seeds_is_undecided_not_tied_for_the_best():
    """Eight points below on images whose error is one, with seeds that scatter by seven: nobody may
    call it as good as the best, and nobody may call it worse."""
    rng = np.random.default_rng(0)
    effects = {s: rng.normal(size=400) / 20 for s in range(3)}  # an error of one point

    def verdict(*values):
        scores = {"best": {0: 80.1, 1: 79.9, 2: 80.0}, "other": dict(enumerate(values))}
        zero = {s: np.zeros(400) for s in range(3)}
        return compare(scores, {"best": zero, "other": effects}).verdicts["other"]

    scattered = verdict(79.0, 65.0, 72.0)
    assert scattered.tied and scattered.undecided
    close = verdict(79.8, 79.2, 80.1)
    assert close.tied and not close.undecided
    sure = verdict(72.1, 71.9, 72.0)
    assert not sure.tied and not sure.undecided
    single = compare(
        {"best": {0: 80.0}, "other": {0: 72.0}},
        {"best": {0: np.zeros(400)}, "other": {0: effects[0]}},
    ).verdicts["other"]
    assert not single.tied and not single.undecided


def test_tukey_by_the_table():
    # q(0.05; 3, ∞) = 3.314, q(0.05; 10, ∞) = 4.474
    for methods, quantile in ((3, 3.314), (10, 4.474)):
        p = 2 * stats.norm.sf(quantile / math.sqrt(2))
        assert tukey(p, methods) == pytest.approx(0.05, rel=2e-3)
        assert pointwise(0.05, methods) == pytest.approx(p, rel=2e-2)
    assert tukey(0.03, 2) == 0.03 and tukey(1.0, 9) == 1 and pointwise(0.05, 2) == 0.05


def pair(first, second, noise=0.0):
    """A comparison of two methods from {seed: value} each."""
    drawn = np.linspace(-1, 1, 50)
    effects = {"a": first, "b": second}
    influence = {
        m: {s: 0.1 * drawn + noise * np.sin(np.arange(50) + k) for s in found}
        for k, (m, found) in enumerate(effects.items())
    }
    return compare(effects, influence)


def test_noise_of_seeds_counts():
    """Differences that are large on the images but turn around from seed to seed are no
    difference."""
    steady = pair({0: 71, 1: 71.1, 2: 70.9}, {0: 70, 1: 70.1, 2: 69.8}, 0.01)
    erratic = pair({0: 73, 1: 68, 2: 72}, {0: 70, 1: 70, 2: 70}, 0.01)
    assert steady.tied == {"a"} and erratic.tied == {"a", "b"}
    assert erratic.verdicts["b"].detectable > 10 * steady.verdicts["b"].detectable


def test_only_common_seeds_are_compared():
    comparison = pair({0: 70.0}, {0: 72.0, 1: 10.0}, 0.01)
    assert comparison.difference[1, 0] == 2  # seed 1 has no counterpart
    alone = pair({0: 70.0}, {1: 72.0})
    assert alone.best == "" and not alone.tied
    assert not any(verdict.comparable for verdict in alone.verdicts.values())


def test_equal_scores_tie():
    assert pair({0: 70.0}, {0: 70.0}).tied == {"a", "b"}


def test_the_interval_holds_zero_exactly_for_what_ties():
    rng = np.random.default_rng(8)
    for _ in range(50):
        values, effects = scores_table(rng, 100, 3, 1 + 0.3 * rng.random(6))
        found = compare(
            {f"m{k}": {0: value} for k, value in enumerate(values)},
            {f"m{k}": {0: effect} for k, effect in enumerate(effects)},
        )
        for method, verdict in found.verdicts.items():
            assert verdict.tied == (verdict.p >= 0.05), method
            assert method == found.best or verdict.tied == (verdict.high >= 0), method


def test_detectable_gap_is_found_in_four_of_five_repetitions():
    rng = np.random.default_rng(6)
    found = pair({0: 70.0}, {0: 70.0}, 1.0)
    verdict = found.verdicts[next(m for m in "ab" if m != found.best)]
    error = math.sqrt(found.noise.images[0, 1])
    half = (verdict.high - verdict.low) / 2
    assert 0.77 < (rng.normal(verdict.detectable, error, 20000) > half).mean() < 0.83


# ---- ranks ---------------------------------------------------------------------------------------


def test_average_ranks_of_the_methods_that_have_every_block():
    blocks = [{"a": 3, "b": 2, "c": 1, "d": 0}] * 8 + [{"a": 3, "b": 2, "c": 1}]
    ranks = average_ranks(blocks)
    assert ranks.methods == ("a", "b", "c") and ranks.blocks == 9
    assert list(ranks.average) == [1, 2, 3] and ranks.friedman_p < 0.001
    # q from Demšar
    assert ranks.critical_difference == pytest.approx(2.343 * math.sqrt(3 * 4 / (6 * 9)), rel=1e-3)
    assert average_ranks(blocks[:4]) is None and average_ranks([]) is None
    assert average_ranks([{"a": 1}] * 6) is None
