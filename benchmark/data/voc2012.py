"""PASCAL VOC2012: 5,717 training images (train), 5,823 test images (val), 20 classes, as papers on
single positive labels use it; the official test labels are not public.

Read from the official class lists. Layout under the data folder, as the official archive unpacks:
    VOCdevkit/VOC2012/{ImageSets/Main/<class>_{train,val}.txt, JPEGImages/*.jpg}
"""

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
from benchmark.data.voc2007 import CLASSES, DIFFICULT, RAW_CLASSES
from benchmark.task import ABSENT, PRESENT, Dataset

EMBEDDED = False
FOLDER = Path("VOCdevkit/VOC2012")
SPLITS = {"train": "train", "test": "val"}
SIZES = {"train": 5_717, "test": 5_823}


def missing(root: Path) -> list[str]:
    """Files and folders that are not there, relative to `root`."""
    wanted = [
        FOLDER / "ImageSets/Main" / f"{name}_{part}.txt"
        for name in RAW_CLASSES
        for part in SPLITS.values()
    ]
    return [str(path) for path in (*wanted, FOLDER / "JPEGImages") if not (root / path).exists()]


def load(root: Path, difficult: str = "absent") -> Dataset:
    """The data set, images sorted by name; `difficult` as in `voc2007`: what a class counts as when
    all its objects in an image are marked difficult.

    Raises `ValueError` for a list that contradicts another one or holds another flag than -1, 0 and
    1."""
    if difficult not in DIFFICULT:
        raise ValueError(f"difficult={difficult!r} is not one of {', '.join(map(repr, DIFFICULT))}")
    values = np.array([ABSENT, DIFFICULT[difficult], PRESENT], np.int8)  # of the flags -1, 0, 1
    identifiers: list[str] = []
    labels, counts = [], {}
    for split, part in SPLITS.items():
        names, flags = read_flags(root, part)
        identifiers += names
        counts[split] = len(names)
        labels.append(values[flags + 1])
    check_unique(identifiers, "VOC2012 ImageSets/Main")
    subset = check_sizes("voc2012", counts, SIZES)
    names_of_files = tuple(str(FOLDER / "JPEGImages" / f"{name}.jpg") for name in identifiers)
    return Dataset(
        name="voc2012",
        classes=CLASSES,
        raw_classes=RAW_CLASSES,
        names=names_of_files,
        sizes=file_sizes(root, names_of_files, "voc2012"),
        y=np.concatenate(labels),
        splits=split_rows(counts["train"], counts["test"]),
        open=ImageFiles(root, names_of_files),
        notes=subset,
    )


def read_flags(root: Path, part: str) -> tuple[list[str], np.ndarray]:
    """Names sorted, and flags (n, 20) in {-1, 0, 1}, from the 20 lists of "train" or "val"."""
    columns = []
    for name in RAW_CLASSES:
        path = root / FOLDER / "ImageSets/Main" / f"{name}_{part}.txt"
        rows = [line.split() for line in lines(path)]
        for number, row in enumerate(rows, 1):
            if len(row) != 2 or row[1] not in ("-1", "0", "1"):
                raise ValueError(
                    f"{path}:{number} should read NAME and -1, 0 or 1; unpack the official archive "
                    f"again"
                )
        columns.append({row[0]: int(row[1]) for row in rows})
        if columns[-1].keys() != columns[0].keys() or len(rows) != len(columns[-1]):
            raise ValueError(
                f"{path} lists other images than the list of {RAW_CLASSES[0]}, or one twice; "
                f"unpack the official archive again"
            )
    names = sorted(columns[0])
    return names, np.array([[column[name] for column in columns] for name in names])
