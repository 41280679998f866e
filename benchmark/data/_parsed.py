"""Parsed label files, kept so that not every process of a sweep parses them: COCO's hold 500 MB of
JSON, NUS-WIDE's 550 MB of text.

What is kept belongs to files of one size, inode and time of change, and to the code that parses
them; anything else, and whatever cannot be read, is parsed again.
"""

import contextlib
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmark.files import write_atomically
from benchmark.sources import as_loaded, digest, import_closure

Arrays = dict[str, np.ndarray]

_folder: Path | None = None


def keep_in(folder: Path) -> None:
    """From now on this process keeps what it parses in this folder, and finds there what others
    have parsed."""
    global _folder
    _folder = folder


def kept(name: str, files: Sequence[Path], parser: str, parse: Callable[[], Arrays]) -> Arrays:
    """What `parse` makes of these files, from the folder of `keep_in` where it lies there; `name`
    tells it from other parts of a data set, `parser` is the source file of `parse`."""
    if _folder is None:
        return parse()
    path = _folder / f"{name}-{_key(files, Path(parser))}.npz"
    if (found := _read(path)) is not None:
        return found
    arrays = parse()
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # none is `allow_pickle`
    with contextlib.suppress(OSError):  # a full disk: then the next process parses as well
        _folder.mkdir(parents=True, exist_ok=True)
        for old in _folder.glob(f"{name}-*.npz"):
            old.unlink(missing_ok=True)
        write_atomically(path, buffer.getvalue())
    return arrays


def _read(path: Path) -> Arrays | None:
    """What lies there, None for nothing and for whatever is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def _key(files: Sequence[Path], parser: Path) -> str:
    states = [(path.name, path.stat()) for path in files]
    stamps = [[name, s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns] for name, s in states]
    code = digest(import_closure([parser], as_loaded), as_loaded)
    return hashlib.sha256(json.dumps([stamps, code]).encode()).hexdigest()[:16]


def packed_texts(texts: Sequence[str]) -> np.ndarray:
    """Texts without line ends as one array of bytes."""
    assert not any("\n" in text for text in texts)
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def texts(packed: np.ndarray) -> list[str]:
    """The inverse of `packed_texts`, for at least one text."""
    return packed.tobytes().decode().split("\n")
