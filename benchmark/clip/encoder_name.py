"""Names of encoders: from text to a complete description and back.

`parse_encoder` reads NAME[/WEIGHTS][@SIZE][+crop][+imagenet][+quickgelu or +gelu], for example
`pocket-RN`, `RN101/openai@448`, `ViT-B-16/laion2b_s34b_b88k+crop` or
`ViT-B-16//path/to/checkpoint.pt@224+quickgelu`.
"""

import re
from pathlib import Path

from benchmark.clip.architectures import model_config, names, published, stride, tags
from benchmark.spec import POCKET, Encoder

GRAMMAR = re.compile(
    r"(?P<name>[^/@+]+)(/(?P<weights>.+?))?(@(?P<size>\d+))?"
    r"(?P<flags>(\+crop|\+imagenet|\+quickgelu|\+gelu|\+tf32|\+bf16)*)"
)
QUICK = "-quickgelu"  # open_clip's suffix for an architecture with the other activation


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
        _canonical_weights(name, tag) if path is None else f"sha256:{_content(path)}",
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
    if base == name or base not in names():
        return name, ""
    if tag is None or "/" in tag or tag.startswith("sha256:"):
        return base, "quickgelu"
    if not published(base, tag):
        return name, ""
    return base, "quickgelu"


def _activation(name: str, tag: str | None, path: Path | None, said: str) -> str:
    """ "quickgelu" or "gelu": as published, else as said, else as a scripted archive computes, else
    as all published weights of the architecture have it; `ValueError` where they disagree."""
    if name in POCKET or (path is None and not (tag or "").startswith("sha256:")):
        known = _published_activation(name, tag)
        if said not in ("", known):
            raise ValueError(f"{name}/{tag or 'shipped'} was trained with {known}: no +{said}")
        return known
    if said:
        return said
    if path is not None:
        from benchmark.clip.checkpoint import scripted_activation  # see `_content`

        if scripted_activation(path):
            return scripted_activation(path)
    found = {_published_activation(name, known) for known in tags(name)}
    found = found or {_published_activation(name, None)}
    if len(found) > 1:
        raise ValueError(
            f"published weights of {name} differ in their activation (openai: quickgelu), and a "
            f"file does not say which it was trained with: add +quickgelu or +gelu to {name}/{tag}"
        )
    return found.pop()


def _published_activation(name: str, tag: str | None) -> str:
    quick = model_config(name).get("quick_gelu") or (
        tag is not None and published(name, tag).get("quick_gelu")
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
        known = ", ".join(tags(name))
        raise ValueError(
            f"there is no file {tag}; give an existing checkpoint of {name}, or one of: {known}"
        )
    return path


def _content(path: Path) -> str:
    """Imported where a file is named: reading one needs open_clip's towers."""
    from benchmark.clip.weights import content_sha256

    return content_sha256(path)


def _require_fit(path: Path, name: str) -> None:
    from benchmark.clip import checkpoint

    if path.suffix in checkpoint.BIG_VISION:
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
    known = tags(name)
    if tag is None or not published(name, tag):
        said = "needs weights" if tag is None else f"has no weights {tag!r}"
        remedy = f"known: {', '.join(known)}" if known else "none are published"
        raise ValueError(f"{name} {said}; {remedy}; or a local file: {name}//path/to/checkpoint.pt")
    meant = published(name, tag)
    return next(str(entry) for entry in known if published(name, entry) is meant)
