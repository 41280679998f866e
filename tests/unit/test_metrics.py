"""Metrics against scikit-learn, against the official code's golden vectors, and on cases worked by
hand."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmark import metrics
from benchmark.task import ABSENT, PRESENT, UNKNOWN, View

GOLDEN = Path(__file__).parents[1] / "golden"


@st.composite
def labelled_scores(draw):
    """Targets with UNKNOWN cells and scores with many ties, float32 or float64."""
    shape = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    targets = draw(arrays(np.int8, shape, elements=st.sampled_from([UNKNOWN, ABSENT, PRESENT])))
    few_values = st.integers(-4, 4).map(lambda i: i / 4)
    any_value = st.floats(-30, 30, width=32)
    scores = draw(
        arrays(
            draw(st.sampled_from([np.float32, np.float64])), shape, elements=few_values | any_value
        )
    )
    return targets, scores


def by_sklearn(function, targets, scores, needs_negatives=False):
    result = np.full(targets.shape[1], np.nan)
    for c in range(targets.shape[1]):
        known = targets[:, c] != UNKNOWN
        labels = targets[known, c]
        if (labels == PRESENT).any() and (not needs_negatives or (labels == ABSENT).any()):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result[c] = function(labels, scores[known, c])
    return result


@pytest.mark.parametrize("buckets", [metrics.BUCKETS, 16])  # of few scores all are sorted
@settings(max_examples=100, deadline=None)
@given(labelled_scores())
def test_average_precision_and_auroc_equal_sklearn_with_ties(buckets, example):
    targets, scores = example
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "BUCKETS", buckets)
        require_equal_to_sklearn(targets, scores)


def require_equal_to_sklearn(targets, scores):
    expected = by_sklearn(average_precision_score, targets, scores)
    np.testing.assert_allclose(
        metrics.average_precision(targets, scores), expected, rtol=0, atol=1e-12
    )
    expected = by_sklearn(roc_auc_score, targets, scores, needs_negatives=True)
    np.testing.assert_allclose(metrics.auroc(targets, scores), expected, rtol=0, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(labelled_scores(), st.integers(0, 2**32 - 1))
def test_unknown_cells_have_no_influence(example, seed):
    targets, scores = example
    unknown = targets == UNKNOWN
    other = scores.copy()
    other[unknown] = np.random.default_rng(seed).permutation(np.linspace(-99, 99, unknown.sum()))
    view = View(np.ones(len(targets), bool), np.ones(targets.shape[1], bool))
    for name in ("average_precision", "auroc", "calibrate", "tune_threshold"):
        np.testing.assert_array_equal(
            getattr(metrics, name)(targets, scores), getattr(metrics, name)(targets, other)
        )
    before, after = (
        metrics.evaluate(targets, s, view, calibration=(1, 0), threshold=0.3)
        for s in (scores, other)
    )
    for name in ("mAP_softmax", "mAP_softmax_all", "mAP_softmax_official"):
        del before[name], after[name]  # the softmax couples all scores of an image
    assert before == pytest.approx(after, nan_ok=True)


def test_worked_examples():
    targets, scores = np.array([[1, 0, 1, 0, 1]]).T, np.array([[0.9, 0.8, 0.7, 0.6, 0.5]]).T
    np.testing.assert_allclose(metrics.average_precision(targets, scores), [0.7555555556])
    targets = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    scores = np.array([[4.0, 3, 2, 1], [4, 3, 2, 1], [2, 3, 4, 1]])
    expected = {"P": 100 / 3, "R": 50, "F1": 40}
    assert metrics.precision_recall_f1_at_k(targets, scores, 2) == pytest.approx(expected)
    expected = {"P": 100 / 3, "R": 75, "F1": 46.1538461538}
    assert metrics.precision_recall_f1_at_k(targets, scores, 3) == pytest.approx(expected)


def test_more_than_all_classes_and_images_without_labels():
    targets = np.array([[1, 0], [0, 0], [UNKNOWN, 1]], np.int8)
    scores = np.array([[1.0, 0], [1, 0], [1, 0]])
    # every known cell is predicted: 5 guesses, 2 hits, 2 labels
    assert metrics.precision_recall_f1_at_k(targets, scores, 7) == pytest.approx(
        {"P": 40, "R": 100, "F1": 400 / 7}
    )
    # UNKNOWN is no candidate, so the third image predicts its second class
    assert metrics.precision_recall_f1_at_k(targets, scores, 1) == pytest.approx(
        {"P": 200 / 3, "R": 100, "F1": 80}
    )


def test_top_k_breaks_ties_by_class_index():
    assert (
        metrics.precision_recall_f1_at_k(np.array([[0, 1, 0]]), np.array([[0.0, 5, 5]]), 1)["P"]
        == 100
    )
    assert (
        metrics.precision_recall_f1_at_k(np.array([[0, 0, 1]]), np.array([[0.0, 5, 5]]), 1)["P"]
        == 0
    )


def test_both_definitions_of_cf1_and_the_strict_threshold():
    targets = np.array([[1, 1], [1, 0], [0, 0], [0, UNKNOWN]], np.int8)
    # 0.5 is not predicted
    probabilities = np.array([[0.9, 0.2], [0.5, 0.9], [0.6, 0.1], [0.1, 0.9]])
    result = metrics.precision_recall_f1(targets, probabilities, 0.5)
    expected = {
        "CP": 25,
        "CR": 25,
        "CF1_mean": 25,
        "CF1_harm": 25,
        "OP": 100 / 3,
        "OR": 100 / 3,
        "OF1": 100 / 3,
    }
    assert result == pytest.approx(expected)
    other = metrics.precision_recall_f1(
        np.array([[1, 1], [0, 1]]), np.array([[0.9, 0.9], [0.9, 0.1]]), 0.5
    )
    assert (other["CP"], other["CR"]) == (75, 75) and other["CF1_harm"] == pytest.approx(75)
    assert other["CF1_mean"] == pytest.approx(200 / 3)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="same shape"):
        metrics.average_precision(np.zeros((3, 2)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="NaN"):
        metrics.auroc(np.zeros((3, 2)), np.full((3, 2), np.nan))


def test_calibration_recovers_the_true_probabilities():
    rng = np.random.default_rng(0)
    # CLIP-like logits: σ(score) would be 1 everywhere
    scores = rng.normal(25, 3, (4000, 3)).astype(np.float32)
    truth = 1 / (1 + np.exp(-(0.8 * scores - 21)))
    targets = (rng.random(scores.shape) < truth).astype(np.int8)
    a, b = metrics.calibrate(targets, scores)
    assert a == pytest.approx(0.8, abs=0.05) and b == pytest.approx(-21, abs=1.3)


def test_calibration_is_finite_in_degenerate_cases():
    separable = metrics.calibrate(np.array([[0], [1]]), np.array([[-1.0], [1]]))
    constant = metrics.calibrate(np.array([[0], [1]]), np.array([[3.0], [3]]))
    one_sided = metrics.calibrate(np.array([[0], [0]]), np.array([[1.0], [2]]))
    assert np.isfinite([separable, constant, one_sided]).all() and separable[0] > 0
    assert metrics.calibrate(np.array([[UNKNOWN]]), np.array([[3.0]])) == (1.0, 0.0)
    reversed_scores = metrics.calibrate(np.array([[0], [0], [1]]), np.array([[3.0], [2], [1]]))
    assert reversed_scores[0] == 0  # never turns a ranking around


@settings(max_examples=60, deadline=None)
@given(labelled_scores())
def test_tuned_threshold_is_the_best_of_all(example):
    targets, scores = example
    threshold = metrics.tune_threshold(targets, scores)
    best = metrics.precision_recall_f1(targets, scores, threshold)["OF1"]
    candidates = [-99.0, *np.unique(scores)]  # everything is predicted, then all above each score
    if (targets == PRESENT).any() and (targets == ABSENT).any():
        assert best == pytest.approx(
            max(metrics.precision_recall_f1(targets, scores, t)["OF1"] for t in candidates)
        )
    else:
        assert threshold == 0.5


def test_centroid_distances_equal_the_loop_over_pairs():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(30, 6))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    targets = rng.choice([UNKNOWN, ABSENT, PRESENT], (30, 5)).astype(np.int8)
    targets[:, 4] = ABSENT  # no centroid
    rows, columns = targets[:, 0] != PRESENT, np.array([1, 1, 0, 1, 1], bool)
    distances = {PRESENT: [], ABSENT: []}
    for c in (0, 1, 3):
        centroid = features[targets[:, c] == PRESENT].mean(0)
        for i in np.flatnonzero(rows):
            if targets[i, c] != UNKNOWN:
                distances[targets[i, c]].append(np.linalg.norm(features[i] - centroid + 1e-6))
    pd, nd = np.mean(distances[PRESENT]), np.mean(distances[ABSENT])
    result = metrics.centroid_distances(features, targets, rows, columns)
    assert result == pytest.approx({"PD": pd, "ND": nd, "PD/ND": pd / nd}, rel=1e-12)


def test_evaluate_scores_only_the_view():
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 2, (40, 6)).astype(np.int8)
    scores = rng.normal(size=(40, 6)).astype(np.float32)
    view = View(rng.random(40) < 0.7, np.array([1, 1, 1, 0, 0, 1], bool))
    targets[view.rows, 5] = 0
    result = metrics.evaluate(targets, scores, view, calibration=(2.0, -0.5), threshold=0.2)
    inside = np.ix_(view.rows, view.columns)
    expected = 100 * np.nanmean(metrics.average_precision(targets[inside], scores[inside]))
    assert result["mAP"] == pytest.approx(expected) and result["classes"] == 3
    probabilities = 1 / (1 + np.exp(-(2 * scores[inside] - 0.5)))
    assert (
        result["CF1_harm"]
        == metrics.precision_recall_f1(targets[inside], probabilities, 0.5)["CF1_harm"]
    )
    assert (
        result["OF1@val"] == metrics.precision_recall_f1(targets[inside], probabilities, 0.2)["OF1"]
    )
    assert result["F1@3"] == pytest.approx(result["OF1@3"])
    softmax = np.exp(scores[inside]) / np.exp(scores[inside]).sum(1, keepdims=True)
    expected = 100 * np.nanmean(metrics.average_precision(targets[inside], softmax))
    assert (
        result["mAP_softmax"] == pytest.approx(expected) and result["mAP_softmax"] != result["mAP"]
    )
    scores[:, ~view.columns] += 1000
    again = metrics.evaluate(targets, scores, view, calibration=(2.0, -0.5), threshold=0.2)
    for name in ("mAP_softmax_all", "mAP_softmax_official"):  # by their meaning
        assert again.pop(name) != result.pop(name)
    assert again == result


def test_published_variants_of_a_view():
    """LM-CLIP's columns take the softmax over all classes, official means count an empty class as
    0, DualCoOp's CP … OF1 cut at a raw probability of 0.5."""
    rng = np.random.default_rng(5)
    targets = rng.integers(0, 2, (50, 6)).astype(np.int8)
    scores = rng.normal(size=(50, 6))
    view = View(np.ones(50, bool), np.array([1, 1, 0, 0, 0, 1], bool))
    targets[:, 5] = 0
    result = metrics.evaluate(targets, scores, view, calibration=(2.0, -0.5), threshold=0.2)
    among_all = (np.exp(scores) / np.exp(scores).sum(1, keepdims=True))[:, view.columns]
    precision = metrics.average_precision(targets[:, view.columns], among_all)
    raw = metrics.average_precision(targets[:, view.columns], scores[:, view.columns])
    assert result["mAP_softmax_all"] == pytest.approx(100 * np.nanmean(precision))
    assert result["mAP_softmax_official"] == pytest.approx(100 * np.nansum(precision) / 3)
    assert result["mAP_official"] == pytest.approx(100 * np.nansum(raw) / 3)
    assert len({round(result[f"mAP{name}"], 6) for name in ("", "_softmax", "_softmax_all")}) == 3
    probabilities = 1 / (1 + np.exp(-scores[:, view.columns]))
    expected = metrics.precision_recall_f1(targets[:, view.columns], probabilities, 0.5)
    assert {name: result[f"{name}@raw"] for name in expected} == expected
    for name in ("mAP", "mAP_softmax_all", "F1@3"):
        chosen = metrics.official_criterion(name, targets, scores, view)
        assert chosen == pytest.approx(result[name])


