"""The prompt encoder against the official prompt learner, against the tower's own forward pass, and
at its limits."""

from pathlib import Path

import numpy as np
import pytest
import torch

import benchmark.clip.torchvision_shim  # noqa: F401  (before open_clip)

import open_clip  # isort: skip
from benchmark.clip.prompt_encoder import PromptEncoder

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
CLASSES = ("cat", "potted plant", "dining_table", "ox", "hair drier", "traffic light pole")
VISION = {"layers": 1, "width": 16, "head_width": 8, "patch_size": 16, "image_size": 32}


def tower(width=32, layers=3, heads=4, embed=24, quick_gelu=True, kind=open_clip.CLIP, **text):
    torch.manual_seed(0)
    text = {"width": width, "layers": layers, "heads": heads, "vocab_size": 49408} | text
    return kind(embed, VISION, text, quick_gelu=quick_gelu).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tokenizer():
    return open_clip.get_tokenizer("RN50")


def relative(actual, expected):
    return ((actual - expected).norm() / expected.norm()).item()


def gradients(encoder, *contexts):
    """Features, and the gradients of one fixed weighted sum of them."""
    leaves = [context.clone().requires_grad_() for context in contexts]
    features = torch.cat(encoder.encode(*leaves))
    weight = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    (features * weight).sum().backward()
    return features.detach(), torch.stack([leaf.grad for leaf in leaves])


@pytest.mark.parametrize("file", ["text_csc0.npz", "text_csc1.npz"])
def test_equals_the_official_prompt_learner(file):
    with np.load(GOLDEN / file) as archive:
        data = {
            key: torch.from_numpy(archive[key])
            for key in archive.files
            if archive[key].dtype.kind != "U"
        }
        names = archive["classnames"].tolist()
    weights = {key.removeprefix("w/"): value for key, value in data.items() if key.startswith("w/")}
    width, embed = weights["text_projection"].shape
    layers = len({key.split(".")[2] for key in weights if "resblocks" in key})
    model = tower(width, layers, int(data["heads"]), embed)
    model.load_state_dict(weights, strict=False)
    # The file holds the word vectors of the tokens that occur, in place: the placeholders' are
    # never looked at.
    model.token_embedding.weight[data["tokenized_prompts"]] = data["prompts"]
    count = len(names)
    encoder = PromptEncoder(model, open_clip.get_tokenizer("RN50"), names)
    assert not encoder.plain
    contexts = [data[key].requires_grad_() for key in ("ctx_neg", "ctx_pos")]
    features = torch.cat(encoder.encode(*contexts))  # negative first, as in the file
    assert relative(features, data["text_features"]) < 1e-5
    (features * data["dtext"]).sum().backward()
    assert relative(contexts[0].grad, data["dctx_neg"]) < 1e-4
    assert relative(contexts[1].grad, data["dctx_pos"]) < 1e-4
    assert relative(encoder(contexts[1].detach()), data["text_features"][count:]) < 1e-5


@pytest.mark.parametrize("specific", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (open_clip.CLIP, {}),
        (open_clip.CLIP, {"layers": 1}),
        (open_clip.CLIP, {"layers": 2, "heads": 1, "quick_gelu": False, "context_length": 32}),
        (open_clip.CustomTextCLIP, {"proj_bias": True}),
        (
            open_clip.CustomTextCLIP,
            {"proj_type": "none", "embed": 32, "pool_type": "eos", "eos_id": 49407},
        ),
    ],
)
def test_fast_path_equals_the_plain_one(kind, options, specific, tokenizer):
    """The plain path is the model's own `encode_text` at full length, one row per class."""
    model = tower(kind=kind, **options)
    if context_length := options.get("context_length"):
        tokenizer = open_clip.SimpleTokenizer(context_length=context_length)
    contexts = 0.5 * torch.randn(2, *([len(CLASSES)] if specific else []), 5, 32)
    fast = PromptEncoder(model, tokenizer, CLASSES)
    plain = PromptEncoder(model, tokenizer, CLASSES, plain=True)
    assert not fast.plain
    for count in (1, 2):
        features, gradient = gradients(fast, *contexts[:count])
        expected, expected_gradient = gradients(plain, *contexts[:count])
        assert features.shape == (count * len(CLASSES), options.get("embed", 24))
        assert relative(features, expected) < 1e-5
        assert relative(gradient, expected_gradient) < 1e-4


@pytest.mark.parametrize("specific", [False, True])
def test_many_names_in_several_sequences(specific, tokenizer, monkeypatch):
    """A shared context stands in several sequences; the plain path has one row per class."""
    monkeypatch.setattr("benchmark.clip.prompt_layout.NAMES", 32)
    names = [f"{first} {second}" for first in CLASSES for second in ("", "bird", "tea pot")]
    contexts = torch.randn(2, *([len(names)] if specific else []), 3, 32)
    fast = PromptEncoder(tower(), tokenizer, names)
    actual = gradients(fast, *contexts)
    layout = fast._layout(contexts.shape[:-1])
    assert specific or len(layout.mask) > 2 * 4 * 2
    expected = gradients(PromptEncoder(tower(), tokenizer, names, plain=True), *contexts)
    for value, plain in zip(actual, expected, strict=True):
        assert relative(value, plain) < 1e-5


def test_a_sequence_holds_the_longest_name(tokenizer, monkeypatch):
    monkeypatch.setattr("benchmark.clip.prompt_layout.NAMES", 8)
    long = "a name that is longer than any sequence because it tells the whole story of " * 2
    model = tower(context_length=60)
    tokenizer = open_clip.SimpleTokenizer(context_length=60)
    names = ["cat", long + "it", "dog"]
    context = torch.randn(3, 32)
    fast = PromptEncoder(model, tokenizer, names)
    assert fast._layout(torch.Size((1, 3))).mask.shape[-1] > 1 + 3 + 8
    plain = PromptEncoder(model, tokenizer, names, plain=True)
    assert relative(fast(context), plain(context)) < 1e-5


