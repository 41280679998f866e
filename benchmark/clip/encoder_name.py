"""Names of encoders: from text to a complete description and back.

`parse_encoder` reads NAME[/WEIGHTS][@SIZE][+crop][+imagenet][+quickgelu or +gelu], for example
`pocket-RN`, `RN101/openai@448`, `ViT-B-16/laion2b_s34b_b88k+crop` or
`ViT-B-16//path/to/checkpoint.pt@224+quickgelu`. Own
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

import benchmark.clip.pocket  # noqa: F401  (registers its architectures with open_clip)
from benchmark.clip import checkpoint
from benchmark.clip.checkpoint import BIG_VISION, scripted_activation
from benchmark.clip.image_tower import stride
from benchmark.clip.weights import content_sha256
from benchmark.spec import POCKET, Encoder, JsonObject, nearest

GRAMMAR = re.compile(
    r"(?P<name>[^/@+]+)(/(?P<weights>.+?))?(@(?P<size>\d+))?"
    r"(?P<flags>(\+crop|\+imagenet|\+quickgelu|\+gelu|\+tf32|\+bf16)*)"
)
QUICK = "-quickgelu"  # open_clip's suffix for an architecture with the other activation


def model_config(name: str) -> JsonObject:
    """open_clip's configuration of an architecture. Raises `ValueError` with the nearest known
    name."""
    if "LOWLABEL_MODEL_CONFIGS" in os.environ:
        open_clip.add_model_config(os.environ["LOWLABEL_MODEL_CONFIGS"])
    config: JsonObject | None = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(
            f"There is no encoder {name!r}. {nearest(name, [*POCKET, *open_clip.list_models()])}"
        )
    return config


def parse_encoder(text: str) -> Encoder:
    """A complete description of an encoder; `Encoder.text` is the inverse.

    `weights` is a tag of open_clip, "shipped" for the pocket encoders, or "sha256:…" of the numbers
    in a local checkpoint, whose path is remembered on this machine, not in the description. So the
    same weights are one encoder in whatever container or floating-point type they come, and under
    NAME as under NAME-quickgelu. Raises `ValueError` that says what is allowed, also for a local
    file that holds another architecture.
    """
    match = GRAMMAR.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"cannot read encoder {text!r}; write NAME/WEIGHTS@SIZE, optionally with +crop, "
            f"+imagenet, +quickgelu or +gelu, +tf32 or +bf16"
        )
    tag, flags = match["weights"], match["flags"].split("+")
    model_config(match["name"])  # an unknown name is an error before anything else
    name, named = _without_suffix(match["name"], tag)
    visual = model_config(name)["vision_cfg"]
    size = int(match["size"] or visual.get("image_size", 224))
    step = stride(visual)
    if size <= 0 or (step and size % step):
        near = max(1, round(size / (step or 1))) * (step or 1)
        raise ValueError(
            f"the image size of {name} must be a multiple of {step}; the nearest is @{near}"
        )
    said = {flag for flag in flags if flag.endswith("gelu")} | ({named} - {""})
    if len(said) > 1:
        raise ValueError(f"{text!r} names two activations; leave one out")
    precision = {"tf32", "bf16"} & set(flags)
    if len(precision) > 1:
        raise ValueError(f"{text!r} names two precisions; leave one out")
    path = _local_file(name, tag)
    if path is not None:
        _require_fit(path, name)
    return Encoder(
        name,
        _canonical_weights(name, tag) if path is None else f"sha256:{content_sha256(path)}",
        size,
        resize="crop" if "crop" in flags else "squash",
        statistics="imagenet" if "imagenet" in flags else "clip",
        activation=_activation(name, tag, path, next(iter(said), "")),
        precision=next(iter(precision), "fp32"),
    )


def _without_suffix(name: str, tag: str | None) -> tuple[str, str]:
    """The architecture without -quickgelu, and "quickgelu" where that was said. A tag that only
    the suffixed name has keeps it."""
    base = name.removesuffix(QUICK)
    if base == name or base not in open_clip.list_models():
        return name, ""
    is_tag = tag is not None and "/" not in tag and not tag.startswith("sha256:")
    if is_tag and not get_pretrained_cfg(base, tag):
        return name, ""
    return base, "quickgelu"


def _activation(name: str, tag: str | None, path: Path | None, said: str) -> str:
    """ "quickgelu" or "gelu": as published, else as said, else as a scripted archive computes, else
    as all published weights of the architecture have it; `ValueError` where they disagree."""
    if name in POCKET or (path is None and not (tag or "").startswith("sha256:")):
        published = _published_activation(name, tag)
        if said not in ("", published):
            raise ValueError(f"{name}/{tag or 'shipped'} was trained with {published}: no +{said}")
        return published
    if said:
        return said
    if path is not None and scripted_activation(path):
        return scripted_activation(path)
    tags = open_clip.list_pretrained_tags_by_model(name)
    found = {_published_activation(name, known) for known in tags or [None]}
    if len(found) > 1:
        raise ValueError(
            f"published weights of {name} differ in their activation (openai: quickgelu), and a "
            f"file does not say which it was trained with: add +quickgelu or +gelu to {name}/{tag}"
        )
    return found.pop()


def _published_activation(name: str, tag: str | None) -> str:
    quick = model_config(name).get("quick_gelu") or (
        tag is not None and get_pretrained_cfg(name, tag).get("quick_gelu")
    )
    return "quickgelu" if quick else "gelu"


def _local_file(name: str, tag: str | None) -> Path | None:
    """The file that WEIGHTS names, None for a tag. Raises `ValueError` when it is not there."""
    if name in POCKET or tag is None or "/" not in tag:
        return None
    path = Path(tag)
    if not path.is_file():  # NAME//file.pt is also understood as a relative path
        path = Path(tag.lstrip("/"))
    if not path.is_file():
        known = ", ".join(open_clip.list_pretrained_tags_by_model(name))
        raise ValueError(
            f"there is no file {tag}; give an existing checkpoint of {name}, or one of: {known}"
        )
    return path


def _require_fit(path: Path, name: str) -> None:
    if path.suffix in BIG_VISION:
        return
    state = checkpoint.read(path)
    size = checkpoint.image_size(state, stride(model_config(name)["vision_cfg"]))
    checkpoint.require_fit(path, name, state, checkpoint.expected_shapes(name, size))


def _canonical_weights(name: str, tag: str | None) -> str:
    if name in POCKET:
        if tag not in (None, "shipped"):
            raise ValueError(f"{name} comes with its own weights; write {name}, without /{tag}")
        return "shipped"
    if tag is not None and tag.startswith("sha256:"):
        return tag
    known = open_clip.list_pretrained_tags_by_model(name)
    if tag is None or not get_pretrained_cfg(name, tag):
        said = "needs weights" if tag is None else f"has no weights {tag!r}"
        remedy = f"known: {', '.join(known)}" if known else "none are published"
        raise ValueError(f"{name} {said}; {remedy}; or a local file: {name}//path/to/checkpoint.pt")
    meant = get_pretrained_cfg(name, tag)
    return next(str(entry) for entry in known if get_pretrained_cfg(name, entry) is meant)
