"""LM-CLIP: golden weights, exact text tree, what is trained and what is masked, on towers of a few
thousand weights."""

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import benchmark.clip.torchvision_shim  # noqa: F401

# isort: split
import open_clip

from benchmark.metrics import average_precision
from benchmark.registry import make
from benchmark.task import ABSENT, PRESENT, UNKNOWN, Part, Run
from methods import lm_clip
from methods._training import encode_texts, prefix_tree
from methods.lm_clip import Method, class_weights, sample_weights

CLASSES = ("cat", "dog", "dining table")
CPU = torch.device("cpu")
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
VISION = {
    "RN": {
        "image_size": 32,
        "layers": [1, 1, 1, 1],
        "width": 8,
        "head_width": 32,
        "patch_size": None,
    },
    "ViT": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
}
TOKENIZER = open_clip.get_tokenizer("RN50")


@pytest.fixture(scope="module", params=["RN", "ViT"])
def any_clip(request):
    return tiny_clip(request.param)


@pytest.fixture(scope="module")
def vit():
    return tiny_clip("ViT")


def tiny_clip(kind):
    torch.manual_seed(0)
    vision = open_clip.model.CLIPVisionCfg(**VISION[kind])
    model = open_clip.CLIP(12, vision, open_clip.model.CLIPTextCfg(**TEXT))
    return SimpleNamespace(
        module=model.eval().requires_grad_(False), tokenizer=TOKENIZER, device="cpu"
    )