def test_scalars_of_an_epoch_and_of_the_groups():
    rng = np.random.default_rng(3)
    targets, scores = rng.integers(0, 2, (50, 4)).astype(np.int8), rng.normal(size=(50, 4))
    precision = 100 * metrics.average_precision(targets, scores)
    groups = {
        "medium": np.array([1, 0, 0, 0], bool),
        "tail": np.array([0, 1, 1, 0], bool),
        "none": np.zeros(4, bool),
    }
    result = metrics.epoch_scalars(targets, scores, groups)
    assert result["val/mAP"] == pytest.approx(precision.mean())
    assert result["val/mAP_middle"] == pytest.approx(precision[0])  # the official tag of that group
    assert result["val/mAP_tail"] == pytest.approx(precision[1:3].mean())
    assert "val/mAP_none" not in result and 0 < result["val/AUROC"] < 100
    assert metrics.harmonic_mean_of_groups(targets, scores, groups) is None
    zero_shot = {"seen": np.array([1, 1, 0, 0], bool), "unseen": np.array([0, 0, 1, 1], bool)}
    seen, unseen = precision[:2].mean(), precision[2:].mean()
    expected = 2 * seen * unseen / (seen + unseen)
    assert metrics.harmonic_mean_of_groups(targets, scores, zero_shot) == pytest.approx(expected)


