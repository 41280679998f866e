"""What the data sets on disk share: text lists, image files, and the errors that say what is wrong
with them."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.spec import JsonObject

# What is decoded, whatever a file calls itself: Pillow hands an EPS to another program.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
ALLOW_SUBSET = "LOWLABEL_ALLOW_SUBSET"  # environment variable, set by `--allow-subset`


@dataclass(frozen=True)
class ImageFiles:
    """`Dataset.open` for images on disk: called with i it returns the file `root / names[i]` as
    RGB."""

    root: Path
    names: tuple[str, ...]

    def __call__(self, i: int) -> Image.Image:
        path = self.root / self.names[i]
        try:
            with Image.open(path, formats=FORMATS) as image:
                return image.convert("RGB")
        # Pillow raises SyntaxError for broken PNG chunks; a bomb unpacks to a huge picture
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise OSError(
                f"{path} cannot be decoded ({error}); download or copy this file again"
            ) from error


def file_sizes(root: Path, names: tuple[str, ...], dataset: str) -> np.ndarray:
    """(N,) int64 bytes. Raises `FileNotFoundError` that counts the missing files and names the
    first."""
    sizes = np.full(len(names), -1, np.int64)
    for i, name in enumerate(names):
        try:
            sizes[i] = os.stat(os.path.join(root, name)).st_size  # of a `Path`: thrice as long
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
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 ({error}); get the file again") from error
    rows = [row.rstrip("\r") for row in text.split("\n")]
    while rows and not rows[-1].strip():
        rows.pop()
    return rows


def check_unique(names: Iterable[object], source: str) -> None:
    """Raises `ValueError` that names the first image listed twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"{source}: {len(twice)} images listed twice, first {twice[0]}; get the official file "
            f"again"
        )


def check_sizes(name: str, found: Mapping[str, int], official: Mapping[str, int]) -> JsonObject:
    """A note about a subset, or none. Raises `ValueError` when the lists of a data set are not as
    long as the official ones, unless `--allow-subset` says that this is meant."""
    wrong = [
        f"{found[part]:,} {part} images instead of {official[part]:,}"
        for part in official
        if found[part] != official[part]
    ]
    if not wrong:
        return {}
    if not os.environ.get(ALLOW_SUBSET):
        raise ValueError(
            f"{name}: the lists hold {' and '.join(wrong)}; get the official lists again (python "
            f"run_all.py data {name}), or add --allow-subset if a part is what you mean"
        )
    return {"only a subset of the official lists": wrong}


def split_rows(train: int, test: int) -> dict[str, np.ndarray]:
    """{"train": rows (n,), "test": rows (n,)} when the training images come first."""
    return {
        "train": np.arange(train, dtype=np.int64),
        "test": np.arange(train, train + test, dtype=np.int64),
    }
