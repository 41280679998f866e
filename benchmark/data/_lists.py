"""The text lists of VOC-MLT and COCO-MLT: class names, "path id id …" label lists, captions.

The pickles that accompany them are redundant and never read: head, medium and tail follow from the
counts.
"""

import re
from pathlib import Path

import numpy as np

from benchmark.data._files import (
    ImageFiles,
    check_sizes,
    check_unique,
    file_sizes,
    lines,
    split_rows,
)
from benchmark.task import PRESENT, Dataset

_LINE = re.compile(r"(?P<path>.+?\.(?:jpg|jpeg|png))(?P<labels>(?:\s+\d+)*)\s*", re.IGNORECASE)


def read_classes(path: Path) -> tuple[str, ...]:
    """Class names from lines "name id" (names may hold spaces), in the order of their ids 0 …
    C-1."""
    names = {}
    for number, line in enumerate(lines(path), 1):
        name, _, identifier = line.strip().rpartition(" ")
        if not name or not identifier.isdigit() or int(identifier) in names:
            raise ValueError(
                f"{path}, line {number}: {line!r} is not 'name id' with an id of its own"
            )
        names[int(identifier)] = name.strip()
    if sorted(names) != list(range(len(names))):
        raise ValueError(f"{path}: the ids are not 0 to {len(names) - 1}")
    return tuple(names[i] for i in range(len(names)))


Listed = tuple[tuple[int, ...], ...]


def read_labels(path: Path, classes: int) -> tuple[tuple[str, ...], np.ndarray, Listed]:
    """Image paths (n,), labels (n, C) int8, and the ids of each image in the order of its line,
    from lines "path id id …"; a line with a path alone has no label."""
    names, rows = [], []
    for number, line in enumerate(lines(path), 1):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"{path}, line {number}: {line!r} is not 'image.jpg id id …'")
        labels = [int(label) for label in match["labels"].split()]
        if labels and max(labels) >= classes:
            raise ValueError(
                f"{path}, line {number}: label {max(labels)}, but the classes are 0 to "
                f"{classes - 1}"
            )
        names.append(match["path"])
        rows.append(labels)
    check_unique(names, str(path))
    y = np.zeros((len(names), classes), np.int8)
    for i, labels in enumerate(rows):
        y[i, labels] = PRESENT
    return tuple(names), y, tuple(tuple(dict.fromkeys(labels)) for labels in rows)


def require_split(path: Path, names: tuple[str, ...], folder: str) -> None:
    """Raises `ValueError` when a list names images outside the folder of its split: it is the list
    of another split."""
    wrong = [name for name in names if folder not in name]
    if wrong:
        raise ValueError(
            f"{path} is of the wrong split: {wrong[0]} is not in {folder}; put the official list "
            f"there"
        )


def read_captions(path: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """(n,) captions from lines "path caption", which must name the images of the training list in
    its order."""
    rows = [line.partition(" ") for line in lines(path)]
    if tuple(row[0] for row in rows) != names:
        raise ValueError(
            f"{path} does not list the training images in the order of the label list; get it again"
        )
    return tuple(row[2].strip() for row in rows)


def load(
    root: Path,
    name: str,
    prefix: str,
    images: str,
    folders: tuple[str, str],
    spaced: dict[str, str],
    sizes: dict[str, int],
) -> Dataset:
    """The data set `name` from `root/name/prefix_*.txt`, with images under `root/images`.

    `folders` are parts of the paths of all training and of all test images, `spaced` maps raw to
    prompt-ready names, `sizes` are the official lengths of the lists. Raises `ValueError` with file
    and line for lists that contradict themselves,
    `FileNotFoundError` without images."""
    folder = root / name
    train_file, test_file = folder / f"{prefix}_lt_train.txt", folder / f"{prefix}_lt_test.txt"
    raw_classes = read_classes(folder / f"{prefix}_labels.txt")
    train_names, train_y, train_listed = read_labels(train_file, len(raw_classes))
    test_names, test_y, test_listed = read_labels(test_file, len(raw_classes))
    require_split(train_file, train_names, folders[0])
    require_split(test_file, test_names, folders[1])
    counts = {"train": len(train_names), "test": len(test_names)}
    subset = check_sizes(name, counts, sizes)
    caption_file = folder / f"{prefix}_lt_captions.txt"
    captions = None
    if caption_file.exists():  # only wanted by methods that read captions
        captions = read_captions(caption_file, train_names) + ("",) * len(test_names)
    names = tuple(str(Path(images, path)) for path in train_names + test_names)
    splits = split_rows(len(train_names), len(test_names))
    y = np.concatenate([train_y, test_y])
    return Dataset(
        name=name,
        classes=tuple(spaced.get(raw, raw) for raw in raw_classes),
        raw_classes=raw_classes,
        names=names,
        sizes=file_sizes(root, names, name),
        y=y,
        splits=splits,
        open=ImageFiles(root, names),
        captions=captions,
        listed=train_listed + test_listed,
        notes={
            "images without a label": {
                part: int((y[rows].sum(1) == 0).sum()) for part, rows in splits.items()
            },
            **subset,
        },
    )


def missing(root: Path, name: str, prefix: str, folders: tuple[str, ...]) -> list[str]:
    """Wanted lists and image folders that are not there, relative to `root`."""
    wanted = [f"{name}/{prefix}_{part}.txt" for part in ("labels", "lt_train", "lt_test")]
    return [path for path in (*wanted, *folders) if not (root / path).exists()]