@pytest.mark.parametrize("specific", [False, True])
def test_what_is_not_kept_is_computed_again(specific, tokenizer, monkeypatch):
    contexts = torch.randn(2, *([len(CLASSES)] if specific else []), 3, 32)
    kept = gradients(PromptEncoder(tower(), tokenizer, CLASSES), *contexts)
    monkeypatch.setattr("benchmark.clip.prompt_encoder.KEPT", 0)
    again = gradients(PromptEncoder(tower(), tokenizer, CLASSES), *contexts)
    for actual, expected in zip(again, kept, strict=True):
        assert relative(actual, expected) < 1e-6


def test_packed_products_change_nothing(tokenizer, monkeypatch):
    contexts = torch.randn(2, 3, 32)
    model = tower()
    expected = gradients(PromptEncoder(model, tokenizer, CLASSES, plain=True), *contexts)
    monkeypatch.setattr("benchmark.clip.frozen_linear.SMALLEST", 1)
    monkeypatch.setattr("benchmark.clip.frozen_linear.packing_is_faster", lambda threads: True)
    encoder = PromptEncoder(model, tokenizer, CLASSES)
    assert encoder.frozen.blocks[0].up.packed is not None
    for actual, plain in zip(gradients(encoder, *contexts), expected, strict=True):
        assert relative(actual, plain) < 1e-5


def test_encoders_share_one_tower_until_its_weights_change(tokenizer):
    model = tower()
    first, second = (PromptEncoder(model, tokenizer, CLASSES) for _ in range(2))
    assert first.frozen is second.frozen
    with torch.no_grad():
        model.transformer.resblocks[0].mlp.c_fc.bias.add_(1)
    context = torch.randn(3, 32)
    third = PromptEncoder(model, tokenizer, CLASSES)
    plain = PromptEncoder(model, tokenizer, CLASSES, plain=True)
    assert relative(third(context), plain(context)) < 1e-5
    assert relative(first(context), plain(context)) > 1e-3


def test_plain_path_is_a_sentence_of_words(tokenizer):
    """With the vectors of real words as context both paths give what CLIP gives for the
    sentence."""
    model = tower()
    sentences = tokenizer(["a photo of a " + name.replace("_", " ") + "." for name in CLASSES])
    expected = model.encode_text(sentences)
    for plain in (False, True):
        encoder = PromptEncoder(model, tokenizer, CLASSES, plain=plain)
        context = encoder.initial_context("a photo of a")
        assert context.shape == (4, encoder.width)
        assert relative(encoder(context), expected) < 1e-5
        assert relative(encoder(context.expand(len(CLASSES), -1, -1)), expected) < 1e-5


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("specific", [False, True])
def test_select_keeps_the_rows_of_these_classes(plain, specific, tokenizer):
    encoder = PromptEncoder(tower(), tokenizer, CLASSES, plain=plain)
    indices = [4, 0, 5]
    context = torch.randn(*([len(CLASSES)] if specific else []), 3, 32)
    expected = encoder(context)[indices]
    chosen = encoder.select(indices)
    assert relative(chosen(context[indices] if specific else context), expected) < 1e-5
    assert relative(encoder(context)[indices], expected) == 0  # the parent is as it was


@pytest.mark.parametrize(
    "text",
    [
        {"no_causal_mask": True},
        {"pool_type": "last"},
        {"embed_cls": True, "context_length": 76},
        {"ls_init_value": 0.1},
    ],
)
def test_other_towers_take_the_plain_path(text, tokenizer):
    model = tower(kind=open_clip.CustomTextCLIP, **text)
    length = text.get("context_length", 77)
    tokenizer = open_clip.SimpleTokenizer(context_length=length)
    encoder = PromptEncoder(model, tokenizer, CLASSES)
    assert encoder.plain
    words = model.text.token_embedding(tokenizer(["a photo of a"])[0, 1:5])
    sentences = tokenizer(["a photo of a " + name.replace("_", " ") + "." for name in CLASSES])
    assert relative(encoder(words), model.encode_text(sentences)) < 1e-5
    _, gradient = gradients(encoder, words)
    assert gradient.norm() > 0


def test_frozen_weights_get_no_gradient(tokenizer):
    model = tower().requires_grad_(True)
    encoder = PromptEncoder(model, tokenizer, CLASSES)
    context = torch.randn(3, 32, requires_grad=True)
    encoder(context).sum().backward()
    assert context.grad is not None
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("plain", [False, True])
def test_a_prompt_must_fit(plain, tokenizer):
    encoder = PromptEncoder(tower(), tokenizer, ["dog", "traffic light"], plain=plain)
    for length in (1, 2, 72):  # 1 + 72 + "traffic light." + EOT = 77
        assert torch.isfinite(encoder(torch.randn(length, 32))).all()
    with pytest.raises(ValueError, match="tokens"):
        encoder(torch.randn(73, 32))
    with pytest.raises(ValueError, match="3 classes, but there are 2"):
        encoder(torch.randn(3, 4, 32))


def test_suffix_and_names(tokenizer):
    model = tower()
    context = torch.randn(3, 32)
    spaced = PromptEncoder(model, tokenizer, ["dining table"])(context)
    assert torch.equal(PromptEncoder(model, tokenizer, ["dining_table"])(context), spaced)
    assert not torch.allclose(
        PromptEncoder(model, tokenizer, ["dining table"], suffix="")(context), spaced
    )
