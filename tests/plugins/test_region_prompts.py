"""PositiveCoOp, its vision-only baseline and DualCoOp++ against golden vectors, and on a tiny
CLIP."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.clip import image_tower
from benchmark.clip.image_tower import AttentionPool2d
from methods._learning_rates import learning_rate
from methods._losses import asymmetric_loss
from methods._regions import EVIDENCE_SCALE, aggregate_regions
from methods.dualcoop_plus import VARIANTS, aggregate_evidence
from methods.dualcoop_plus import Method as DualCoOpPlus
from methods.positive_coop import Method as PositiveCoOp
from methods.vision_only import Method as VisionOnly
from methods.vision_only import aggregate_linear
from tests.fixtures.golden import close, golden
from tests.fixtures.tiny_prompts import CLASSES, fit, make_clip, make_part


def leaf(array):
    return torch.from_numpy(array).requires_grad_()


def asl(data):
    gamma_negative, gamma_positive, margin, eps, weight = data["asl_cfg"]
    return weight, {
        "gamma_negative": gamma_negative,
        "gamma_positive": gamma_positive,
        "margin": margin,
        "eps": eps,
    }


@pytest.mark.parametrize("side", ["pos", "neg"])
def test_positive_and_negative_coop(side):
    data = golden("positivecoop.npz")
    text, free, learned = (
        leaf(data[k]) for k in ("text_from_prompt", "txt_prompt_free", "txt_prompt_learn")
    )
    prompted = text + learned
    texts = (prompted, free) if side == "pos" else (free, prompted)
    regions = torch.from_numpy(data["regions"]).mT  # their regions are the last axis
    positive, negative = aggregate_regions(regions, *texts)
    close(torch.stack([negative, positive], 1), data[f"{side}_logits"])
    weight, constants = asl(data)
    loss = weight * asymmetric_loss(positive - negative, torch.from_numpy(data["y"]), **constants)
    loss.backward()
    close(loss, data[f"{side}_loss"])
    for value, name in ((text, "text"), (free, "free"), (learned, "learn")):
        close(value.grad, data[f"{side}_grad_{name}"])


def test_vision_only():
    data = golden("positivecoop.npz")
    weight, bias = leaf(data["lin_W"]), leaf(data["lin_b"])
    positive, negative = aggregate_linear(torch.from_numpy(data["regions"]).mT, weight, bias)
    close(torch.stack([negative, positive], 1), data["base_logits"])
    factor, constants = asl(data)
    loss = factor * asymmetric_loss(positive - negative, torch.from_numpy(data["y"]), **constants)
    loss.backward()
    close(loss, data["base_loss"])
    close(weight.grad, data["base_gradW"])
    close(bias.grad, data["base_gradb"])


@pytest.mark.parametrize("variant", [*VARIANTS, "pos_norm_det"])
def test_dualcoop_plus(variant):
    """ "pos_norm_det" is "pos_norm" with a temperature that does not learn."""
    data = golden("dualcooppp.npz")
    texts = [leaf(data[f"text_{name}"]) for name in ("evidence", "pos", "neg")]
    temperature = torch.tensor(float(data["spatial_T"]), requires_grad=True)
    name = variant.removesuffix("_det")
    regions = torch.from_numpy(data["regions"]).mT
    positive, negative = aggregate_evidence(regions, *texts, temperature, variant=name)
    close(torch.stack([negative, positive], 1), data[f"{variant}_logits"])
    targets = torch.from_numpy(data["y"])
    targets = torch.where(targets == 0, -1, torch.where(targets < 0, 0, 1))  # their 0 is unknown
    close(positive - negative, data[f"{variant}_score"])
    whole = torch.from_numpy(data["global_feature"])  # whose logits the method does not use
    far = [EVIDENCE_SCALE * cosines(whole, text) for text in (texts[2], texts[1])]
    close(torch.stack(far, 1), data[f"{variant}_logits_global"])
    loss = 0.02 * asymmetric_loss(positive - negative, targets, eps=1e-8)
    loss.backward()
    close(loss, data[f"{variant}_loss"])
    for value, which in zip(texts, ("evidence", "pos", "neg"), strict=True):
        close(value.grad, data[f"{variant}_grad_{which}"])
    if variant == name:
        close(temperature.grad, data[f"{variant}_grad_spatial_T"], 1e-5)


def cosines(x, texts):
    return F.normalize(x, dim=-1) @ F.normalize(texts, dim=-1).T


def test_asymmetric_losses_of_the_repository_of_dualcoop_plus():
    """The one of DualCoOp divided by the images, and a mean that takes unknown as absent."""
    data = golden("dualcooppp.npz")
    y = torch.from_numpy(data["y"])
    partly = torch.where(y == 0, -1, torch.where(y < 0, 0, 1))
    for name, targets, count in (("dualcoop", partly, len(y)), ("ASL", (y > 0).long(), y.numel())):
        logits = leaf(data["asl_logits"])
        loss = asymmetric_loss(logits, targets, eps=1e-8) / count
        loss.backward()
        close(loss, data[f"{name}_loss"])
        close(logits.grad, data[f"{name}_loss_grad"])


def test_regions_without_positions():
    """DualCoOp++ pools without positional embedding: the tower's own functions, with a zero one."""
    data = {k: torch.from_numpy(np.asarray(v)) for k, v in golden("dualcooppp.npz").items()}
    x, heads = data["ap_fmap"], int(data["ap_heads"])
    weights = {k.removeprefix("ap_w/"): v for k, v in data.items() if k.startswith("ap_w/")}
    output, width = weights["c_proj.weight"].shape
    pool = AttentionPool2d(x.shape[-1], width, heads, output)
    pool.load_state_dict(weights)
    close(image_tower.attention_pool(pool, x), data["ap_global_pos"])
    torch.nn.init.zeros_(pool.positional_embedding)
    close(image_tower.dense_pool(pool, x)[:, 1:].mT, data["ap_dense_nopos"])
    close(image_tower.attention_pool(pool, x), data["ap_global_nopos"])


