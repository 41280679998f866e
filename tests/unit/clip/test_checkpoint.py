"""Checkpoint files: one encoder for the same weights in every container, activations that are known
or asked for, and one sentence for every file that does not belong to the architecture."""

import pickle
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmark.clip import checkpoint
from benchmark.clip.encoder import Clip
from benchmark.clip.encoder_name import parse_encoder
from benchmark.commands import main
from tests.fixtures.tiny_clip import write_models

import open_clip  # isort: skip

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOWLABEL_MODEL_CONFIGS", str(folder))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield write_models(folder)


@pytest.fixture
def state(checkpoints: dict[str, Path]) -> State:
    """Of tiny-ViT, rounded to numbers that float16 can hold, as OpenAI published its weights."""
    found = torch.load(checkpoints["tiny-ViT"], weights_only=True)
    return {key: value.half().float() for key, value in found.items()}


class Scripted(torch.nn.Module):
    """A model with OpenAI's names and constants whose code computes QuickGELU."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        for name, child in model.named_children():
            setattr(self, name, child)
        for name, value in model.named_parameters(recurse=False):
            setattr(self, name, value)
        self.register_buffer("context_length", torch.tensor(77))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x) + self.context_length


@pytest.mark.filterwarnings("ignore")  # tracing is deprecated
def test_five_forms_are_one_encoder(
    checkpoints: dict[str, Path], state: State, tmp_path: Path
) -> None:
    model = open_clip.create_model("tiny-ViT", quick_gelu=True).eval().requires_grad_(False)
    model.load_state_dict(state)
    torch.jit.trace(Scripted(model), torch.zeros(1)).save(tmp_path / "scripted.pt")
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "half.pt")
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "trained.pt")
    torch.save(state, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "plain.safetensors")
    assert checkpoint.is_torchscript(tmp_path / "scripted.pt")
    texts = [f"tiny-ViT/{tmp_path}/scripted.pt"]
    forms = ("half.pt", "trained.pt", "legacy.pt", "plain.safetensors")
    texts += [f"tiny-ViT/{tmp_path}/{form}+quickgelu" for form in forms]
    found = [parse_encoder(text) for text in texts]
    assert len(set(found)) == 1
    assert found[0].text.endswith("@64+quickgelu") and parse_encoder(found[0].text) == found[0]
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.normalize(model.encode_image(images), dim=-1)
    torch.testing.assert_close(Clip(found[0]).image(images), expected)
    plain = Clip(parse_encoder(f"tiny-ViT/{tmp_path}/half.pt+gelu"))
    assert (plain.image(images) - expected).abs().max() > 1e-4  # the activation matters
    assert plain.description != found[0]


def test_names_with_and_without_quickgelu_are_one_encoder(tmp_path: Path) -> None:
    assert parse_encoder("ViT-B-16-quickgelu/openai") == parse_encoder("ViT-B-16/openai")
    assert parse_encoder("ViT-B-16/openai").activation == "quickgelu"
    assert parse_encoder("ViT-B-16/laion2b_s34b_b88k").activation == "gelu"
    digest = "sha256:" + "0" * 64
    with_suffix = parse_encoder(f"ViT-B-16-quickgelu/{digest}")
    assert with_suffix == parse_encoder(f"ViT-B-16/{digest}+quickgelu")


def test_where_published_weights_disagree_the_activation_is_asked_for() -> None:
    digest = "sha256:" + "0" * 64
    assert parse_encoder(f"RN50/{digest}").activation == "quickgelu"  # all published ones have it
    with pytest.raises(ValueError, match=r"add \+quickgelu or \+gelu to ViT-B-16"):
        parse_encoder(f"ViT-B-16/{digest}")
    with pytest.raises(ValueError, match="was trained with quickgelu"):
        parse_encoder("RN50/openai+gelu")
    with pytest.raises(ValueError, match="two activations"):
        parse_encoder("ViT-B-16-quickgelu/openai+gelu")


class Hostile:
    """Unpickling this would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


def other(name: str, **sizes: int) -> State:
    """A state of an architecture that differs from tiny-ViT in one size."""
    config = open_clip.get_model_config("tiny-ViT")
    config["vision_cfg"] |= sizes
    return open_clip.CLIP(**config).state_dict()


