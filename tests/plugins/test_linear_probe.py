"""The linear probe against scikit-learn, its sweep, its edge cases, and the losses for partial
labels."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression as Reference

from benchmark.metrics import average_precision
from benchmark.task import ABSENT, PRESENT, UNKNOWN, Member, Part, Run
from methods._loss_names import LOSSES, make_loss
from methods.linear_probe import COARSE, Method
from tests.fixtures.golden import close, golden

CLASSES = ("a", "b", "c", "d")
CPU = torch.device("cpu")


def world(n=160, width=12, known=0.6, seed=0):
    """Unit-norm features (n, D) in which classes are linear plus noise; masked and full labels."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, width))
    noise = rng.normal(size=(n, len(CLASSES)))
    y = (
        latent @ np.random.default_rng(99).normal(size=(width, len(CLASSES))) + 2 * noise > 1
    ).astype(np.int8)
    features = latent * np.linspace(1, 0.1, width) + 1
    x = F.normalize(torch.tensor(features, dtype=torch.float32), dim=-1)
    return x, np.where(rng.random(y.shape) < known, y, UNKNOWN).astype(np.int8), y


def part(x, y):
    def stream(chunks, augment, rng):
        return (x[chunk] for chunk in chunks)

    return Part(CLASSES, y, stream, np.random.default_rng(0), CPU, x=x)


@pytest.fixture
def run(tmp_path):
    return Run(seed=0, device=CPU, folder=tmp_path)


TEXTS = F.normalize(torch.randn(4, 12, generator=torch.Generator().manual_seed(0)), dim=-1)
CLIP = SimpleNamespace(width=12, device="cpu", text=lambda prompts: TEXTS)
NOTHING = part(torch.empty(0, 12), np.empty((0, 4), np.int8))


def by_reference(x, y, c, **arguments):
    """Logits of scikit-learn on standardised features, class by class."""
    x = x.double().numpy()
    x = (x - x.mean(0)) / x.std(0)
    result = []
    for column in y.T:
        known = column != UNKNOWN
        model = Reference(C=c, tol=1e-12, solver="newton-cholesky", **arguments)
        model.fit(x[known], column[known])
        result.append(model.decision_function(x))
    return np.stack(result, 1)


@pytest.mark.parametrize("c", [1e-4, 0.1, 100.0])
def test_masked_solution_equals_sklearn(run, c):
    x, y, _ = world()
    method = Method(C=c)
    method.fit(CLIP, part(x, y), NOTHING, run)
    np.testing.assert_allclose(
        method.predict(CLIP, x, CLASSES), by_reference(x, y, c), rtol=1e-6, atol=1e-6
    )
    assert run.chosen == {"C": pytest.approx(c)} and run.trials == 1


def test_features_with_little_in_common_and_very_different_spreads(run):
    """Also where the curvature differs by twelve orders of magnitude and nothing is
    standardised."""
    x, y, _ = world(n=60)
    x = x * torch.logspace(-3, 3, 12)
    method = Method(C=1.0, standardize=False)
    method.fit(CLIP, part(x, y), NOTHING, run)
    for c, column in enumerate(y.T):
        known = column != UNKNOWN
        model = Reference(C=1.0, tol=1e-12, solver="newton-cholesky", max_iter=1000)
        model.fit(x[known].double().numpy(), column[known])
        expected = model.decision_function(x.double().numpy())
        np.testing.assert_allclose(
            method.predict(CLIP, x, CLASSES)[:, c], expected, rtol=1e-4, atol=1e-4
        )


def test_runs_solved_together_are_those_solved_alone(tmp_path):
    """Of three label rates, one with a constant class, one with fewer images and one without a
    known label to choose C by."""
    members, alone = [], []
    for i, known in enumerate((0.3, 0.9, 0.6)):
        x, y, _ = world(n=200, known=known, seed=i)
        if i == 0:
            y[:, 1] = np.where(y[:, 1] == PRESENT, UNKNOWN, y[:, 1])
        if i == 2:
            y[120:] = UNKNOWN
        stop = 180 if i == 1 else 200
        for found in (members, alone):
            own = Run(seed=i, device=CPU, folder=tmp_path)
            train, val = part(x[:120], y[:120]), part(x[120:stop], y[120:stop])
            found.append(Member(Method(), train, val, own))
    assert Method.fit_many(CLIP, members) == [None] * 3
    for one, (method, train, val, run) in zip(members, alone, strict=True):
        method.fit(CLIP, train, val, run)
        assert one.run.chosen == run.chosen and one.run.trials == run.trials
        for row, expected in zip(one.run.history, run.history, strict=True):
            assert row == pytest.approx(expected, abs=0.5)  # candidates are solved to 1 %
        torch.testing.assert_close(
            one.method.predict(CLIP, train.features, CLASSES),
            method.predict(CLIP, train.features, CLASSES),
            rtol=1e-5,
            atol=1e-5,
        )


