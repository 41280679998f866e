"""Your own images: a folder with a CSV file that says the part and the labels of each image.

`folder(path=photos, labels=labels.csv)` reads `photos/labels.csv` below the data folder (`--data`).
The file starts with a line of column names: `image` (a path within the folder), `split` ("train" or
"test"), and either one column a class, with 1 present, 0 absent and nothing for unknown, or one
column `labels` with the names of the present classes between semicolons.
"""

import csv
from pathlib import Path

import numpy as np

from benchmark.data._files import ImageFiles, check_unique, file_sizes
from benchmark.task import ABSENT, PRESENT, UNKNOWN, Dataset

EMBEDDED = False
STATES = {"1": PRESENT, "0": ABSENT, "": UNKNOWN, "-1": UNKNOWN}
SPLITS = ("train", "test")


def missing(root: Path, path: str = "", labels: str = "labels.csv") -> list[str]:
    """What is not there, relative to `root`."""
    if not path:
        return ["a folder to read: folder(path=FOLDER, labels=labels.csv)"]
    wanted = Path(path, labels)
    return [] if (root / wanted).is_file() else [str(wanted)]


def load(root: Path, path: str = "", labels: str = "labels.csv") -> Dataset:
    """The data set. Raises `ValueError` with file and line for a table that cannot be read,
    `FileNotFoundError` for images that are not there."""
    table = root / path / labels
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = [(name or "").strip() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        for wanted in ("image", "split"):
            if wanted not in columns:
                raise ValueError(
                    f"{table} has no column {wanted!r}; its first line should read "
                    f"image,split,CLASS,CLASS… or image,split,labels"
                )
        rows = list(enumerate(reader, 2))
    for line, row in rows:
        if None in row or None in row.values():
            raise ValueError(f"{table}:{line} has not {len(columns)} columns as the first line has")
        if row["split"] not in SPLITS:
            raise ValueError(f"{table}:{line}: split {row['split']!r} is neither train nor test")
    images = [row["image"].strip() for _, row in rows]
    check_unique(images, str(table))
    classes = [name for name in columns if name not in ("image", "split")]
    read = _listed if classes == ["labels"] else _by_column
    classes, y = read(table, rows, classes)
    parts = np.array([row["split"] for _, row in rows])
    names = tuple(str(Path(path, name)) for name in images)
    return Dataset(
        name="folder",
        classes=tuple(classes),
        raw_classes=tuple(classes),
        names=names,
        sizes=file_sizes(root, names, str(table)),
        y=y,
        splits={part: np.flatnonzero(parts == part) for part in SPLITS},
        open=ImageFiles(root, names),
        notes={"labels": f"{path}/{labels}"},
    )


def _by_column(
    table: Path, rows: list[tuple[int, dict[str, str]]], classes: list[str]
) -> tuple[list[str], np.ndarray]:
    """Classes and labels (n, C) int8 of a table with a column a class."""
    y = np.full((len(rows), len(classes)), UNKNOWN, np.int8)
    for i, (line, row) in enumerate(rows):
        for c, name in enumerate(classes):
            value = row[name].strip()
            if value not in STATES:
                raise ValueError(
                    f"{table}:{line}: {name} is {value!r}; write 1, 0, or nothing for unknown"
                )
            y[i, c] = STATES[value]
    return classes, y


def _listed(
    table: Path, rows: list[tuple[int, dict[str, str]]], _: list[str]
) -> tuple[list[str], np.ndarray]:
    """The same of a table that lists the present classes; every other class is absent."""
    present = [[n.strip() for n in row["labels"].split(";") if n.strip()] for _, row in rows]
    classes = sorted({name for names in present for name in names})
    if not classes:
        raise ValueError(f"{table}: no image has a label; write class names between semicolons")
    y = np.full((len(rows), len(classes)), ABSENT, np.int8)
    for i, names in enumerate(present):
        y[i, [classes.index(name) for name in names]] = PRESENT
    return classes, y