WRONG: dict[str, tuple[Callable[[State], State], str]] = {
    "patch": (lambda state: other("patch", patch_size=32), "visual.conv1.weight is 64×3×32×32"),
    "depth": (
        lambda state: other("depth", layers=2),
        r"missing: visual.transformer.resblocks.2.ln_1.weight, .*, …",
    ),
    "width": (lambda state: other("width", width=128), "of another shape: visual.class_embedding"),
    "missing": (
        lambda state: {key: value for key, value in state.items() if "ln_final" not in key},
        r"\(2 missing: ln_final.weight, ln_final.bias\)",
    ),
    "extra": (
        lambda state: {**state, **{f"head.{i}": torch.zeros(1) for i in range(5)}},
        r"\(5 unknown: head.0, head.1, head.2, …\)",
    ),
    "empty": (lambda state: {}, "holds no state dict"),
    "shapes": (lambda state: dict.fromkeys(state, torch.zeros(3)), "of another shape"),
    "nan": (
        lambda state: {**state, "ln_final.bias": state["ln_final.bias"] / 0},
        "ln_final.bias holds values that are no finite numbers",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_states_are_explained(
    checkpoints: dict[str, Path], state: State, kind: str, tmp_path: Path
) -> None:
    change, said = WRONG[kind]
    torch.save(change(state), tmp_path / "wrong.pt")
    with pytest.raises(ValueError, match=said):
        parse_encoder(f"tiny-ViT/{tmp_path}/wrong.pt")


def test_nothing_is_executed(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Pickles of objects, bare, in torch's zip, in torch's legacy format and in its oldest one."""
    hostile = Hostile(tmp_path / "executed")
    torch.save(hostile, tmp_path / "zip.pt")
    torch.save({"a": hostile}, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pkl").write_bytes(pickle.dumps(hostile))
    (tmp_path / "pickle").write_bytes(pickle.dumps(hostile))
    with tarfile.open(tmp_path / "oldest.pt", "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.add(tmp_path / "pickle", name)
    for name in ("zip.pt", "legacy.pt", "bare.pkl", "oldest.pt"):
        with pytest.raises(ValueError, match="was not opened: it holds more than tensors"):
            parse_encoder(f"tiny-ViT/{tmp_path}/{name}")
    assert not hostile.mark.exists()


def test_damaged_files_are_explained(
    checkpoints: dict[str, Path], state: State, tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "whole.pt")
    save_file(state, tmp_path / "whole.safetensors")
    for name in ("whole.pt", "whole.safetensors"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match="is no readable checkpoint"):
            parse_encoder(f"tiny-ViT/{tmp_path}/{name}")
    torch.save(state, tmp_path / "flipped.pt")
    content = bytearray((tmp_path / "flipped.pt").read_bytes())
    content[len(content) // 2] ^= 1  # in the numbers of a tensor: torch does not notice
    (tmp_path / "flipped.pt").write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        parse_encoder(f"tiny-ViT/{tmp_path}/flipped.pt")
    (tmp_path / "page.pt").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"page\.pt"):
        parse_encoder(f"tiny-ViT/{tmp_path}/page.pt")


def test_the_fitting_architecture_is_named() -> None:
    with torch.device("meta"):
        model = open_clip.create_model("ViT-B-32", device="meta")
    state = model.state_dict()
    with pytest.raises(ValueError, match="it fits ViT-B-32") as error:
        checkpoint.require_fit(
            Path("ViT-B-32.pt"), "ViT-B-16", state, checkpoint.expected_shapes("ViT-B-16", 112)
        )
    assert "visual.conv1.weight is 768×3×32×32 instead of 768×3×16×16" in str(error.value)


def test_a_wrong_checkpoint_ends_before_the_sweep(
    checkpoints: dict[str, Path],
    state: State,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.save(WRONG["patch"][0](state), tmp_path / "patch32.pt")
    command = ["--methods", "zero_shot_clip", "--settings", "partial", "--seeds", "0"]
    command += ["--encoders", f"tiny-ViT/{tmp_path}/patch32.pt", "--out", str(tmp_path / "out")]
    from run_all import FULL, QUICK

    assert main(["run", *command], QUICK, FULL) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "does not hold weights of tiny-ViT" in said
    assert not (tmp_path / "out" / "runs").exists()
