"""Weights files: digests and path, remembered per machine, so that a file is read for them once and
found again by what it holds."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

from benchmark.clip import checkpoint
from benchmark.files import write_atomically

Entry = dict[str, str | list[int]]  # "stamp" [bytes, modification time in ns], "file", "content"

# paths that the invocation of a sweep hands to its workers, joined as in PATH
CHECKPOINTS = "LOWLABEL_CHECKPOINTS"
_known: dict[str, str] = {}  # sha256 of a content -> path, of this process


def _memory() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return cache / "lowlabel" / "weights.json"


def _read() -> dict[str, Entry]:
    try:
        entries = json.loads(_memory().read_text())
    except (OSError, json.JSONDecodeError):
        return {}
    return {path: entry for path, entry in entries.items() if isinstance(entry, dict)}


def content_sha256(path: Path) -> str:
    """The digest of the numbers in a checkpoint (`checkpoint.content_sha256`), taken again only
    when the file's size or modification time changed. Raises `ValueError` for an unreadable one."""
    digest = _remembered(path, "content")
    _known[digest] = str(Path(path).resolve())
    return digest


def file_sha256(path: Path) -> str:
    """The sha256 of the bytes of a file, remembered in the same way."""
    return _remembered(path, "file")


def _remembered(path: Path, kind: str) -> str:
    path = Path(path).resolve()
    state = path.stat()
    stamp = [state.st_size, state.st_mtime_ns]
    entry = _read().get(str(path), {})
    known = entry.get(kind) if entry.get("stamp") == stamp else None
    if isinstance(known, str):
        return known
    as_bytes = kind == "file" or path.suffix in checkpoint.BIG_VISION
    digest = sha256(path) if as_bytes else checkpoint.content_sha256(path)
    kept = entry if entry.get("stamp") == stamp else {}
    entries = {**_read(), str(path): {**kept, "stamp": stamp, kind: digest}}
    with contextlib.suppress(OSError):  # without a writable home it is taken again next time
        _memory().parent.mkdir(parents=True, exist_ok=True)
        write_atomically(_memory(), json.dumps(entries, indent=1).encode())
    return digest


def find(digest: str, name: str) -> Path:
    """A file with this content, as last seen on this machine. Raises `ValueError` when it is gone
    or changed."""
    candidates = [_known[digest]] if digest in _known else []
    # of the sweep, on a worker whose home is another
    candidates += filter(None, os.environ.get(CHECKPOINTS, "").split(os.pathsep))
    candidates += [path for path, entry in _read().items() if entry.get("content") == digest]
    for path in candidates:
        if Path(path).is_file() and content_sha256(Path(path)) == digest:
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
