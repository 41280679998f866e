"""Whole training steps of DualCoOp and LM-CLIP, in the configurations that the plan chooses for the
papers' data, against the plain reference of this folder, on two tiny towers."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.clip.encoder import Clip
from benchmark.clip.encoder_name import parse_encoder
from benchmark.data.coco2014 import CLASSES as COCO
from benchmark.data.coco2014 import SEEN as COCO_SEEN
from benchmark.data.voc2007 import RAW_CLASSES as VOC
from benchmark.task import UNKNOWN, Part, Run
from tests.fixtures.official import planned
from tests.fixtures.tiny_clip import TOWERS, write_models
from tests.golden import reference

TAGS = tuple(f"tag {i} of {'nus' * (i % 3)}" for i in range(925))
QUICK = reference.quick_gelu
POOL_HEADS = 8  # of the tiny residual tower: width 8 · 32 in heads of 32


class Enough(Exception):
    """Raised after the steps that are compared."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOWLABEL_MODEL_CONFIGS", str(folder))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield write_models(folder)


def open_tower(checkpoints: dict[str, Path], name: str, activation: str) -> tuple[Clip, Any]:
    clip = Clip(parse_encoder(f"{name}/{checkpoints[name]}+{activation}"))
    generator = torch.Generator().manual_seed(5)
    for key, value in clip.module.named_parameters():  # texts of a new model are all but equal
        if key.startswith(("transformer", "token", "positional", "text_projection")):
            noise = torch.randn(value.shape, generator=generator)
            value.add_(noise * (0.3 if value.dim() == 2 and "weight" in key else 0.1))
    weights = {key: value.clone() for key, value in clip.module.state_dict().items()}
    return clip, weights


def stop_after(steps: int, run: Run, capture: Any) -> list[Any]:
    """What `capture(method)` gives at the end of each epoch, until there are enough."""
    found: list[Any] = []

    def evaluate(method: Any) -> dict[str, float]:
        found.append(capture(method))
        if len(found) == steps:
            raise Enough
        return {}

    run.evaluate = evaluate
    return found


def part_of(x: Tensor, y: np.ndarray, classes: tuple[str, ...]) -> Part:
    def stream(
        batches: Iterable[np.ndarray], augment: str, rng: np.random.Generator
    ) -> Iterator[Tensor]:
        return (x[batch] for batch in batches)

    return Part(classes, y, stream, np.random.default_rng(0), torch.device("cpu"))


DUALCOOP = {
    "shared": ("partial(preset='paper', known=0.1)", "coco2014", COCO, 20, None),
    "class-specific": ("partial(preset='paper', known=0.5)", "voc2007", VOC, 20, None),
    "zero-shot": ("zero_shot(preset='paper')", "coco2014", COCO_SEEN, 48, None),
    "zero-shot, classes drawn": ("zero_shot(preset='paper')", "nus_wide", TAGS, 925, 100),
}


@pytest.mark.parametrize(
    ("tower", "case"),
    [
        *((tower, case) for tower in TOWERS for case in ("shared", "class-specific")),
        ("tiny-RN", "zero-shot"),
        ("tiny-ViT", "zero-shot, classes drawn"),
    ],
)
def test_three_steps_of_dualcoop(
    checkpoints: dict[str, Path], tower: str, case: str, tmp_path: Path
) -> None:
    setting, dataset, classes, count, drawn = DUALCOOP[case]
    method, task = planned("dualcoop", setting, dataset, tmp_path)
    clip, weights = open_tower(checkpoints, tower, "quickgelu")
    classes = classes[:count]
    generator = np.random.default_rng(1)
    y = (generator.random((method.batch_size, count)) < 0.1).astype(np.int8)
    known = task.known if hasattr(task, "known") else 1.0
    y = np.where(generator.random(y.shape) < known, y, UNKNOWN).astype(np.int8)
    images = torch.from_numpy(generator.standard_normal((len(y), 3, 64, 64)).astype(np.float32))

    # from the images
    regions = reference.region_features(weights, images, QUICK)
    regions = torch.nn.functional.normalize(regions, dim=-1)
    torch.testing.assert_close(clip.regions(images), regions, atol=1e-5, rtol=0)

    run = Run(seed=3, device=torch.device("cpu"), folder=tmp_path)
    found = stop_after(3, run, lambda fitted: fitted.state_dict()["context"].clone())
    with pytest.raises(Enough):
        method.fit(clip, part_of(regions, y, classes), part_of(regions[:0], y[:0], classes), run)

    torch.manual_seed(run.seed)  # as a run is seeded before it draws its contexts
    copies = (count,) if method.class_specific else ()
    start = 0.02 * torch.randn(
        2, *copies, method.context_length, clip.module.ln_final.weight.numel()
    )
    names = clip.tokenizer([f"{name.replace('_', ' ')}." for name in classes])
    draws = np.random.default_rng(run.seed)
    weight = method.loss_weight or 0.015 / float((y != UNKNOWN).mean())

    def objective(chosen: np.ndarray, contexts: Tensor) -> Tensor:
        logits = reference.dualcoop_logits(weights, regions, contexts, names[chosen], QUICK)
        return weight * reference.dualcoop_loss(logits, torch.from_numpy(y[:, chosen]))

    subsets = [draws.permutation(count)[:drawn] if drawn else np.arange(count) for _ in range(3)]
    steps = reference.sgd_steps(
        start,
        [partial(objective, subset) for subset in subsets],
        [reference.dualcoop_rate(epoch, method.learning_rate) for epoch in range(3)],
    )
    moved = 0.0
    for ours, (theirs, loss), row in zip(found, steps, run.history, strict=False):
        torch.testing.assert_close(ours.reshape(start.shape), theirs, atol=1e-5, rtol=0)
        assert row["train/loss"] == pytest.approx(loss, rel=1e-5)
        moved = float((theirs - start).abs().max())
    assert moved > 1e-4  # ten times the tolerance: equality is no accident


