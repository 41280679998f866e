"""NUS-WIDE: 161,789 training and 107,859 test images, 1,006 classes (925 tags, 81 concepts).

1,000 user tags (noisy) and 81 concepts (checked by people); the classes are the sorted union of
both name lists, 75
names are in both. The 81 concepts take their labels from the ground truth and are the unseen
classes; the other 925
take theirs from the tags. Layout under the data folder, names as in the official distribution
(lms.comp.nus.edu.sg):
    nus_wide/Flickr/<tag>/<number>_<id>.jpg
    nus_wide/ImageList/{TrainImagelist.txt, TestImagelist.txt}          lines
    "actor\\0001_2124494179.jpg"
    nus_wide/ConceptsList/Concepts81.txt
    nus_wide/NUS_WID_Tags/{TagList1k.txt, Train_Tags1k.dat, Test_Tags1k.dat}    n lines of 1,000
    zeros and ones
    nus_wide/Groundtruth/TrainTestLabels/Labels_<concept>_{Train, Test}.txt     n lines of a zero or
    a one
"""

import os
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
from benchmark.data._parsed import Arrays, kept
from benchmark.task import Dataset

EMBEDDED = False
FOLDER = Path("nus_wide")
CONCEPTS = FOLDER / "ConceptsList/Concepts81.txt"
TAGS = FOLDER / "NUS_WID_Tags/TagList1k.txt"
PARTS = {"train": "Train", "test": "Test"}
SIZES = {"train": 161_789, "test": 107_859}  # listed; images that are gone are left out later
ZERO = ord("0")
BLOCK = 1 << 22  # bytes read at once


def missing(root: Path) -> list[str]:
    """Files and folders that are not there, relative to `root`."""
    wanted = [CONCEPTS, TAGS, FOLDER / "Flickr", FOLDER / "Groundtruth/TrainTestLabels"]
    for part in PARTS.values():
        wanted += [
            FOLDER / f"ImageList/{part}Imagelist.txt",
            FOLDER / f"NUS_WID_Tags/{part}_Tags1k.dat",
        ]
    return [str(path) for path in wanted if not (root / path).exists()]


def load(root: Path, missing_images: str = "drop") -> Dataset:
    """The data set. Many of the Flickr images can no longer be had: `missing_images="drop"` leaves
    them out of train and test and counts them in the notes, "error" raises `FileNotFoundError`, as
    does a part without any image.

    Raises `ValueError` for matrices that do not fit the lists."""
    concepts = tuple(line.strip() for line in lines(root / CONCEPTS))
    tags = tuple(line.strip() for line in lines(root / TAGS))
    check_unique(concepts, str(CONCEPTS))
    check_unique(tags, str(TAGS))
    classes = tuple(sorted({*concepts, *tags}))
    names, labels, notes, counts = [], [], {}, {}
    for split, part in PARTS.items():
        listed = [
            line.strip().replace("\\", "/")
            for line in lines(root / FOLDER / f"ImageList/{part}Imagelist.txt")
        ]
        counts[split] = len(listed)
        y = _labels(root, part, len(listed), classes, concepts, tags)
        there = np.ones(len(listed), bool)
        if missing_images == "drop":
            images = os.path.join(root, FOLDER, "Flickr")  # a `Path` takes three times as long
            there = np.array([os.path.exists(os.path.join(images, n)) for n in listed], bool)
        if not there.any():
            raise FileNotFoundError(
                f"{root / FOLDER / 'Flickr'} has none of the images of {part}Imagelist.txt"
            )
        names.append([name for name, kept in zip(listed, there, strict=True) if kept])
        labels.append(y[there])
        notes[split] = int((~there).sum())
    files = tuple(str(FOLDER / "Flickr" / name) for part in names for name in part)
    check_unique(files, "NUS-WIDE image lists")
    subset = check_sizes("nus_wide", counts, SIZES)
    return Dataset(
        name="nus_wide",
        classes=tuple(name.replace("_", " ") for name in classes),
        raw_classes=classes,
        names=files,
        sizes=file_sizes(root, files, "nus_wide"),
        y=np.concatenate(labels),
        splits=split_rows(len(names[0]), len(names[1])),
        open=ImageFiles(root, files),
        notes={
            "listed images that are not on disk, left out": notes,
            "classes": f"{len(classes) - len(concepts)} tags (noisy) and {len(concepts)} concepts "
            f"(checked)",
            **subset,
        },
    )


def zero_shot_split(dataset: Dataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Raw names of the seen classes (925 tags) and of the unseen ones (81 concepts)."""
    assert isinstance(dataset.open, ImageFiles)
    unseen = tuple(sorted(line.strip() for line in lines(dataset.open.root / CONCEPTS)))
    return tuple(name for name in dataset.raw_classes if name not in set(unseen)), unseen


def _labels(
    root: Path,
    part: str,
    n: int,
    classes: tuple[str, ...],
    concepts: tuple[str, ...],
    tags: tuple[str, ...],
) -> np.ndarray:
    """(n, C) int8 of one part: tags where there is no ground truth, the ground truth of the
    concepts elsewhere."""
    of_tags = root / FOLDER / f"NUS_WID_Tags/{part}_Tags1k.dat"
    truth = root / FOLDER / "Groundtruth/TrainTestLabels"
    of_concepts = {concept: truth / f"Labels_{concept}_{part}.txt" for concept in concepts}
    for concept, path in of_concepts.items():
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing: it holds the labels of {concept!r} (run_all.py data nus_wide)"
            )
    column = {name: i for i, name in enumerate(classes)}

    def parse() -> Arrays:
        y = np.zeros((n, len(classes)), np.int8)
        y[:, [column[tag] for tag in tags]] = _matrix(of_tags, n, len(tags))
        for concept, path in of_concepts.items():
            y[:, column[concept]] = _matrix(path, n, 1)[:, 0]
        return {"bits": np.packbits(y, axis=1), "shape": np.array(y.shape)}  # zeros and ones

    lists = [root / TAGS, root / CONCEPTS, root / FOLDER / f"ImageList/{part}Imagelist.txt"]
    arrays = kept(f"nus_wide-{part}", [*lists, of_tags, *of_concepts.values()], __file__, parse)
    bits, columns = arrays["bits"], int(arrays["shape"][1])
    return np.unpackbits(bits, axis=1, count=columns).view(np.int8)


def _matrix(path: Path, n: int, columns: int) -> np.ndarray:
    """(n, columns) int8 from a text file of zeros and ones, by its bytes, in blocks: the tag
    file has 160 million entries."""
    found, cells = 0, np.empty(n * columns, np.int8)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            text = np.frombuffer(block, np.uint8)
            digits = text[text > ord(" ")] - ZERO
            if digits.size and (digits.max() > 1 or found + digits.size > cells.size):
                found = -1
                break
            cells[found : found + digits.size] = digits
            found += digits.size
    if found != cells.size:
        raise ValueError(
            f"{path} should hold {n} lines of {columns} zeros or ones, as many lines as the image "
            f"list"
        )
    return cells.reshape(n, columns)
