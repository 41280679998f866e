"""The encoder handle: dense features equal to the official ones, loading, image sizes, text, clear
errors."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.clip import encoder, image_tower, weights
from benchmark.clip.encoder import Clip
from benchmark.clip.encoder_name import parse_encoder
from benchmark.spec import Encoder
from tests.fixtures.tiny_clip import TOWERS, write_models

import open_clip  # isort: skip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoint files of two tiny random models by name."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOWLABEL_MODEL_CONFIGS", str(folder))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield write_models(folder)


def make(checkpoints: dict[str, Path], name: str, options: str = "") -> Clip:
    return Clip(parse_encoder(f"{name}/{checkpoints[name]}{options}"))


# ---------------------------------------------------------------- dense features, against the offic


@pytest.fixture
def golden(shared: Path) -> dict[str, torch.Tensor]:
    with np.load(shared / "golden" / "visual_tiny.npz") as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}


@pytest.fixture
def official(golden: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The tower of the golden file, built for 224 pixels."""
    from open_clip.modified_resnet import ModifiedResNet

    width, heads = int(golden["cfg_width"]), int(golden["pool_heads"])
    visual = ModifiedResNet(
        golden["cfg_layers"].tolist(), int(golden["cfg_out"]), heads, 224, width
    )
    visual.load_state_dict(
        {key[2:]: value.float() for key, value in golden.items() if key.startswith("w/")}
    )
    return visual.eval().requires_grad_(False)