LM_CLIP = {"tiny-RN": ("RN50/openai", 2e-6), "tiny-ViT": ("ViT-B-16/openai", 1e-6)}


@pytest.mark.parametrize("rate", ["as published", "large"])
@pytest.mark.parametrize("tower", TOWERS)
def test_two_steps_of_lm_clip(
    checkpoints: dict[str, Path], tower: str, rate: str, tmp_path: Path
) -> None:
    """At the published rates a step changes no digit that a result shows, so that a second case
    takes a rate at which it does."""
    encoder, published = LM_CLIP[tower]
    setting = "long_tail(preset='paper')"
    method, _ = planned("lm_clip", setting, "voc_mlt", tmp_path, encoder=encoder)
    assert method.learning_rate == published
    lr = method.learning_rate = published if rate == "as published" else 1e-3
    clip, weights = open_tower(checkpoints, tower, "quickgelu")
    generator = np.random.default_rng(2)
    y = np.zeros((16, 20), np.int8)
    y[np.arange(20) % 16, np.arange(20)] = 1
    y[generator.integers(16, size=12), generator.integers(20, size=12)] = 1
    listed = tuple(tuple(generator.permutation(np.flatnonzero(row)).tolist()) for row in y)
    images = torch.from_numpy(generator.standard_normal((16, 3, 64, 64)).astype(np.float32))
    part = part_of(images, y, VOC)
    part.listed = listed
    run = Run(seed=11, device=torch.device("cpu"), folder=tmp_path)
    method.epochs = 1  # the cosine begins at the full rate
    method.fit(clip, part, part_of(images[:0], y[:0], VOC), run)

    settings = {
        "class_power": method.class_weights_power,
        "sample_power": method.sample_weights_power,
        "gamma_negative": method.gamma_negative,
        "smoothing": method.label_smoothing,
        "balanced_weight": method.balanced_weight,
        "rate": method.learning_rate,
    }
    labels = torch.from_numpy(y)
    _, chance = reference.rarity_weights(labels, 1.0, settings["sample_power"])
    draws = np.random.default_rng(run.seed).choice(16, 16, p=(chance / chance.sum()).numpy())
    prompts = clip.tokenizer([f"a photo of a {name}" for name in VOC])
    said = ["a photo of a " + ", ".join(VOC[c] for c in order) for order in listed]
    losses = reference.lm_clip_steps(
        weights,
        images,
        labels,
        [torch.from_numpy(draws[:8]), torch.from_numpy(draws[8:])],
        list(clip.tokenizer(said)),
        prompts,
        settings,
        POOL_HEADS,
        QUICK,
    )
    assert run.history[0]["train/loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    # every weight moved as it should, in units of the rate; AdamW turns the noise of a gradient
    # that is zero into whole steps, and the bias of a key has none, because softmax ignores it
    trained, start = method.model.state_dict(), clip.module.state_dict()
    distance, moved = 0.0, 0.0
    for name, value in weights.items():
        if value.is_floating_point() and "running" not in name:
            flat = [tensor.flatten() for tensor in (trained[name], value, start[name])]
            if name.endswith("in_proj_bias"):  # of query, key and value
                flat = [torch.cat([x.chunk(3)[0], x.chunk(3)[2]]) for x in flat]
            if name.endswith("k_proj.bias"):
                continue
            ours, theirs, before = flat
            distance += float((ours - theirs).abs().sum()) / lr
            moved += float((theirs - before).abs().sum()) / lr
    assert moved > 1e5 and distance < 1e-4 * moved

    with torch.no_grad():
        features = reference.image_feature(weights, images, POOL_HEADS, False, QUICK)
        texts = reference.text_of_tokens(weights, prompts, QUICK)
        features, texts = (torch.nn.functional.normalize(x, dim=-1) for x in (features, texts))
        expected = weights["logit_scale"].exp() * features @ texts.T
    found = method.predict(clip, images, VOC)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
