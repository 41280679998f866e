"""What the data sets on disk share: text lists, image files, and the errors that say what is wrong
with them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class ImageFiles:
    """`Dataset.open` for images on disk: called with i it returns the file `root / names[i]` as
    RGB."""

    root: Path
    names: tuple[str, ...]

    def __call__(self, i: int) -> Image.Image:
        path = self.root / self.names[i]
        try:
            with Image.open(path) as image:
                return image.convert("RGB")
        except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for broken PNG chunks
            raise OSError(
                f"{path} cannot be decoded ({error}); download or copy this file again"
            ) from error


def file_sizes(root: Path, names: tuple[str, ...], dataset: str) -> np.ndarray:
    """(N,) int64 bytes. Raises `FileNotFoundError` that counts the missing files and names the
    first."""
    sizes = np.full(len(names), -1, np.int64)
    for i, name in enumerate(names):
        try:
            sizes[i] = (root / name).stat().st_size
        except FileNotFoundError:
            continue
    absent = np.flatnonzero(sizes < 0)
    if len(absent):
        raise FileNotFoundError(
            f"{dataset}: {len(absent)} of {len(names)} images are missing under {root}, first "
            f"{names[absent[0]]} "
            f"(see: python run_all.py data {dataset})"
        )
    return sizes


def lines(path: Path) -> list[str]:
    """The lines of a text file without line ends (CRLF too) and without empty lines at its end."""
    text = path.read_text(encoding="utf-8-sig")
    rows = [row.rstrip("\r") for row in text.split("\n")]
    while rows and not rows[-1].strip():
        rows.pop()
    return rows


def check_unique(names: tuple[str, ...] | list, source: str) -> None:
    """Raises `ValueError` that names the first image listed twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"{source}: {len(twice)} images listed twice, first {twice[0]}; get the official file "
            f"again"
        )


def split_rows(train: int, test: int) -> dict[str, np.ndarray]:
    """{"train": rows (n,), "test": rows (n,)} when the training images come first."""
    return {
        "train": np.arange(train, dtype=np.int64),
        "test": np.arange(train, train + test, dtype=np.int64),
    }
