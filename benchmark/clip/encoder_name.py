"""Names of encoders: from text to a complete description and back.

`parse_encoder` reads NAME[/WEIGHTS][@SIZE][+crop][+imagenet], for example `pocket-RN`,
`RN101/openai@448`, `ViT-B-16/laion2b_s34b_b88k+crop` or `RN50//path/to/checkpoint.pt@224`. Own
architectures (open_clip's JSON configs) are taken from the folder in the environment variable
LOWLABEL_MODEL_CONFIGS.
"""

import os
import re
from pathlib import Path

from benchmark.clip import torchvision_shim  # noqa: F401  (must come before open_clip)

# isort: split
import open_clip
from open_clip.pretrained import get_pretrained_cfg

from benchmark.clip import weights
from benchmark.clip.image_tower import stride
from benchmark.spec import POCKET, Encoder, JsonObject, nearest

GRAMMAR = re.compile(
    r"(?P<name>[^/@+]+)(/(?P<weights>.+?))?(@(?P<size>\d+))?(?P<flags>(\+crop|\+imagenet)*)"
)


def model_config(name: str) -> JsonObject:
    """open_clip's configuration of an architecture. Raises `ValueError` with the nearest known
    name."""
    if name in POCKET:
        import benchmark.clip.pocket  # noqa: F401  (registers its architectures with open_clip)
    if "LOWLABEL_MODEL_CONFIGS" in os.environ:
        open_clip.add_model_config(os.environ["LOWLABEL_MODEL_CONFIGS"])
    config = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(
            f"There is no encoder {name!r}. {nearest(name, [*POCKET, *open_clip.list_models()])}"
        )
    return config


def parse_encoder(text: str) -> Encoder:
    """A complete description of an encoder; `Encoder.text` is the inverse.

    `weights` is a tag of open_clip, "shipped" for the pocket encoders, or "sha256:…" for a local
    checkpoint, whose path is remembered on this machine, not in the description. Raises
    `ValueError` that says what is allowed.
    """
    match = GRAMMAR.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"cannot read encoder {text!r}; write NAME/WEIGHTS@SIZE, optionally with +crop or "
            f"+imagenet"
        )
    name, tag = match["name"], match["weights"]
    visual = model_config(name)["vision_cfg"]
    size = int(match["size"] or visual.get("image_size", 224))
    step = stride(visual)
    if size <= 0 or (step and size % step):
        near = max(1, round(size / (step or 1))) * (step or 1)
        raise ValueError(
            f"the image size of {name} must be a multiple of {step}; the nearest is @{near}"
        )
    return Encoder(
        name,
        _canonical_weights(name, tag),
        size,
        resize="crop" if "+crop" in match["flags"] else "squash",
        statistics="imagenet" if "+imagenet" in match["flags"] else "clip",
    )


def _canonical_weights(name: str, tag: str | None) -> str:
    if name in POCKET:
        if tag not in (None, "shipped"):
            raise ValueError(f"{name} comes with its own weights; write {name}, without /{tag}")
        return "shipped"
    known = open_clip.list_pretrained_tags_by_model(name)
    if tag is not None and "/" in tag:
        path = Path(tag)
        if not path.is_file():  # NAME//file.pt is also understood as a relative path
            path = Path(tag.lstrip("/"))
        if not path.is_file():
            raise ValueError(
                f"there is no file {tag}; give an existing checkpoint of {name}, or one of: "
                f"{', '.join(known)}"
            )
        return f"sha256:{weights.remember(path)}"
    if tag is not None and tag.startswith("sha256:"):
        return tag
    if tag is None or not get_pretrained_cfg(name, tag):
        said = "needs weights" if tag is None else f"has no weights {tag!r}"
        remedy = f"known: {', '.join(known)}" if known else "none are published"
        raise ValueError(f"{name} {said}; {remedy}; or a local file: {name}//path/to/checkpoint.pt")
    return next(
        entry for entry in known if get_pretrained_cfg(name, entry) is get_pretrained_cfg(name, tag)
    )
