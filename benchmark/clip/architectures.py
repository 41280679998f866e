"""What is known of architectures and of published weights: open_clip's tables, read without its
towers.

Importing open_clip takes seconds of CPU, most of them torchvision's; a plan only names encoders.
Own architectures (JSON files in open_clip's form) are taken from the file or folder in the
environment variable LOWLABEL_MODEL_CONFIGS.
"""

import functools
import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from benchmark.spec import POCKET, JsonObject, nearest

NECESSARY = {"embed_dim", "vision_cfg", "text_cfg"}  # of a configuration of CLIP's kind


def _folder_of_open_clip() -> Path:
    found = importlib.util.find_spec("open_clip")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent


def _published() -> Any:  # open_clip has no types
    """open_clip's module of published weights, imported beside its package and not as a part."""
    beside = ModuleType("_open_clip_beside")
    beside.__path__ = [str(OPEN_CLIP)]
    sys.modules[beside.__name__] = beside
    return importlib.import_module(f"{beside.__name__}.pretrained")


OPEN_CLIP = _folder_of_open_clip()
_weights = _published()


def own() -> str:
    """Where own architectures lie, "" for nowhere."""
    return os.environ.get("LOWLABEL_MODEL_CONFIGS", "")


def model_config(name: str) -> JsonObject:
    """The configuration of an architecture, not to be changed. Raises `ValueError` with the nearest
    known name."""
    for folder in _places():
        path = folder if folder.stem == name and folder.is_file() else folder / f"{name}.json"
        if path.is_file() and set(found := _read(path, path.stat().st_mtime_ns)) >= NECESSARY:
            return found
    raise ValueError(f"There is no encoder {name!r}. {nearest(name, [*POCKET, *names()])}")


def names() -> list[str]:
    """Every architecture, sorted."""
    files = [
        path
        for place in _places()
        for path in ([place] if place.is_file() else place.glob("*.json"))
    ]
    return sorted({p.stem for p in files if set(_read(p, p.stat().st_mtime_ns)) >= NECESSARY})


def _places() -> list[Path]:
    """What comes first hides a later one of the same name."""
    shipped = [Path(__file__).parent / "pocket", OPEN_CLIP / "model_configs"]
    return [Path(own()), *shipped] if own() else shipped


@functools.cache
def _read(path: Path, changed: int) -> JsonObject:
    found = json.loads(path.read_text())
    return found if isinstance(found, dict) else {}


def tags(name: str) -> list[str]:
    """The published weights of an architecture."""
    return list(_weights.list_pretrained_tags_by_model(name))


def published(name: str, tag: str) -> JsonObject:
    """What open_clip knows of published weights; the same object for two tags of the same weights,
    {} for none."""
    return cast(JsonObject, _weights.get_pretrained_cfg(name, tag))


def stride(visual_config: JsonObject) -> int | None:
    """Pixels per region for a `vision_cfg`: 32 for a ModifiedResNet, the patch size for a ViT, else
    None."""
    if "timm_model_name" in visual_config:
        return None
    is_resnet = isinstance(visual_config["layers"], list | tuple)
    return 32 if is_resnet else int(visual_config.get("patch_size", 16))