def part(y, captions=None):
    """Images whose colours tell their classes."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(len(y), 3, 32, 32, generator=generator) * 0.3
    pixels += torch.from_numpy(np.maximum(y, 0)).float()[:, :, None, None]

    def stream(chunks, augment, rng):
        return (pixels[chunk] for chunk in chunks)

    return Part(CLASSES, y, stream, np.random.default_rng(0), CPU, captions=captions)


def labels(n=12):
    y = np.random.default_rng(0).choice([ABSENT, PRESENT, UNKNOWN], (n, 3)).astype(np.int8)
    y[0], y[1] = ABSENT, UNKNOWN
    return y


def fitted(clip, tmp_path, train, **changes):
    method = Method(**{"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, **changes})
    torch.manual_seed(0)
    run = Run(seed=0, device=CPU, folder=tmp_path)
    method.fit(clip, train, train, run)
    return method, run


# ---- weights -------------------------------------------------------------------------------------


def test_golden_weights(shared):
    golden = np.load(shared / "golden" / "weights_lmclip.npz")
    powers = [
        key.removeprefix("class_weights_p")
        for key in golden.files
        if key.startswith("class_weights_p")
    ]
    assert powers
    for power in powers:
        for function in (class_weights, sample_weights):
            expected = golden[f"{function.__name__}_p{power}"]
            np.testing.assert_allclose(
                function(golden["labels"], float(power)), expected, rtol=1e-12
            )


def test_worked_weights():
    y = np.zeros((10, 3), int)
    y[:8, 0] = y[1:5, 1] = y[9, 2] = 1
    np.testing.assert_allclose(class_weights(y, 1.35), [0.0603710, 0.1538931, 1], rtol=1e-5)
    found = sample_weights(np.concatenate([y[:1], y[1:2], y[9:], y[8:9]]), 1.0)
    assert found[3] == 0 and found.max() == 1


def test_weights_count_known_positives_only():
    y = np.array([[1, 1, -1], [1, 0, -1], [-1, 0, 0], [0, -1, 0]])
    np.testing.assert_allclose(class_weights(y, 1.0), [0.5, 1, 0])  # 4/2, 4/1, never positive
    np.testing.assert_allclose(sample_weights(y, 1.0), [1, 2 / 6, 0, 0])
    with pytest.raises(ValueError, match="more labels"):
        class_weights(np.full((3, 2), UNKNOWN), 1.0)


# ---- texts ---------------------------------------------------------------------------------------


def test_prefix_tree_shares_what_begins_alike():
    nodes, depths, visible, ends = prefix_tree(
        np.array([[5, 1, 2, 9, 0], [5, 1, 3, 9, 0], [5, 1, 2, 9, 0]])
    )
    assert (
        nodes.tolist() == [5, 1, 2, 9, 3, 9]
        and depths.tolist() == [0, 1, 2, 3, 2, 3]
        and ends.tolist() == [3, 5, 3]
    )
    assert np.flatnonzero(visible[5]).tolist() == [0, 1, 4, 5]


def test_texts_equal_the_plain_tower_with_all_gradients(vit):
    texts = [
        "a photo of a cat",
        "a photo of a cat, dog",
        "a photo of a dining table",
        "two dogs",
        "a photo of a cat",
    ]
    results = []
    for encode in (
        encode_texts,
        lambda model, tokenizer, texts: model.encode_text(tokenizer(texts)),
    ):
        model = copy.deepcopy(vit.module).requires_grad_(True)
        features = encode(model, TOKENIZER, texts)
        (features * torch.arange(features.numel()).view_as(features).cos()).sum().backward()
        gradients = {
            name: value.grad for name, value in model.named_parameters() if value.grad is not None
        }
        results.append((features.detach(), gradients))
    (ours, our_gradients), (plain, plain_gradients) = results
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-6)
    assert our_gradients.keys() == plain_gradients.keys()
    for name, gradient in plain_gradients.items():
        assert (our_gradients[name] - gradient).abs().max() <= 1e-4 * gradient.abs().max() + 1e-7, (
            name
        )


def test_a_tower_without_a_causal_mask_takes_the_plain_path(vit):
    model = copy.deepcopy(vit.module)
    model.attn_mask = None
    texts = ["a cat", "a cat and a dog"]
    torch.testing.assert_close(
        encode_texts(model, TOKENIZER, texts), model.encode_text(TOKENIZER(texts))
    )


def test_captions_name_known_positives_in_the_order_of_the_file_or_else_of_the_classes():
    y = np.array([[1, -1, 1], [0, 0, 0], [-1, -1, -1], [0, 1, 0]], np.int8)
    captions = Method()._captions(part(y), np.array([3, 0, 1, 2]))
    assert captions == ["a photo of a dog", "a photo of a cat, dining table", "", ""]
    listed = part(y)
    listed.listed = ((2, 0), (), (), (1,))
    assert Method()._captions(listed, np.array([0])) == ["a photo of a dining table, cat"]
    given = part(y, ("one", "two", "", "four"))
    assert Method(captions="given")._captions(given, np.array([3, 2, 3])) == ["four", "", "four"]


# ---- training ------------------------------------------------------------------------------------


def test_everything_is_trained_and_the_shared_encoder_is_not(any_clip, tmp_path):
    before = {name: value.clone() for name, value in any_clip.module.state_dict().items()}
    method, run = fitted(any_clip, tmp_path, part(labels()), weight_decay=0.0)
    for name, value in any_clip.module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(value.requires_grad for value in any_clip.module.parameters())
    for name, value in method.model.named_parameters():
        # the key bias of a softmax attention has no gradient but rounding
        assert not torch.equal(value, before[name]) or "k_proj.bias" in name, (
            f"{name} was not trained"
        )
    assert [row["epoch"] for row in run.history] == [0, 1]
    assert {"train/loss", "train/mAP", "train/mAP_tail", "train/AUROC"} <= set(run.history[0])


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_batch_norm_switch(tmp_path, mode):
    clip = tiny_clip("RN")
    method, _ = fitted(clip, tmp_path, part(labels()), batch_norm=mode)
    drift = (method.model.visual.bn1.running_mean - clip.module.visual.bn1.running_mean).abs().max()
    assert (drift > 0) == (mode == "train")


def test_hidden_labels_have_no_influence(vit, tmp_path):
    """The engine hides them as -1; what may not happen is that -1 is taken for a negative."""
    y = labels()
    plain, _ = fitted(vit, tmp_path, part(y))
    x = torch.randn(5, 3, 32, 32)
    train = part(y)
    # same images, unknown read as absent
    train.y = np.where(y == UNKNOWN, ABSENT, y).astype(np.int8)
    other, _ = fitted(vit, tmp_path, train)
    difference = (plain.predict(vit, x, CLASSES) - other.predict(vit, x, CLASSES)).abs().max()
    assert difference > 1e-4
    all_unknown = part(y)
    all_unknown.y = np.where((y == PRESENT) & (np.arange(3) == 0), PRESENT, UNKNOWN).astype(np.int8)
    _, run = fitted(vit, tmp_path, all_unknown, balanced_weight=0.0, learning_rate=0.0)
    first = run.history[0]["train/loss"]
    # four images, one caption: nothing but the contrastive term
    assert first == pytest.approx(np.log(4), abs=0.2)


def test_unweighted_sampling_without_positives_leaves_the_contrastive_term_out(vit, tmp_path):
    y = np.array([[0, 0, 0], [0, UNKNOWN, 0], [UNKNOWN, 0, 0], [1, 0, 0]], np.int8)
    train = part(y)
    off = {
        "weighted_sampling": False,
        "weighted_loss": False,
        "learning_rate": 0.0,
        "balanced_weight": 0.0,
    }
    _, run = fitted(vit, tmp_path, train, **off)
    # one described image agrees with itself
    assert run.history[0]["train/loss"] == pytest.approx(0, abs=1e-6)


def test_rare_classes_are_drawn_more_often(vit, tmp_path, monkeypatch):
    y = np.zeros((200, 3), np.int8)
    y[:190, 0], y[190:196, 1], y[196:, 2] = 1, 1, 1
    drawn = []
    train = part(y)
    original = train.batches
    monkeypatch.setattr(
        train,
        "batches",
        lambda size, **options: (drawn.append(options), original(size, **options))[1],
    )
    fitted(vit, tmp_path, train, epochs=1, batch_size=100, sample_weights_power=1.0)
    rows = drawn[0]["rows"]
    assert len(rows) == 200 and drawn[0]["augment"] == "flip"
    # a third each, with replacement
    assert 40 < (rows < 190).sum() < 95 and 40 < (rows >= 196).sum() < 95


def test_it_learns_what_the_colours_mean(vit, tmp_path):
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, (128, 3)).astype(np.int8)
    train, other = part(y[:64]), part(y[64:])
    method, run = fitted(vit, tmp_path, train, epochs=12, batch_size=16, learning_rate=3e-3)
    assert run.history[-1]["train/loss"] < run.history[0]["train/loss"]
    pixels, labels_of = next(other.batches(64))
    precision = average_precision(labels_of.numpy(), method.predict(vit, pixels, CLASSES).numpy())
    assert precision.mean() > labels_of.float().mean() + 0.15, precision


def test_a_diverged_loss_aborts(vit, tmp_path):
    train = part(labels())

    def broken(chunks, augment, rng):
        return (torch.full((len(chunk), 3, 32, 32), float("nan")) for chunk in chunks)

    train.stream = broken
    with pytest.raises(FloatingPointError):
        fitted(vit, tmp_path, train)


def test_state_restores_the_scores(vit, tmp_path):
    method, _ = fitted(vit, tmp_path, part(labels()))
    x = torch.randn(3, 3, 32, 32)
    expected = method.predict(vit, x, CLASSES)
    assert expected.shape == (3, 3) and expected.dtype == torch.float32
    fresh = Method()
    fresh.load_state_dict(vit, CLASSES, method.state_dict())
    torch.testing.assert_close(fresh.predict(vit, x, CLASSES), expected)
    torch.testing.assert_close(fresh.predict(vit, x, CLASSES[1:]), expected[:, 1:])


def test_predictions_follow_the_weights(any_clip, tmp_path):
    """What a prediction remembers of the towers is forgotten when they change, and changes no
    score."""
    train = part(labels())
    method, _ = fitted(any_clip, tmp_path, train)
    x, _ = next(train.batches(4))
    before = method.predict(any_clip, x, train.classes)
    state = {name: value.clone() for name, value in method.state_dict().items()}
    state["text_projection"] = state["text_projection"].flip(0)
    state["visual.proj" if "visual.proj" in state else "visual.attnpool.c_proj.bias"] *= 2.0
    method.load_state_dict(any_clip, train.classes, state)
    after = method.predict(any_clip, x, train.classes)
    assert not torch.allclose(after, before, atol=1e-2)
    with torch.no_grad():
        images = torch.nn.functional.normalize(method.model.encode_image(x), dim=-1)
        texts = [method.prompt + name for name in train.classes]
        words = torch.nn.functional.normalize(
            method.model.encode_text(method.tokenizer(texts)), dim=-1
        )
        plain = method.model.logit_scale.exp() * images @ words.T
    assert torch.allclose(after, plain, atol=1e-3)


def test_channels_last_changes_nothing_but_rounding(tmp_path):
    clip, x = tiny_clip("RN"), torch.randn(3, 3, 32, 32)
    plain, _ = fitted(clip, tmp_path, part(labels()), batch_norm="eval", learning_rate=1e-4)
    fast, _ = fitted(
        clip, tmp_path, part(labels()), batch_norm="eval", learning_rate=1e-4, channels_last=True
    )
    assert fast.model.visual.layer1[0].conv2.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        plain.predict(clip, x, CLASSES), fast.predict(clip, x, CLASSES), rtol=1e-2, atol=1e-2
    )


def test_same_seed_same_scores(vit, tmp_path):
    x = torch.randn(3, 3, 32, 32)
    first, second = (
        fitted(vit, tmp_path, part(labels()))[0].predict(vit, x, CLASSES) for _ in range(2)
    )
    assert torch.equal(first, second)


# ---- configurations ------------------------------------------------------------------------------


def test_the_official_configurations():
    """The published configurations, row by row."""
    rows = {
        "voc_mlt_rn50": (0.2, 12.0, 0.7, 0.7, 0.01, 2e-6),
        "voc_mlt_vitb16": (0.4, 9.8, 1.35, 1.35, 0.1, 1e-6),
        "coco_mlt_rn50": (6.0, 9.8, 1.35, 1.35, 0.1, 1e-7),
        "coco_mlt_vitb16": (5.0, 9.8, 1.6, 1.6, 0.1, 1e-6),
    }
    for name, expected in rows.items():
        m = make("methods", "lm_clip", {"preset": name})
        powers = m.sample_weights_power, m.class_weights_power
        assert (
            m.balanced_weight,
            m.gamma_negative,
            *powers,
            m.label_smoothing,
            m.learning_rate,
        ) == expected
        assert (m.epochs, m.batch_size, m.weight_decay, m.captions) == (50, 8, 0.01, "labels")
        assert m.preset == name
    fields = {field.name for field in dataclasses.fields(Method)}
    assert all(set(preset) <= fields for preset in lm_clip.Method.PRESETS.values())


@pytest.mark.parametrize("arguments", [{"captions": "other"}, {"batch_norm": "off"}])
def test_wrong_options_are_refused(arguments):
    with pytest.raises(ValueError, match="should"):
        Method(**arguments)


def test_given_captions_need_a_data_set_that_has_them(vit, tmp_path):
    with pytest.raises(ValueError, match="no captions"):
        fitted(vit, tmp_path, part(labels()), captions="given")
    captions = tuple(f"caption {i}" for i in range(12))
    _, run = fitted(vit, tmp_path, part(labels(), captions), captions="given", epochs=1)
    assert np.isfinite(run.history[0]["train/loss"])