def test_unknown_as_negative_equals_sklearn(run):
    x, y, _ = world()
    method = Method(C=1.0, unknown="negative")
    method.fit(CLIP, part(x, y), NOTHING, run)
    expected = by_reference(x, np.where(y == UNKNOWN, ABSENT, y), 1.0)
    np.testing.assert_allclose(method.predict(CLIP, x, CLASSES), expected, rtol=1e-6, atol=1e-6)


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
        method.predict(CLIP, x, ("a",))[:, 0], expected, rtol=1e-6, atol=1e-6
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


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_and_its_state_survives(loss, run):
    x, y, full = world(n=300)
    method = Method(loss=loss, epochs=30, learning_rate=0.01, constants="pocket")
    torch.manual_seed(0)
    method.fit(CLIP, part(x[:200], y[:200]), NOTHING, run)
    scores = method.predict(CLIP, x[200:], CLASSES)
    precision = average_precision(full[200:], scores.numpy())
    assert precision.mean() > full[200:].mean() + 0.15
    assert len(run.history) == 30
    fresh = Method(loss=loss)
    fresh.load_state_dict(CLIP, CLASSES, method.state_dict())
    torch.testing.assert_close(fresh.predict(CLIP, x[200:], CLASSES), scores)


def test_a_loss_takes_the_constants_of_a_data_set_and_explicit_ones_win():
    assert make_loss("em").alpha == 0.2 and make_loss("em", "coco").alpha == 0.1
    assert make_loss("em(alpha=0.3)", "coco").alpha == 0.3
    assert make_loss("role", "nus").expected == 1.9
    assert make_loss("splc", "coco").threshold == 0.6


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"loss": "focal"}, "loss='focal' should be one of an, ls"),
        ({"loss": "em(beta=1)"}, "loss 'em' has no constant 'beta'; it has: alpha"),
        ({"loss": "em("}, "cannot read loss='em\\('"),
        ({"loss": "em", "constants": "imagenet"}, "constants='imagenet' should be one of voc"),
        ({"loss": "em", "C": 1.0}, "belong to the logistic regression"),
    ],
)
def test_a_wrong_loss_is_refused_with_the_remedy(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        Method(**fields)


def test_large_losses_become_labels_for_good_only_in_the_permanent_scheme():
    y = torch.full((4, 3), -1, dtype=torch.int8)
    y[:, 0] = 1
    logits, rows = torch.zeros(4, 3), torch.arange(4)
    logits[0, 1] = 9.0
    for name, expected in (("ll_cp(delta=0.5)", 1), ("ll_ct(delta=0.5)", -1)):
        loss = make_loss(name)
        loss.start(torch.zeros(4, 2), y, 10)
        loss.start_epoch(2, lambda: torch.sigmoid(logits))
        loss(logits, rows)
        assert loss.y[0, 1] == expected
    assert y[0, 1] == -1  # the labels of the part are nobody's to change


def test_role_follows_the_official_estimator_step_by_step():
    data = golden("losses_cole.npz")
    labels = torch.from_numpy(np.where(data["role_labels_obs"] == 1, 1, -1))
    x = torch.from_numpy(data["role_X"])
    layer = torch.nn.Linear(5, 9)
    layer.weight.data, layer.bias.data = torch.from_numpy(data["role_W0"]), torch.zeros(9)
    loss = make_loss(f"role(expected={data['role_k']})")
    loss.start(x, labels, 6)
    known = labels == 1
    assert (loss.estimates[known] - 5.293305).abs().max() < 1e-4
    assert loss.estimates[~known].abs().max() <= 0.405466
    loss.estimates.data = torch.from_numpy(data["role_init_est_logits"]).clone()
    groups = [{"params": layer.parameters()}, {"params": loss.parameters(), "lr": 0.1}]
    optimizer = torch.optim.Adam(groups, lr=0.01)
    for step in range(6):
        rows = torch.arange(step % 2, 10, 2)
        value = loss(layer(x[rows]), rows)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        close(value, data[f"role_loss_{step}"])
        if step == 0:
            close(value, data["role_loss_step0"])
            close(layer.weight.grad, data["role_gradW_step0"])
            close(loss.estimates.grad, data["role_gradEst_step0"])
    close(layer.weight, data["role_W6"], 1e-4)
    close(layer.bias, data["role_b6"], 1e-4)
    close(loss.estimates, data["role_est_logits6"], 1e-4)
