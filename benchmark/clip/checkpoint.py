"""Checkpoint files: read without executing anything, held against the architecture they are said to
be of, and named by what they hold, whatever the container.

Understood are OpenAI's TorchScript archives, `torch.save` of a state dict (today's and the legacy
format, with or without the training state around it) and safetensors, in any floating-point type.
"""

import hashlib
import logging
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from benchmark.clip import torchvision_shim  # noqa: F401  (must come before open_clip)

# isort: split
import open_clip
from safetensors import SafetensorError
from safetensors.torch import load_file

from benchmark.clip import architectures
from benchmark.clip.open_clip_types import Model

State = dict[str, Tensor]

# Entries that no result depends on: sizes in OpenAI's archives, counters of batch norm, masks.
UNUSED = (
    "input_resolution",
    "context_length",
    "vocab_size",
    "num_batches_tracked",
    "attn_mask",
    "position_ids",
)
BIG_VISION = (".npz", ".npy")  # SigLIP's own format, which open_clip reads
POSITIONS = ("visual.positional_embedding", "visual.attnpool.positional_embedding")
# What torch and safetensors raise for files that are cut off or of another kind.
UNREADABLE = (
    RuntimeError,
    OSError,
    EOFError,
    KeyError,
    ValueError,
    zipfile.BadZipFile,
    SafetensorError,
)
NAMED = 3  # differing entries that an error names


def read(path: Path) -> State:
    """The tensors of a checkpoint by name, on the CPU in the type they are stored in.

    Nothing in the file is executed: pickles are read with `weights_only`, and tar archives (torch's
    oldest format, in which torch before 2.6 executes pickles even then, CVE-2025-32434) not at all.
    Raises `ValueError` that says what to save instead.
    """
    remedy = "save model.state_dict() with torch.save, or as safetensors, and name that file"
    try:
        state = _stored(path)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} was not opened: it holds more than tensors, and reading that could execute "
            f"code; {remedy}"
        ) from error
    except UNREADABLE as error:
        raise ValueError(f"{path} is no readable checkpoint; {remedy}") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not (
        isinstance(state, Mapping)
        and state
        and all(isinstance(value, Tensor) for value in state.values())
    ):
        raise ValueError(f"{path} holds no state dict; {remedy}")
    prefix = "module."  # of models that were trained in parallel
    return {
        name.removeprefix(prefix): value
        for name, value in state.items()
        if name.rpartition(".")[2] not in UNUSED
    }


def _stored(path: Path) -> object:
    if path.suffix == ".safetensors":
        return load_file(path)
    if is_torchscript(path):
        return torch.jit.load(str(path), map_location="cpu").state_dict()
    if tarfile.is_tarfile(path):
        raise pickle.UnpicklingError("a tar archive")
    is_mappable = zipfile.is_zipfile(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a pickle that is none: the error says it
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_mappable)


def is_torchscript(path: Path) -> bool:
    """Whether this is an archive of a scripted model, as OpenAI published CLIP."""
    return zipfile.is_zipfile(path) and any(
        name.endswith("/constants.pkl") for name in _names(path)
    )


def _names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def scripted_activation(path: Path) -> str:
    """ "gelu" where the code of a TorchScript archive calls it, else "quickgelu", which has no
    function of its own; "" for any other file."""
    if not is_torchscript(path):
        return ""
    with zipfile.ZipFile(path) as archive:
        code = b"".join(archive.read(name) for name in _names(path) if name.endswith(".py"))
    return "gelu" if b".gelu(" in code else "quickgelu"


