"""Weights files: sha256 and path, remembered per machine, so that a file is hashed once and found
again by its hash."""

import contextlib
import hashlib
import json
import os
import tempfile
import zipfile
from pathlib import Path

import torch

_known: dict[str, str] = {}  # sha256 -> path, of this process


def _memory() -> Path:
    return (
        Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
        / "lowlabel"
        / "weights.json"
    )


def _read() -> dict[str, list]:
    """Path -> [bytes, modification time in ns, sha256]."""
    try:
        return json.loads(_memory().read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def remember(path: Path) -> str:
    """The sha256 of the file, hashed again only when its size or modification time changed."""
    path = Path(path).resolve()
    state = path.stat()
    stamp = [state.st_size, state.st_mtime_ns]
    entries = _read()
    digest = entries[str(path)][2] if entries.get(str(path), [])[:2] == stamp else None
    if digest is None:
        digest = sha256(path)
        text = json.dumps({**entries, str(path): [*stamp, digest]}, indent=1)
        # without a writable home the file is hashed again next time
        with contextlib.suppress(OSError):
            _memory().parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=_memory().parent, delete=False) as file:
                file.write(text)
            os.replace(file.name, _memory())
    _known[digest] = str(path)
    return digest


def find(digest: str, name: str) -> Path:
    """The file with this sha256, as last seen on this machine. Raises `ValueError` when it is gone
    or changed."""
    candidates = [_known[digest]] if digest in _known else []
    candidates += [path for path, entry in _read().items() if entry[2] == digest]
    for path in candidates:
        if Path(path).is_file() and remember(Path(path)) == digest:
            return Path(path)
    raise ValueError(
        f"the checkpoint of {name} with sha256 {digest[:12]}… is not known on this machine; name "
        f"it once: "
        f"--encoders {name}//path/to/checkpoint.pt"
    )


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def is_torchscript(path: Path) -> bool:
    """Whether this is an archive of a scripted model, as OpenAI published CLIP."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def image_size(path: Path, stride: int | None) -> int | None:
    """Pixels per side that a checkpoint's position embeddings are made for, or None where it has no
    such table."""
    if stride is None or path.suffix in (".npz", ".npy"):
        return None
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            keys = [key for key in file.keys() if "positional" in key]  # noqa: SIM118
            shapes = {key: file.get_slice(key).get_shape() for key in keys}
    else:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        state = state.get("state_dict", state)
        shapes = {key: list(value.shape) for key, value in state.items() if "positional" in key}
    for key, shape in shapes.items():
        if key.endswith(("visual.positional_embedding", "visual.attnpool.positional_embedding")):
            return round((shape[0] - 1) ** 0.5) * stride
    return None
