"""The linear probe against scikit-learn, its sweep, its edge cases, and the dense variant."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression as Reference

from benchmark.metrics import average_precision
from benchmark.task import ABSENT, PRESENT, UNKNOWN, Part, Run
from methods.linear_probe import COARSE, Method

CLASSES = ("a", "b", "c", "d")
CPU = torch.device("cpu")


def world(n=160, width=12, known=0.6, regions=0, seed=0):
    """Unit-norm features (n, D) or (n, R, D) in which classes are linear plus noise; masked and
    full labels."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, width))
    noise = rng.normal(size=(n, len(CLASSES)))
    y = (
        latent @ np.random.default_rng(99).normal(size=(width, len(CLASSES))) + 2 * noise > 1
    ).astype(np.int8)
    features = latent * np.linspace(1, 0.1, width) + 1
    if regions:  # the evidence stands in one region, the others are noise
        scattered = rng.normal(size=(n, regions, width)) + 1
        scattered[np.arange(n), rng.integers(0, regions, n)] = 3 * latent
        features = scattered
    x = F.normalize(torch.tensor(features, dtype=torch.float32), dim=-1)
    return x, np.where(rng.random(y.shape) < known, y, UNKNOWN).astype(np.int8), y


def part(x, y):
    def stream(chunks, augment, rng):
        return (x[chunk] for chunk in chunks)

    return Part(CLASSES, y, stream, np.random.default_rng(0), CPU, x=x)


@pytest.fixture
def run(tmp_path):
    return Run(seed=0, device=CPU, folder=tmp_path)


CLIP = SimpleNamespace(width=12, device="cpu")
NOTHING = part(torch.empty(0, 12), np.empty((0, 4), np.int8))


def by_reference(x, y, c, **arguments):
    """Logits of scikit-learn on standardised features, class by class."""
    x = x.double().numpy()
    x = (x - x.mean(0)) / x.std(0)
    result = []
    for column in y.T:
        known = column != UNKNOWN
        model = Reference(C=c, tol=1e-10, max_iter=10_000, **arguments).fit(x[known], column[known])
        result.append(model.decision_function(x))
    return np.stack(result, 1)


@pytest.mark.parametrize("c", [1e-4, 0.1, 100.0])
def test_masked_solution_equals_sklearn(run, c):
    x, y, _ = world()
    method = Method(C=c)
    method.fit(CLIP, part(x, y), NOTHING, run)
    np.testing.assert_allclose(
        method.predict(CLIP, x, CLASSES), by_reference(x, y, c), rtol=2e-4, atol=2e-4
    )
    assert run.chosen == {"C": pytest.approx(c)} and run.trials == 1


def test_unknown_as_negative_equals_sklearn(run):
    x, y, _ = world()
    method = Method(C=1.0, unknown="negative")
    method.fit(CLIP, part(x, y), NOTHING, run)
    expected = by_reference(x, np.where(y == UNKNOWN, ABSENT, y), 1.0)
    np.testing.assert_allclose(method.predict(CLIP, x, CLASSES), expected, rtol=2e-4, atol=2e-4)


def test_balanced_gives_positives_and_negatives_the_same_weight(run):
    x, y, _ = world(known=1.0)
    # so small that the bias alone is left: its optimum is logit(1/2)
    method = Method(C=1e-6, balanced=True)
    method.fit(CLIP, part(x, y), NOTHING, run)
    np.testing.assert_allclose(method.predict(CLIP, x, CLASSES), 0, atol=1e-3)
    weights = (y[:, 0] == 0).sum() / (y[:, 0] == 1).sum()
    method = Method(C=0.5, balanced=True)
    method.fit(CLIP, part(x, y), NOTHING, run)
    expected = by_reference(x, y[:, :1], 0.5, class_weight={0: 1, 1: weights})[:, 0]
    np.testing.assert_allclose(
        method.predict(CLIP, x, ("a",))[:, 0], expected, rtol=2e-4, atol=2e-4
    )


