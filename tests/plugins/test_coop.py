"""CoOp and what it shares with DualCoOp: contexts, schedule, loss weight."""

import numpy as np
import pytest
import torch

from benchmark.metrics import average_precision
from methods._learning_rates import learning_rate
from methods._prompts import Prompts
from methods._sgd import weight_of_sum
from methods.coop import Method
from tests.fixtures.tiny_prompts import CLASSES, UNSEEN, fit, make_clip, make_part

FAST = {"context_length": 3, "epochs": 12, "learning_rate": 0.03}


@pytest.fixture(scope="module")
def clip():
    return make_clip()


def score(method, clip, x, y):
    return np.nanmean(average_precision(y, method.predict(clip, x, CLASSES).numpy()))


def test_schedule_is_dassls():
    """Worked numbers: one warm-up epoch that is not deducted from the
    cosine."""
    rates = [learning_rate(epoch, 50, 0.002) for epoch in range(50)]
    expected = {0: 1e-5, 1: 2e-3, 2: 1.998027e-3, 3: 1.992115e-3, 48: 1.771275e-5, 49: 7.885299e-6}
    for epoch, rate in expected.items():
        assert rates[epoch] == pytest.approx(rate, rel=1e-6)


def test_weight_of_the_loss_follows_the_known_fraction():
    y = np.array([[1, -1, 0, -1], [-1, 0, 1, -1]], dtype=np.int8)
    assert weight_of_sum(y, 0.0) == pytest.approx(0.03)
    assert weight_of_sum(np.abs(y), 0.0) == pytest.approx(0.015)
    assert weight_of_sum(y, 0.2) == 0.2
    with pytest.raises(ValueError, match="No training label"):
        weight_of_sum(np.full((2, 2), -1, np.int8), 0.0)


@pytest.mark.parametrize("class_specific", [False, True])
def test_learns(class_specific, clip, tmp_path):
    part, _, _ = make_part(clip, "global")
    _, x, y = make_part(clip, "global", seed=1)
    method = Method(class_specific=class_specific, **FAST)
    before = Method(class_specific=class_specific, **FAST | {"epochs": 0})
    fit(before, clip, part, tmp_path)
    run = fit(method, clip, part, tmp_path)
    losses = [row["train/loss"] for row in run.history]
    assert len(losses) == FAST["epochs"] and losses[-1] < 0.9 * losses[0]
    assert score(method, clip, x, y) > score(before, clip, x, y) + 0.05
    assert [row["train/learning_rate"] for row in run.history][:2] == [1e-5, FAST["learning_rate"]]


def test_calibrated_logits_start_centred(clip, tmp_path):
    part, x, _ = make_part(clip, "global")
    method = Method(epochs=0)
    fit(method, clip, part, tmp_path)
    (text,) = method.prompts.features(CLASSES)
    assert torch.allclose(text.norm(dim=-1), torch.ones(len(CLASSES)))
    cosines = x @ text.T
    logits = method.predict(clip, x, CLASSES)
    rate = (part.y == 1).sum() / (part.y != -1).sum()
    assert method.bias.item() == pytest.approx(np.log(rate / (1 - rate)), rel=1e-5)
    assert torch.allclose(logits, 100 * (cosines - cosines.mean()) + method.bias, atol=1e-4)


def test_raw_logits_are_clips(clip, tmp_path):
    part, x, _ = make_part(clip, "global")
    method = Method(variant="raw", epochs=2)
    fit(method, clip, part, tmp_path)
    (text,) = method.prompts.features(CLASSES)
    assert torch.allclose(method.predict(clip, x, CLASSES), 100 * x @ text.T, atol=1e-3)
    assert method.log_scale.grad is None and method.log_scale.item() == pytest.approx(np.log(100))
    with pytest.raises(ValueError, match="calibrated"):
        Method(variant="cooked")


def test_starts_with_the_words_of_a_text(clip, tmp_path):
    part, x, _ = make_part(clip, "global")
    for class_specific in (False, True):
        method = Method(variant="raw", init="a photo of a", class_specific=class_specific, epochs=0)
        fit(method, clip, part, tmp_path)
        text = clip.text([f"a photo of a {name}." for name in CLASSES])
        assert torch.allclose(method.predict(clip, x, CLASSES), 100 * x @ text.T, atol=1e-3)


def test_random_start_has_the_published_spread(clip):
    prompts = Prompts(clip, CLASSES, ("", ""), 50, True)
    assert prompts.context.shape == (2, len(CLASSES), 50, 32)
    assert prompts.context.std().item() == pytest.approx(0.02, rel=0.05)


def test_scores_other_classes_only_with_a_shared_context(clip, tmp_path):
    part, x, _ = make_part(clip, "global")
    method = Method(context_length=3, epochs=2)
    fit(method, clip, part, tmp_path)
    assert method.open_vocabulary
    assert method.predict(clip, x, UNSEEN + CLASSES[:1]).shape == (len(x), 3)
    specific = Method(context_length=3, epochs=2, class_specific=True)
    fit(specific, clip, part, tmp_path)
    assert not specific.open_vocabulary
    swapped = specific.predict(clip, x, CLASSES[::-1])
    assert torch.allclose(swapped.flip(1), specific.predict(clip, x, CLASSES), atol=1e-4)
    with pytest.raises(ValueError):
        specific.predict(clip, x, UNSEEN)


def test_state_of_an_epoch_can_be_kept_and_restored(clip, tmp_path):
    """Scores follow the epoch, and an earlier state gives its scores back."""
    part, x, _ = make_part(clip, "global")
    kept = []

    def keep(epoch, method, scores):
        kept.append((method.state_dict(), method.predict(clip, x, CLASSES)))

    method = Method(**FAST | {"epochs": 3})
    fit(method, clip, part, tmp_path, keep=keep)
    assert not torch.equal(kept[1][1], kept[2][1])
    fresh = Method(**FAST | {"epochs": 3})  # as in another process, that evaluates a checkpoint
    fresh.load_state_dict(clip, method.prompts.classes, kept[1][0])
    assert torch.equal(fresh.predict(clip, x, CLASSES), kept[1][1])


def test_a_diverging_run_says_so(clip, tmp_path):
    part, _, _ = make_part(clip, "global")
    with pytest.raises(FloatingPointError, match="learning rate"):
        fit(Method(context_length=3, epochs=6, learning_rate=1e20), clip, part, tmp_path)