def test_golden_dualcoop():
    golden = np.load(GOLDEN / "metrics_dualcoop.npz")
    targets, scores = golden["targets"], golden["scores"]
    result = metrics.precision_recall_f1(targets, scores, float(golden["threshold"]))
    for name in ("CP", "CR", "CF1", "OP", "OR", "OF1"):
        own = "CF1_mean" if name == "CF1" else name
        assert result[own] == pytest.approx(float(golden[name]), rel=1e-6), name
    precision = metrics.average_precision(targets, scores)
    has_positives, untied = (
        (targets == 1).any(0),
        np.arange(targets.shape[1]) != targets.shape[1] - 2,
    )
    assert np.isnan(precision[~has_positives]).all()
    compared = has_positives & untied
    np.testing.assert_allclose(precision[compared], golden["AP"][compared], atol=1e-6)
    for key in golden.files:
        if key.startswith("P_at_"):
            k = int(key.split("_")[-1])
            expected = {name: float(golden[f"{name}_at_{k}"]) for name in ("P", "R", "F1")}
            assert metrics.precision_recall_f1_at_k(targets, scores, k) == pytest.approx(
                expected, abs=1e-6
            )
        if key.startswith("f1k_P_"):
            k = int(key.split("_")[-1])
            result = metrics.precision_recall_f1_at_k(
                golden["f1k_targets"], golden["f1k_scores"], k
            )
            expected = {name: float(golden[f"f1k_{name}_{k}"]) for name in ("P", "R", "F1")}
            assert result == pytest.approx(expected, abs=1e-6)