def test_dense_pool_is_the_official_one(golden: dict, official: torch.nn.Module) -> None:
    for size in ("224", "odd"):
        found = image_tower.dense_pool(official.attnpool, golden[f"fmap_{size}"])
        torch.testing.assert_close(
            found, golden[f"dense_{size}"].transpose(1, 2), atol=1e-5, rtol=1e-5
        )
    image_tower.set_image_size(official, 448)
    torch.testing.assert_close(
        official.attnpool.positional_embedding, golden["posemb_448"], atol=1e-6, rtol=1e-6
    )
    found = image_tower.dense_pool(official.attnpool, golden["fmap_448"])
    torch.testing.assert_close(found, golden["dense_448"].transpose(1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("folded", [False, True])
def test_whole_tower_is_the_official_one(
    golden: dict, official: torch.nn.Module, folded: bool
) -> None:
    tower = image_tower.frozen_copy(official) if folded else official
    small, large = golden["image_224"].float(), golden["image_448"].float()
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(
        image_tower.dense_features(tower, small), golden["image_dense_224"].transpose(1, 2), **close
    )
    found = image_tower.dense_features(tower, large)  # positions resized at run time
    torch.testing.assert_close(
        found, golden["image_dense_built224_run448"].transpose(1, 2), **close
    )
    torch.testing.assert_close(
        image_tower.global_features(tower, small), golden["image_pooled_224"], **close
    )
    image_tower.set_image_size(tower, 448)
    torch.testing.assert_close(
        image_tower.dense_features(tower, large), golden["image_dense_448"].transpose(1, 2), **close
    )


def test_attention_pool_equals_open_clip(golden: dict, official: torch.nn.Module) -> None:
    found = image_tower.attention_pool(official.attnpool, golden["fmap_224"])
    torch.testing.assert_close(found, golden["pooled_224"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, official.attnpool(golden["fmap_224"]), atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------- the handle


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("size", [64, 96, 32])
def test_image_sizes(checkpoints: dict, name: str, size: int) -> None:
    clip = make(checkpoints, name, f"@{size}")
    h, w = clip.grid
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    regions, pooled = clip.regions(images), clip.image(images)
    assert regions.shape == (2, h * w + 1, 24) and pooled.shape == (2, 24) and clip.width == 24
    torch.testing.assert_close(regions.norm(dim=-1), torch.ones(2, h * w + 1))
    torch.testing.assert_close(
        pooled, torch.nn.functional.normalize(clip.module.encode_image(images), dim=-1)
    )
    tower = image_tower.frozen_copy(clip.module.visual)
    found = image_tower.global_features(tower, images)
    torch.testing.assert_close(found, clip.module.encode_image(images), atol=1e-4, rtol=1e-4)
    assert not clip.module.training and not any(p.requires_grad for p in clip.module.parameters())


def test_transformer_regions_are_the_value_path_of_the_last_block(checkpoints: dict) -> None:
    """Attention that looks only at its own token, without residual and MLP, must give the same
    patch features."""
    visual = make(checkpoints, "tiny-ViT").module.visual
    images = torch.randn(2, 3, 64, 64)
    tokens = visual._embeds(images)
    for block in visual.transformer.resblocks[:-1]:
        tokens = block(tokens)
    last = visual.transformer.resblocks[-1]
    only_itself = torch.full((17, 17), -torch.inf).fill_diagonal_(0)
    x = last.ln_1(tokens)
    expected = (
        visual.ln_post(last.attn(x, x, x, attn_mask=only_itself, need_weights=False)[0])
        @ visual.proj
    )
    found = image_tower.dense_features(visual, images)
    torch.testing.assert_close(found[:, 1:], expected[:, 1:], atol=1e-5, rtol=1e-5)
    everything = torch.zeros(17, 17).index_fill_(1, torch.tensor([0]), -torch.inf)
    blind = copy.deepcopy(last.attn)  # queries of zero attend uniformly
    blind.in_proj_weight[:64], blind.in_proj_bias[:64] = 0, 0
    mean = visual.ln_post(blind(x, x, x, attn_mask=everything, need_weights=False)[0]) @ visual.proj
    torch.testing.assert_close(found[:, 0], mean[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", TOWERS)
def test_text_equals_the_full_length(checkpoints: dict, name: str) -> None:
    clip = make(checkpoints, name)
    prompts = ["a photo of a cat", "a photo of a very long giraffe", "cat", "a photo of a cat"]
    expected = clip.module.encode_text(clip.tokenizer(prompts), normalize=True)
    torch.testing.assert_close(clip.text(prompts), expected, atol=1e-5, rtol=1e-5)
    tokenizer, clip.tokenizer = clip.tokenizer, None  # a second call must not tokenise again
    torch.testing.assert_close(clip.text(prompts[::-1]), expected.flip(0), atol=1e-5, rtol=1e-5)
    clip.tokenizer = tokenizer
    assert clip.scale == pytest.approx(float(clip.module.logit_scale.exp()))


def test_loading_leaves_the_random_state_alone(checkpoints: dict) -> None:
    """A method must draw the same numbers whether the model was loaded before it was seeded or is
    loaded afterwards."""
    before = torch.get_rng_state()
    make(checkpoints, "tiny-RN").module  # noqa: B018
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_loaded_for_width_grid_and_hash(checkpoints: dict) -> None:
    clip = make(checkpoints, "tiny-RN", "@96")
    assert (clip.width, clip.grid) == (24, (3, 3))
    assert clip.weights_sha256 == weights.content_sha256(checkpoints["tiny-RN"])
    assert "module" not in clip.__dict__


def test_preprocess(checkpoints: dict) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (50, 90, 3), dtype=np.uint8))
    clip = make(checkpoints, "tiny-RN")
    squashed = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR), np.float32) / 255
    mean, std = (np.array(values, np.float32) for values in clip.statistics)
    np.testing.assert_allclose(
        clip.preprocess(image).numpy(), ((squashed - mean) / std).transpose(2, 0, 1), rtol=1e-5
    )
    crop = make(checkpoints, "tiny-RN", "+crop+imagenet")
    assert crop.preprocess(image).shape == (3, 64, 64) and crop.statistics[0] == (
        0.485,
        0.456,
        0.406,
    )
    grey = Image.new("L", (64, 200), 255)
    assert torch.isfinite(crop.preprocess(grey)).all()


def test_crop_equals_open_clip(checkpoints: dict) -> None:
    """Short side bicubic and centre crop, pixel by pixel as open_clip's own evaluation
    transform."""
    pixels = np.random.default_rng(1).integers(0, 256, (50, 91, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    expected = open_clip.image_transform(64, is_train=False)(image)
    torch.testing.assert_close(
        make(checkpoints, "tiny-RN", "+crop").preprocess(image), expected, atol=1e-5, rtol=1e-5
    )


# ---------------------------------------------------------------- descriptions and weights files


def test_parse() -> None:
    found = parse_encoder("RN101/openai@448+crop+imagenet")
    assert found == Encoder("RN101", "openai", 448, "crop", "imagenet", "quickgelu")
    assert parse_encoder("ViT-B-16/OpenAI") == parse_encoder("ViT-B-16/openai@224")
    for text in (
        "pocket-RN",
        "pocket-ViT+crop",
        "RN50/openai@224",
        "ViT-L-14/laion2b_s32b_b82k@336+imagenet",
    ):
        assert parse_encoder(parse_encoder(text).text) == parse_encoder(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RN51/openai", "Did you mean 'RN50'"),
        ("pocket-VIT", "Did you mean 'pocket-ViT'"),
        ("RN50", "known: openai, yfcc15m, cc12m"),
        ("RN50/opnai", "known: openai, yfcc15m, cc12m"),
        ("RN50//no/such/file.pt", "there is no file /no/such/file.pt"),
        ("RN50/openai@230", "nearest is @224"),
        ("RN50/openai@large", "known: openai"),
        ("@224", "cannot read encoder"),
        ("pocket-RN/openai", "its own weights"),
    ],
)
def test_mistakes_are_explained(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_encoder(text)


def test_local_checkpoint_is_known_by_its_hash(
    checkpoints: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = parse_encoder(f"tiny-ViT/{checkpoints['tiny-ViT']}")
    assert str(checkpoints["tiny-ViT"]) not in json.dumps(description.to_json())
    monkeypatch.setattr(weights, "_known", {})  # another process
    assert encoder.weights_file(description) == checkpoints["tiny-ViT"].resolve()
    monkeypatch.setattr(weights, "_known", {})  # another machine
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="name it once: --encoders tiny-ViT//path"):
        Clip(description).module  # noqa: B018


def test_changed_checkpoint_is_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "weights.pt"
    path.write_bytes(b"one")
    first = weights.file_sha256(path)
    monkeypatch.setattr(weights, "sha256", lambda path: pytest.fail("hashed twice"))
    assert weights.file_sha256(path) == first
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path.write_bytes(b"other")
    assert weights.file_sha256(path) != first == weights.hashlib.sha256(b"one").hexdigest()


def test_checkpoint_made_for_another_size(checkpoints: dict, tmp_path: Path) -> None:
    """A checkpoint whose position table is for 128 pixels loads, and is resized from there."""
    model = copy.deepcopy(make(checkpoints, "tiny-RN").module)
    image_tower.set_image_size(model.visual, 128)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "large.pt")
    images = torch.randn(1, 3, 128, 128)
    large = Clip(parse_encoder(f"tiny-RN/{tmp_path}/large.pt@128"))
    torch.testing.assert_close(
        large.regions(images), make(checkpoints, "tiny-RN", "@128").regions(images)
    )
    small = Clip(parse_encoder(f"tiny-RN/{tmp_path}/large.pt@64"))
    assert small.module.visual.attnpool.positional_embedding.shape == (5, 256)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (
            "RN50/openai",
            "fetch https://.*/RN50.pt where there is a network and put it at "
            "{home}/.cache/clip/RN50.pt",
        ),
        (
            "ViT-H-14/laion2b_s32b_b79k",
            "fetch https://huggingface.co/laion/CLIP-ViT-H-14.* name it as ViT-H-14//path",
        ),
    ],
)
def test_offline_without_weights(
    text: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence that says which file to put where."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=remedy.format(home=tmp_path)):
        Clip(parse_encoder(text)).weights_sha256  # noqa: B018


def test_weights_put_by_hand_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file at the place that the message names is not taken for OpenAI's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".cache" / "clip" / "RN50.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a download")
    with pytest.raises(ValueError, match=r"RN50.pt has sha256 .* delete it"):
        Clip(parse_encoder("RN50/openai")).weights_sha256  # noqa: B018
