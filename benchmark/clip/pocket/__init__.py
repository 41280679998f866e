"""The pocket CLIPs: two small open_clip models, pretrained on rendered scenes, that ship with the
suite."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import numpy as np
import torch

import benchmark.clip.torchvision_shim  # noqa: F401  must come before open_clip
from benchmark.clip.open_clip_types import Model

import open_clip as open_clip  # isort: skip

FOLDER = Path(__file__).parent
NAMES = ("pocket-RN", "pocket-ViT")
# pixels are normalised as for CLIP
MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
TOKENS = "token_embedding.weight"

for _name in NAMES:
    open_clip.add_model_config(FOLDER / f"{_name}.json")


def weights_path(name: str) -> Path:
    """Where the shipped float16 weights of a pocket CLIP lie."""
    if name not in NAMES:
        raise ValueError(f"unknown pocket CLIP {name!r}: it is one of {', '.join(NAMES)}")
    return FOLDER / f"{name}.npz"


def weights_sha256(name: str) -> str:
    """The sha256 of the weights file of a pocket CLIP. Raises `ValueError` when the file is missing
    or is not the one that was shipped, whose sha256 stands in sha256.json beside it."""
    path = weights_path(name)
    known: dict[str, str] = json.loads((FOLDER / "sha256.json").read_text())
    expected = known[name]
    remedy = (
        f"restore it with `git checkout {path}` or train it with `python -m benchmark.pretraining "
        f"pretrain {name}`"
    )
    if not path.is_file():
        raise ValueError(f"{path} is missing (expected sha256 {expected}): {remedy}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(f"{path} has sha256 {found}, expected {expected}: {remedy}")
    return expected


def create(name: str) -> Model:
    """A pocket CLIP with its shipped weights, in evaluation mode and float32, made by open_clip's
    own factory.

    Raises ValueError when the weights file is missing or is not the one that was shipped.
    """
    weights_sha256(name)
    path = weights_path(name)
    # open_clip warns that it found no weights for the name; they are loaded below
    logging.disable(logging.WARNING)
    try:
        model: Model = open_clip.create_model(name)
    finally:
        logging.disable(logging.NOTSET)
    model.load_state_dict(read_weights(path, model))
    return model.eval().requires_grad_(False)


def read_weights(path: Path, model: Model) -> dict[str, torch.Tensor]:
    """A full float32 state of `model` from a file of `write_weights`; tokens never trained on have
    zero embeddings."""
    with np.load(path) as file:
        state = {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}
    rows, ids = state.pop(TOKENS), state.pop("token_ids").long()
    state = {
        key: value.float() if value.is_floating_point() else value for key, value in state.items()
    }
    state[TOKENS] = torch.zeros_like(model.token_embedding.weight).index_copy(0, ids, rows.float())
    return state


def write_weights(path: Path, state: dict[str, torch.Tensor], token_ids: np.ndarray) -> str:
    """Write float16 weights whose `token_embedding.weight` holds the rows of `token_ids` only;
    returns the sha256."""
    arrays = {
        key: value.half().numpy() if value.is_floating_point() else value.numpy()
        for key, value in state.items()
    }
    partial = path.with_suffix(".partial.npz")
    arrays["token_ids"] = token_ids.astype(np.int32)
    np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]  # none is `allow_pickle`
    partial.replace(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()
