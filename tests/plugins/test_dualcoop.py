"""DualCoOp: aggregation against the golden vectors, and the method on planted regions."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.metrics import average_precision
from methods._losses import asymmetric_loss
from methods.dualcoop import Method, aggregate_regions
from tests.fixtures.tiny_prompts import CLASSES, UNSEEN, fit, make_clip, make_part

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "aggregation_dualcoop.npz"
FAST = {"context_length": 3, "epochs": 12, "learning_rate": 0.003}


@pytest.fixture(scope="module")
def clip():
    return make_clip()


@pytest.fixture
def golden():
    with np.load(GOLDEN) as file:
        data = {key: torch.from_numpy(file[key]) for key in file.files}
    data["image_features"].requires_grad_()
    data["text_features"].requires_grad_()
    return data


def aggregate(data):
    """Channels (B, C), negative and positive, of the golden inputs: there the negative texts come
    first."""
    negative, positive = data["text_features"].chunk(2)
    z_positive, z_negative = aggregate_regions(data["image_features"].mT, positive, negative)
    return z_negative, z_positive


def close(actual, expected, tolerance):
    assert actual.shape == expected.shape
    assert torch.allclose(
        actual, expected, rtol=tolerance, atol=tolerance * expected.abs().max().item()
    )


def test_aggregation_equals_the_official_one(golden):
    logits = torch.stack(aggregate(golden), 1)
    close(logits, golden["logits"], 1e-5)
    (logits * golden["dlogits"]).sum().backward()
    close(golden["image_features"].grad, golden["dimage"], 1e-5)
    close(golden["text_features"].grad, golden["dtext"], 1e-5)


def test_aggregation_and_loss_equal_the_official_ones(golden):
    negative, positive = aggregate(golden)
    options = {"gamma_positive": 1, "gamma_negative": 2, "margin": 0.05, "eps": 1e-6}
    loss = golden["asl_loss_w"] * asymmetric_loss(positive - negative, golden["y"], **options)
    close(loss, golden["asl_loss"], 1e-5)
    loss.backward()
    close(golden["image_features"].grad, golden["asl_dimage"], 1e-5)
    close(golden["text_features"].grad, golden["asl_dtext"], 1e-5)


def test_aggregation_by_hand():
    """Worked numbers."""
    regions = torch.tensor([[[1.0, 0], [0, 1], [0.6, 0.8]]])
    positive, negative = aggregate_regions(
        regions, torch.tensor([[1.0, 0]]), torch.tensor([[0, 1.0]])
    )
    assert negative.item() == pytest.approx(0.0268282, rel=1e-4)
    assert positive.item() == pytest.approx(99.9865875, rel=1e-6)
    longer, _ = aggregate_regions(
        7 * regions.double().half(), torch.tensor([[3.0, 0]]), torch.tensor([[0, 1.0]])
    )
    assert longer.item() == pytest.approx(positive.item(), rel=1e-3)
    soft, _ = aggregate_regions(
        regions, torch.tensor([[1.0, 0]]), torch.tensor([[0, 1.0]]), region_scale=0, logit_scale=3
    )
    assert soft.item() == 0


@pytest.mark.parametrize("class_specific", [False, True])
def test_learns(class_specific, clip, tmp_path):
    part, _, _ = make_part(clip, "regions")
    _, x, y = make_part(clip, "regions", seed=1)
    scores = []
    for epochs in (0, FAST["epochs"]):
        method = Method(class_specific=class_specific, **FAST | {"epochs": epochs})
        run = fit(method, clip, part, tmp_path)
        scores.append(np.nanmean(average_precision(y, method.predict(clip, x, CLASSES).numpy())))
    losses = [row["train/loss"] for row in run.history]
    assert losses[-1] < 0.9 * losses[0]
    assert scores[1] > scores[0] + 0.05


def test_logits_and_region_weights_belong_together(clip, tmp_path):
    part, x, _ = make_part(clip, "regions")
    method = Method(**FAST | {"epochs": 2}, logit_scale=4.0)
    fit(method, clip, part, tmp_path)
    assert method.open_vocabulary
    classes = UNSEEN + CLASSES[1:3]
    positive, negative = method.prompts.features(classes)
    weights = method.region_weights(clip, x, classes)
    assert weights.shape == (len(x), 6, 4)
    assert torch.allclose(weights.sum(1), torch.ones(len(x), 4), atol=1e-5)
    expected = 4 * (weights * (20 * x @ (positive - negative).T)).sum(1)
    assert torch.allclose(method.predict(clip, x, classes), expected, atol=1e-3)
    assert torch.allclose(method.predict(clip, x.half(), classes), expected, atol=0.3)


@pytest.mark.parametrize("class_specific", [False, True])
def test_trains_on_some_classes_a_batch(class_specific, clip, tmp_path):
    """One batch with two of the five classes moves the contexts of these two alone."""
    part, _, _ = make_part(clip, "regions", count=32, known=1.0)
    options = {
        "context_length": 2,
        "class_specific": class_specific,
        "weight_decay": 0.0,
        "learning_rate": 1.0,
    }
    start = Method(**options, epochs=0)
    fit(start, clip, part, tmp_path)
    method = Method(**options, classes_per_batch=2, epochs=1)
    fit(method, clip, part, tmp_path)
    moved = (method.state_dict()["context"] != start.state_dict()["context"]).flatten(-2).any(-1)
    assert moved.shape == ((2, len(CLASSES)) if class_specific else (2,))
    assert (moved.sum(-1) == 2).all()  # both contexts, or two classes of both


def test_starts_with_the_words_of_two_texts(clip, tmp_path):
    part, x, _ = make_part(clip, "regions")
    method = Method(init_positive="a photo of a", init_negative="a photo without a", epochs=0)
    fit(method, clip, part, tmp_path)
    texts = [
        clip.text([f"{start} {name}." for name in CLASSES])
        for start in ("a photo of a", "a photo without a")
    ]
    positive, negative = aggregate_regions(x, *texts)
    assert torch.allclose(method.predict(clip, x, CLASSES), positive - negative, atol=1e-3)
    with pytest.raises(ValueError, match="same number of tokens"):
        fit(
            Method(init_positive="a photo of a", init_negative="no", epochs=0), clip, part, tmp_path
        )
    with pytest.raises(ValueError, match="both"):
        fit(Method(init_negative="no"), clip, part, tmp_path)


def test_state_of_an_epoch_can_be_kept_and_restored(clip, tmp_path):
    part, x, _ = make_part(clip, "regions")
    kept = []

    def keep(epoch, method, scores):
        kept.append((method.state_dict(), method.predict(clip, x, CLASSES)))

    method = Method(**FAST | {"epochs": 3})
    fit(method, clip, part, tmp_path, keep=keep)
    assert not torch.equal(kept[1][1], kept[2][1])
    fresh = Method(**FAST | {"epochs": 3})  # as in another process, that evaluates a checkpoint
    fresh.load_state_dict(clip, method.prompts.classes, kept[1][0])
    assert torch.equal(fresh.predict(clip, x, CLASSES), kept[1][1])