def test_the_sweep_finds_a_better_c_than_both_ends(run):
    x, y, full = world(n=400, seed=1)
    train, val = part(x[:120], y[:120]), part(x[120:260], y[120:260])
    method = Method()
    method.fit(CLIP, train, val, run)
    looked_at = {row["log10_C"] for row in run.history[:-1]}
    assert set(COARSE) <= looked_at and run.trials == len(looked_at) <= len(COARSE) + 8
    best = max(row["val/mAP"] for row in run.history[:-1])
    assert run.chosen["C"] == pytest.approx(
        10 ** next(r["log10_C"] for r in run.history if r["val/mAP"] == best)
    )

    def test_map(chosen):
        other = Method(C=chosen)
        other.fit(CLIP, train, val, run)
        return average_precision(full[260:], other.predict(CLIP, x[260:], CLASSES).numpy()).mean()

    own = average_precision(full[260:], method.predict(CLIP, x[260:], CLASSES).numpy()).mean()
    assert own > max(test_map(1e-6), test_map(1e6)) - 0.005
    # the last fit has used the validation part as well
    alone = Method(C=run.chosen["C"])
    alone.fit(CLIP, train, NOTHING, run)
    assert not torch.allclose(alone.weight, method.weight, rtol=1e-2)


def test_hidden_labels_of_val_do_not_choose(run):
    x, y, _ = world()
    y[100:] = UNKNOWN
    method = Method()
    method.fit(CLIP, part(x[:100], y[:100]), part(x[100:], y[100:]), run)
    assert run.chosen["C"] == pytest.approx(0.316)


def test_classes_without_positives_or_negatives_get_a_constant(run):
    x, y, _ = world()
    y[:, 0] = np.where(y[:, 0] == PRESENT, ABSENT, y[:, 0])
    y[:, 1] = np.where(y[:, 1] == ABSENT, PRESENT, y[:, 1])
    y[:, 2] = UNKNOWN
    method = Method(C=1.0)
    method.fit(CLIP, part(x, y), NOTHING, run)
    scores = method.predict(CLIP, x, CLASSES).numpy()
    assert np.ptp(scores[:, :3], axis=0).max() == 0 and np.ptp(scores[:, 3]) > 0.1
    assert scores[0, 0] < scores[0, 2] < scores[0, 1]  # never seen < never labelled < always seen
    assert run.history[-1]["constant_classes"] == 3
    only_unknown = np.full_like(y, UNKNOWN)
    method.fit(CLIP, part(x, only_unknown), NOTHING, run)
    assert (
        np.isfinite(method.predict(CLIP, x, CLASSES).numpy()).all()
        and run.history[-1]["constant_classes"] == 4
    )


def test_columns_follow_the_classes_asked_for_and_state_survives(run):
    x, y, _ = world()
    method = Method(C=1.0)
    method.fit(CLIP, part(x, y), NOTHING, run)
    scores = method.predict(CLIP, x, CLASSES)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(method.predict(CLIP, x, ("d", "a")), scores[:, [3, 0]])
    state = {name: value.clone() for name, value in method.state_dict().items()}
    fresh = Method()
    fresh.load_state_dict(CLIP, CLASSES, state)
    torch.testing.assert_close(fresh.predict(CLIP, x, CLASSES), scores)


def test_dense_probe_learns_and_ignores_unknown_cells(run):
    x, y, full = world(n=300, regions=3)
    method = Method(dense=True, epochs=15)
    assert method.needs == "regions" and Method().needs == "global"
    torch.manual_seed(0)
    method.fit(CLIP, part(x[:200], y[:200]), NOTHING, run)
    precision = average_precision(full[200:], method.predict(CLIP, x[200:], CLASSES).numpy())
    assert precision.mean() > full[200:].mean() + 0.15
    assert run.history[-1]["train/loss"] < run.history[0]["train/loss"] and len(run.history) == 15
    assert method.state_dict()["weight"].shape == (8, 12)


def test_dense_logits_on_one_region_are_linear():
    from methods._dense_probe import logits

    weight, bias = torch.randn(4, 3), torch.randn(4)
    x = F.normalize(torch.randn(2, 1, 3), dim=-1)
    activation = 20 * (x[:, 0] @ weight.T + bias)
    torch.testing.assert_close(logits(x, weight, bias), 5 * (activation[:, 2:] - activation[:, :2]))
