"""Statistics against closed forms, scikit-learn and simulated experiments."""

import math
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from reports.statistics import (
    average_ranks,
    bootstrap_average_precision,
    compare,
    holm,
    interval,
    resample_counts,
)


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


def mean_ap(samples):
    return np.nanmean(samples, axis=1)


def compare_once(targets, scores, resamples, seed=0):
    counts = np.hstack(
        [np.ones((len(targets), 1), np.uint8), resample_counts(len(targets), resamples, seed)]
    )
    values, samples = {}, {}
    for k, matrix in enumerate(scores):  # the first column of counts is the sample itself
        drawn = mean_ap(bootstrap_average_precision(targets, matrix, counts))
        values[f"m{k}"], samples[f"m{k}"] = {0: float(drawn[0])}, {0: drawn[1:]}
    return compare(values, samples), values, samples


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
def test_weighted_average_precision_is_scikit_learns(tied):
    rng = np.random.default_rng(2)
    targets, (scores,) = simulate(rng, 300, 4, 1, 1.0)
    scores = np.round(scores) if tied else scores
    targets[rng.random(targets.shape) < 0.1] = -1
    counts = resample_counts(300, 270, 0)  # more than one block
    samples = bootstrap_average_precision(targets, scores, counts)
    for b in (0, 100, 269):
        for c in range(4):
            known = targets[:, c] >= 0
            expected = average_precision_score(
                targets[known, c], scores[known, c], sample_weight=counts[known, b]
            )
            assert samples[b, c] == pytest.approx(100 * expected, abs=1e-3)


def test_classes_and_resamples_without_a_positive_are_missing_not_zero():
    targets = np.array([[0, 1], [0, 0], [0, 0]], np.int8)
    counts = np.array([[1, 0], [1, 2], [1, 1]], np.uint8)
    samples = bootstrap_average_precision(targets, np.arange(6.0).reshape(3, 2), counts)
    assert np.isnan(samples[:, 0]).all()
    assert samples[0, 1] == pytest.approx(100 / 3) and np.isnan(samples[1, 1])


def test_resamples_are_shared_by_everything_of_one_size():
    counts = resample_counts(50, 20, 3)
    assert (counts == resample_counts(50, 20, 3)).all() and (counts.sum(axis=0) == 50).all()
    assert not (counts == resample_counts(50, 20, 4)).all()


def test_interval_of_a_paired_difference_covers_the_truth():
    """Two methods of equal skill: the interval of their difference holds zero in 93-97 % of the
    experiments."""
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(1000):
        targets, scores = simulate(rng, 200, 1, 2, 1.0)
        comparison, _, _ = compare_once(targets, scores, 100)
        inside += abs(comparison.difference[0, 1]) <= stats.norm.ppf(0.975) * comparison.error[0, 1]
    assert 0.93 <= inside / 1000 <= 0.97


def test_planted_point_is_found_paired_and_missed_unpaired():
    rng = np.random.default_rng(4)
    gaps, paired, unpaired = [], 0, 0
    for _ in range(40):
        targets, scores = simulate(rng, 1500, 10, 2, [1.5, 1.53], own_noise=0.1)
        comparison, _, samples = compare_once(targets, scores, 150)
        gaps.append(comparison.difference[1, 0])
        paired += comparison.p[0, 1] < 0.05
        unpaired += abs(gaps[-1]) > 1.96 * math.hypot(
            samples["m0"][0].std(), samples["m1"][0].std()
        )
    assert 0.8 < np.mean(gaps) < 1.2  # the planted difference, in points
    assert paired == 40 and unpaired == 0


def test_no_false_better_beyond_five_percent():
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(300):
        comparison, _, _ = compare_once(*simulate(rng, 200, 2, 5, 1.0), 100)
        wrong += bool((comparison.p < 0.05).any())
        assert comparison.best in comparison.tied
        assert len(comparison.tied) == 5 or (comparison.p < 0.05).any()
    assert wrong / 300 <= 0.05


def test_noise_of_seeds_counts():
    """Differences that are large on the images but turn around from seed to seed are no
    difference."""
    samples = {
        m: {s: np.random.default_rng(s).normal(70, 0.1, 200) for s in range(3)} for m in "ab"
    }
    steady = compare({"a": {0: 71, 1: 71.1, 2: 70.9}, "b": {0: 70, 1: 70.1, 2: 69.8}}, samples)
    erratic = compare({"a": {0: 73, 1: 68, 2: 72}, "b": {0: 70, 1: 70, 2: 70}}, samples)
    assert steady.tied == {"a"} and erratic.tied == {"a", "b"}
    assert erratic.detectable > 10 * steady.detectable


def test_only_common_seeds_are_compared():
    drawn = np.linspace(60, 80, 50)
    samples = {
        m: {s: drawn + k * np.sin(np.arange(50)) for s in range(2)} for k, m in enumerate("ab")
    }
    comparison = compare({"a": {0: 70.0}, "b": {0: 72.0, 1: 10.0}}, samples)
    assert comparison.difference[1, 0] == 2  # seed 1 has no counterpart
    alone = compare({"a": {0: 70.0}, "b": {1: 72.0}}, samples)
    assert np.isnan(alone.p[0, 1]) and alone.tied == {"a", "b"} and math.isnan(alone.detectable)


def test_equal_scores_tie():
    samples = {m: {0: np.linspace(60, 80, 50)} for m in "ab"}
    assert compare({"a": {0: 70.0}, "b": {0: 70.0}}, samples).tied == {"a", "b"}


def test_detectable_difference_is_found_in_four_of_five_repetitions():
    rng = np.random.default_rng(6)
    noise = {m: {0: rng.normal(70, 1, 4000)} for m in "ab"}
    detectable = compare({"a": {0: 70.0}, "b": {0: 70.0}}, noise).detectable
    error = math.sqrt(2)
    found = np.abs(rng.normal(detectable, error, 20000)) > stats.norm.ppf(0.975) * error
    assert 0.78 < found.mean() < 0.82


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.04, math.nan]) == pytest.approx([0.04, math.nan], nan_ok=True)
    assert len(holm([])) == 0


def test_average_ranks_use_complete_cells_only():
    cells = [{"a": 3, "b": 2, "c": 1}] * 9 + [{"a": 0, "b": 9}]
    ranks = average_ranks(cells)
    assert ranks.cells == 9 and list(ranks.average) == [1, 2, 3] and ranks.friedman_p < 0.001
    # q from Demšar
    assert ranks.critical_difference == pytest.approx(2.343 * math.sqrt(3 * 4 / (6 * 9)), rel=1e-3)
    assert average_ranks([{"a": 1}]) is None and average_ranks([{"a": 1, "b": 2}, {"a": 1}]) is None


def test_a_thousand_resamples_of_five_methods_on_voc_size():
    targets, scores = simulate(np.random.default_rng(7), 4952, 20, 5, 1.0)
    start = time.process_time()
    comparison, _, _ = compare_once(targets, scores, 1000)
    assert comparison.p.shape == (5, 5) and time.process_time() - start < 20
