"""PASCAL VOC2007: 5,011 training images (trainval), 4,952 test images, 20 classes.

Read from the official XML annotations. Layout under the data folder, as the two official archives
unpack:
    VOCdevkit/VOC2007/{Annotations/*.xml, ImageSets/Main/{trainval,test}.txt, JPEGImages/*.jpg}
"""

import xml.etree.ElementTree as ElementTree
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
from benchmark.task import ABSENT, PRESENT, UNKNOWN, Dataset

EMBEDDED = False
FOLDER = Path("VOCdevkit/VOC2007")
RAW_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
SPACED = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}
CLASSES = tuple(SPACED.get(name, name) for name in RAW_CLASSES)
DIFFICULT = {"absent": ABSENT, "ignore": UNKNOWN, "present": PRESENT}
SPLITS = {"train": "trainval", "test": "test"}
SIZES = {"train": 5_011, "test": 4_952}


def missing(root: Path) -> list[str]:
    """Files and folders that are not there, relative to `root`."""
    wanted = [FOLDER / "ImageSets/Main" / f"{name}.txt" for name in SPLITS.values()]
    wanted += [FOLDER / "Annotations", FOLDER / "JPEGImages"]
    return [str(path) for path in wanted if not (root / path).exists()]


def load(root: Path, difficult: str = "absent") -> Dataset:
    """The data set; `difficult` is what a class counts as when all its objects in an image are
    marked difficult: "absent" (DualCoOp and most tables), "ignore" (UNKNOWN, as the official VOC
    evaluation), "present" (VOC-MLT).

    Raises `ValueError` for a broken XML file, an unknown class or an image listed twice."""
    if difficult not in DIFFICULT:
        raise ValueError(f"difficult={difficult!r} is not one of {', '.join(map(repr, DIFFICULT))}")
    identifiers, counts = [], {}
    for split, name in SPLITS.items():
        listed = [
            line.split()[0]
            for line in lines(root / FOLDER / "ImageSets/Main" / f"{name}.txt")
            if line.strip()
        ]
        identifiers += listed
        counts[split] = len(listed)
    check_unique(identifiers, "VOC2007 ImageSets/Main")
    subset = check_sizes("voc2007", counts, SIZES)
    y = np.full((len(identifiers), len(RAW_CLASSES)), ABSENT, np.int8)
    cells = np.zeros(
        len(identifiers), np.int64
    )  # per image, classes that rest on difficult objects alone
    for i, identifier in enumerate(identifiers):
        certain, hard = _objects(root / FOLDER / "Annotations" / f"{identifier}.xml")
        y[i, sorted(hard - certain)] = DIFFICULT[difficult]
        y[i, sorted(certain)] = PRESENT
        cells[i] = len(hard - certain)
    names = tuple(str(FOLDER / "JPEGImages" / f"{identifier}.jpg") for identifier in identifiers)
    splits = split_rows(counts["train"], counts["test"])
    return Dataset(
        name="voc2007",
        classes=CLASSES,
        raw_classes=RAW_CLASSES,
        names=names,
        sizes=file_sizes(root, names, "voc2007"),
        y=y,
        splits=splits,
        open=ImageFiles(root, names),
        notes={
            f"labels that rest on difficult objects alone ({difficult})": _per_split(cells, splits),
            **subset,
        },
    )


def _objects(path: Path) -> tuple[set[int], set[int]]:
    """Class indices of the ordinary and of the difficult objects of one annotation file."""
    try:
        tree = ElementTree.parse(path)
    except ElementTree.ParseError as error:
        raise ValueError(
            f"{path} is not valid XML ({error}); unpack the official archive again"
        ) from error
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path} is missing (see: python run_all.py data voc2007)"
        ) from error
    certain: set[int] = set()
    hard: set[int] = set()
    for item in tree.iter("object"):
        name = (item.findtext("name") or "").strip()
        if name not in RAW_CLASSES:
            raise ValueError(
                f"{path}: VOC2007 has no class {name!r}; it has {', '.join(RAW_CLASSES)}"
            )
        difficult = (item.findtext("difficult") or "0").strip()
        if difficult not in ("0", "1"):
            raise ValueError(f"{path}: difficult is {difficult!r}, neither 0 nor 1")
        (hard if difficult == "1" else certain).add(RAW_CLASSES.index(name))
    return certain, hard


def _per_split(values: np.ndarray, splits: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: int(values[rows].sum()) for name, rows in splits.items()}