def content_sha256(path: Path) -> str:
    """Of names, shapes and values in float32: the same for every container and every
    floating-point type that holds the same numbers. Raises `ValueError` for a damaged file."""
    _require_undamaged(path)
    digest = hashlib.sha256()
    for name, value in sorted(read(path).items()):
        shape = list(value.shape) if value.numel() > 1 else []  # a scalar may be stored as (1,)
        if not value.isfinite().all():
            raise ValueError(f"{path}: {name} holds values that are no finite numbers")
        digest.update(f"{name}\t{shape}\n".encode())
        digest.update(value.detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _require_undamaged(path: Path) -> None:
    """Against the checksums in an archive, which torch does not look at. Those of OpenAI's
    TorchScript are left alone: their sha256 stands in their address."""
    if not zipfile.is_zipfile(path) or is_torchscript(path):
        return
    with zipfile.ZipFile(path) as archive:
        try:
            damaged = archive.testzip()
        except UNREADABLE as error:
            damaged = str(error)
    if damaged is not None:
        raise ValueError(f"{path} is damaged ({damaged}); download or save it again")


def image_size(state: Mapping[str, Tensor], stride: int | None) -> int | None:
    """Pixels of a side that the position embeddings are made for, None where there is no such
    table."""
    table = next((state[name] for name in POSITIONS if name in state), None)
    if stride is None or table is None:
        return None
    return int(round((table.shape[0] - 1) ** 0.5) * stride)


@lru_cache(maxsize=8)
def expected_shapes(name: str, size: int | None) -> dict[str, tuple[int, ...]]:
    """Shapes of an architecture's own tensors by name, without making them."""
    with torch.device("meta"):
        model = quietly_created(name, device="meta", force_image_size=size)
    return {
        key: tuple(value.shape)
        for key, value in model.state_dict().items()
        if key.rpartition(".")[2] not in UNUSED
    }


def register(name: str) -> None:
    """Makes an own architecture known to open_clip."""
    if architectures.own() and open_clip.get_model_config(name) is None:
        open_clip.add_model_config(architectures.own())


def quietly_created(name: str, **options: bool | int | str | None) -> Model:
    """A new open_clip model; that it holds no pretrained weights yet is no warning here."""
    register(name)
    logging.disable(logging.WARNING)
    try:
        model: Model = open_clip.create_model(name, **options)
    finally:
        logging.disable(logging.NOTSET)
    return model


def converted(state: State, expected: Mapping[str, tuple[int, ...]]) -> State:
    """The state under the names of the model, where open_clip itself published older ones."""
    if "text.token_embedding.weight" in expected and "token_embedding.weight" in state:
        from open_clip.model import convert_to_custom_text_state_dict

        state = convert_to_custom_text_state_dict(state)
    scalars = [
        key
        for key in ("logit_scale", "logit_bias")
        if key in state and key in expected and state[key].numel() == 1
    ]
    return {**state, **{key: state[key].reshape(expected[key]) for key in scalars}}


def require_fit(
    path: Path, name: str, state: State, expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Raises `ValueError` that names the first differing tensors when a state is not of the
    architecture `name`."""
    state = converted(state, expected)
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    other = [
        f"{key} is {_times(shapes[key])} instead of {_times(expected[key])}"
        for key in expected
        if key in shapes and shapes[key] != expected[key]
    ]
    problems = {
        "of another shape": other,
        "missing": [key for key in expected if key not in shapes],
        "unknown": [key for key in shapes if key not in expected],
    }
    said = [f"{len(keys)} {what}: {_first(keys)}" for what, keys in problems.items() if keys]
    if not said:
        return
    fitting = _architectures(state)
    remedy = (
        f"it fits {' or '.join(fitting)}" if fitting else "name the architecture it was made for"
    )
    raise ValueError(f"{path} does not hold weights of {name} ({'; '.join(said)}): {remedy}")


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a scalar"


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:NAMED]) + (", …" if len(keys) > NAMED else "")


def _architectures(state: Mapping[str, Tensor]) -> list[str]:
    """open_clip's names for CLIP models of these sizes."""
    dimensions = {"visual.conv1.weight": 4, "text_projection": 2, "ln_final.weight": 1}
    if any(key not in state or state[key].ndim != n for key, n in dimensions.items()):
        return []
    first, blocks = state["visual.conv1.weight"], "visual.transformer.resblocks."
    is_vit = first.shape[-1] != 3
    layers: int | list[int]
    if is_vit:
        layers = len({key.split(".")[3] for key in state if key.startswith(blocks)})
    else:
        stages = [f"visual.layer{i}." for i in (1, 2, 3, 4)]
        layers = [
            len({key.split(".")[2] for key in state if key.startswith(stage)}) for stage in stages
        ]
    wanted = {
        "embed_dim": state["text_projection"].shape[1],
        "text": state["ln_final.weight"].shape[0],
        "width": first.shape[0] if is_vit else 2 * first.shape[0],
        "layers": layers,
        "patch": first.shape[-1] if is_vit else None,
    }
    names = []
    for name in architectures.names():
        config = architectures.model_config(name)
        visual, text = config["vision_cfg"], config["text_cfg"]
        found = {
            "embed_dim": config["embed_dim"],
            "text": text.get("width"),
            "width": visual.get("width"),
            "layers": visual.get("layers"),
            "patch": visual.get("patch_size") if is_vit else None,
        }
        other_kind = name.endswith("-quickgelu") or "multimodal_cfg" in config
        if found == wanted and not other_kind:
            names.append(name)
    return names[:2]