def test_golden_cole():
    """Precision and recall of each image; a class and an image have no positive."""
    golden = np.load(GOLDEN / "setting_cole.npz")
    targets, scores = golden["m_true"].astype(np.int8), golden["m_pred"]
    view = View(np.ones(len(targets), bool), np.ones(targets.shape[1], bool))
    found = metrics.evaluate(targets, scores, view, calibration=(1, 0), threshold=0.5)
    assert found["mAP_official"] == pytest.approx(float(golden["m_map"]))
    for k in (1, 3, 5):
        found = metrics.precision_recall_at_k_by_image(targets, scores, k)
        for name, theirs in (("P", "prec_at"), ("R", "rec_at"), ("hit", "top")):
            assert found[name] == pytest.approx(100 * float(golden[f"m_{theirs}_{k}"]))


@pytest.mark.parametrize("ties", ["", "_ties"])
def test_golden_lmclip(ties):
    golden = np.load(GOLDEN / "metrics_lmclip.npz")
    targets, scores = golden["targets"], golden[f"scores{ties}"]
    precision = metrics.average_precision(targets, scores)
    np.testing.assert_allclose(precision, golden[f"AP{ties}"], atol=1e-9)
    np.testing.assert_allclose(metrics.auroc(targets, scores), golden[f"AUROCs{ties}"], atol=1e-9)
    for group in ("head", "middle", "tail"):
        assert precision[golden[group]].mean() == pytest.approx(
            float(golden[f"mAP_{group}{ties}"]), abs=1e-9
        )