def test_rates_of_the_official_schedules():
    data = golden("lr_schedules.npz")
    for name, peaks, warm_up in (
        ("positivecoop_voc", (0.001 * 0.01, 0.001), 5e-3),
        ("positivecoop_coco", (0.002 * 0.01, 0.002), 5e-3),
        ("positivecoop_rn50cfg", (0.002 * 0.01, 0.002), 1e-5),
        ("positivecoop_readme_lr0p5_ep52", (0.5 * 0.01, 0.5), 5e-3),
        ("dualcooppp", (0.005,), 1e-5),
        ("taidpt_coco", (1e-4,), 1e-5),
    ):
        expected = data[name]
        epochs = len(expected)
        found = [[learning_rate(e, epochs, peak, warm_up) for peak in peaks] for e in range(epochs)]
        np.testing.assert_allclose(np.sort(found, 1), np.sort(expected, 1), rtol=1e-9)


METHODS = {
    "positive": lambda: PositiveCoOp(context_length=4, epochs=6, free_scale=0.3),
    "negative": lambda: PositiveCoOp(prompted="negative", context_length=4, epochs=6),
    "vision_only": lambda: VisionOnly(epochs=6, learning_rate=1e-3, warm_up=1e-5),
    "dualcoop_plus": lambda: DualCoOpPlus(context_length=4, epochs=6, learning_rate=0.3),
}


@pytest.mark.parametrize("name", METHODS)
def test_learns_and_its_state_survives(name, tmp_path):
    clip, method = make_clip(), METHODS[name]()
    part, x, _ = make_part(clip, "regions")
    run = fit(method, clip, part, tmp_path)
    assert run.history[-1]["train/loss"] < run.history[0]["train/loss"]
    scores = method.predict(clip, x, CLASSES)
    fresh = METHODS[name]()
    fresh.load_state_dict(clip, CLASSES, method.state_dict())
    torch.testing.assert_close(fresh.predict(clip, x, CLASSES), scores)


@pytest.mark.parametrize("name", ["positive", "vision_only"])
def test_columns_follow_the_classes_asked_for(name, tmp_path):
    clip, method = make_clip(), METHODS[name]()
    part, x, _ = make_part(clip, "regions")
    fit(method, clip, part, tmp_path)
    scores = method.predict(clip, x, CLASSES)
    torch.testing.assert_close(method.predict(clip, x, CLASSES[3:1:-1]), scores[:, [3, 2]])


def test_wrong_words_are_named():
    with pytest.raises(ValueError, match="prompted='both' should be"):
        PositiveCoOp(prompted="both")
    with pytest.raises(ValueError, match="variant='pos100' should be one of pos200"):
        DualCoOpPlus(variant="pos100")
