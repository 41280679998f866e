"""While a method learns and predicts, its process opens no file that holds test labels: the truth
that earlier runs left in `tasks/`, the label files that were parsed, and whatever below the data
folder is no picture.

A method is handed no way to a hidden label (`reach`) and may not import what has one
(`staleness.require_blind`); this closes the way over the disk. It is a fence and no wall: native
code goes around it.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

LABELS = ("tasks", "features/labels")  # folders of a result folder


class Closed(NamedTuple):
    """Folders, as the system calls them: `data` is open for pictures, `out` but for its labels."""

    labels: tuple[str, ...]
    out: str
    data: str


_closed: Closed | None = None  # while a method is at work


@contextlib.contextmanager
def blindfold(out: Path, data: str) -> Iterator[None]:
    """Closes the labels of a result folder and of a data folder ("" for none). What tries to open
    them raises `PermissionError`."""
    global _closed
    _watch()
    before = _closed
    labels = tuple(_folder(out / name) for name in LABELS)
    _closed = Closed(labels, _folder(out), _folder(Path(data)) if data else "")
    try:
        yield
    finally:
        _closed = before


def _folder(path: Path) -> str:
    return os.path.realpath(path) + os.sep


@functools.cache
def _watch() -> None:
    """Once a process: an audit hook cannot be taken away, also not by a method."""
    sys.addaudithook(_look)


def _look(event: str, arguments: tuple[object, ...]) -> None:
    closed = _closed  # asked for once: another thread may open a file while the method ends
    if closed is None or event != "open" or not isinstance(arguments[0], str | bytes):
        return
    path = os.path.realpath(os.fsdecode(arguments[0]))
    kept = path.startswith(closed.labels)
    of_data = closed.data and path.startswith(closed.data) and not path.startswith(closed.out)
    if kept or (of_data and not path.lower().endswith(PICTURES)):
        raise PermissionError(
            f"{path} may hold test labels: a method learns from what `fit` is handed"
        )
