"""MS-COCO 2014: 82,783 training images, 40,504 test images (val2014), 80 classes.

Read from the official instances files. Layout under the data folder, as the official archives
unpack inside `coco`:
    coco/{train2014, val2014}/*.jpg, coco/annotations/instances_{train2014, val2014}.json
For the published sample of test images of the zero-shot split, the files of Zero-shot Instance
Segmentation (ZSI):
    coco/annotations/instances_val2014_{unseen, gzsi}_48_17.json
"""

import functools
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from benchmark.data._files import ImageFiles, check_sizes, check_unique, file_sizes, split_rows
from benchmark.data._parsed import Arrays, kept, packed_texts, texts
from benchmark.task import PRESENT, Dataset

EMBEDDED = False
ANNOTATIONS = Path("coco/annotations")
SPLITS = {"train": "train2014", "test": "val2014"}
SIZES = {"train": 82_783, "test": 40_504}
SAMPLES = {
    "zsl_sample": "instances_val2014_unseen_48_17.json",
    "gzsl_sample": "instances_val2014_gzsi_48_17.json",
}
CLASSES = (  # by ascending category id (1 … 90, with gaps)
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote",
    "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book",
    "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
# The 48/17 split of zero-shot detection (Bansal et al., ECCV 2018) that DualCoOp uses; 15 classes
# are in neither part.
SEEN = (
    "person", "bicycle", "car", "motorcycle", "train", "truck", "boat", "bench", "bird", "horse",
    "sheep", "bear", "zebra", "giraffe", "backpack", "handbag", "suitcase", "frisbee", "skis",
    "kite", "surfboard", "bottle", "fork", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "pizza", "donut", "chair", "bed", "toilet", "tv", "laptop",
    "mouse", "remote", "microwave", "oven", "toaster", "refrigerator", "book", "clock", "vase",
    "toothbrush",
)  # fmt: skip
UNSEEN = (
    "airplane", "bus", "cat", "dog", "cow", "elephant", "umbrella", "tie", "snowboard",
    "skateboard", "cup", "knife", "cake", "couch", "keyboard", "sink", "scissors",
)  # fmt: skip


class Image(msgspec.Struct):
    """An entry of an instances file; fields that are not named here are skipped as it is read."""

    id: int
    file_name: str


class Annotation(msgspec.Struct):
    """One object; its polygon, nine tenths of the file, is skipped."""

    image_id: int
    category_id: int
    id: int = -1
    iscrowd: int = 0


class Category(msgspec.Struct):
    """A class by its number; the numbers have gaps."""

    id: int
    name: str


class InstancesFile(msgspec.Struct):
    """An instances file, 333 MB and 604,907 annotations for train2014."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


class SizedImage(msgspec.Struct):
    """An image with its pixels."""

    id: int
    width: int
    height: int


class SizedAnnotation(msgspec.Struct):
    """One object with the pixels of its outline."""

    image_id: int
    category_id: int
    area: float


class SizesFile(msgspec.Struct):
    """An instances file, read for the sizes of its objects."""

    images: list[SizedImage]
    annotations: list[SizedAnnotation]
    categories: list[Category]


@dataclass(frozen=True)
class Instances:
    """What the suite needs of an instances file, images in the file's order."""

    identifiers: list[int]
    names: list[str]
    y: np.ndarray  # (n, 80) int8
    annotated: np.ndarray  # (n,) bool
    crowds: int


def missing(root: Path) -> list[str]:
    """Files and folders that are not there, relative to `root`."""
    wanted = [ANNOTATIONS / f"instances_{name}.json" for name in SPLITS.values()]
    wanted += [Path("coco", name) for name in SPLITS.values()]
    return [str(path) for path in wanted if not (root / path).exists()]


def load(root: Path, samples: bool = False) -> Dataset:
    """The data set, with all images, annotated or not; crowd annotations count like any other.

    `samples` adds the splits "zsl_sample" and "gzsl_sample": the test images of the published
    zero-shot tables. Raises `ValueError` for an annotation file of the wrong split, unknown
    classes, images listed twice or annotations without an image; `FileNotFoundError` for missing
    images or sample lists."""
    parts = {
        split: read_instances(root / ANNOTATIONS / f"instances_{name}.json", name)
        for split, name in SPLITS.items()
    }
    subset = check_sizes("coco2014", {name: len(part.names) for name, part in parts.items()}, SIZES)
    names = tuple(
        str(Path("coco", SPLITS[split], name))
        for split, part in parts.items()
        for name in part.names
    )
    splits = split_rows(len(parts["train"].names), len(parts["test"].names))
    if samples:
        row_of = {
            identifier: row
            for identifier, row in zip(parts["test"].identifiers, splits["test"], strict=True)
        }
        splits |= {
            split: _sample(root / ANNOTATIONS / file, row_of) for split, file in SAMPLES.items()
        }
    return Dataset(
        name="coco2014",
        classes=CLASSES,
        raw_classes=CLASSES,
        names=names,
        sizes=file_sizes(root, names, "coco2014"),
        y=np.concatenate([part.y for part in parts.values()]),
        splits=splits,
        open=ImageFiles(root, names),
        notes={
            "images without annotations": {
                split: int((~part.annotated).sum()) for split, part in parts.items()
            },
            "crowd annotations, counted": {split: part.crowds for split, part in parts.items()},
            **subset,
        },
    )


def read_instances(path: Path, split: str, all_classes: bool = True) -> Instances:
    """One instances file of the split "train2014" or "val2014", classes joined by name.

    `all_classes` asks for the 80 categories; the zero-shot files hold a part of them."""
    parse = functools.partial(_parse_instances, path, split, all_classes)
    arrays = kept(path.stem, [path], __file__, parse)
    return Instances(
        arrays["identifiers"].tolist(),
        texts(arrays["names"]) if len(arrays["identifiers"]) else [],
        arrays["y"],
        arrays["annotated"],
        int(arrays["crowds"]),
    )


def _parse_instances(path: Path, split: str, all_classes: bool) -> Arrays:
    """What `Instances` holds, as arrays."""
    content = _read_file(path, InstancesFile)
    column = _columns(path, content.categories, all_classes)
    names = [image.file_name for image in content.images]
    wrong = [name for name in names if f"_{split}_" not in name]
    if wrong:
        raise ValueError(
            f"{path} is not of the split {split}, it lists {wrong[0]}; put the official file there"
        )
    check_unique(names, str(path))
    identifiers = [image.id for image in content.images]
    check_unique(identifiers, f"{path} (image ids)")
    row = {identifier: i for i, identifier in enumerate(identifiers)}
    y = np.zeros((len(names), len(CLASSES)), np.int8)
    annotated = np.zeros(len(names), bool)
    for item in content.annotations:
        if item.image_id not in row or item.category_id not in column:
            raise ValueError(
                f"{path}: annotation {item.id} points to image {item.image_id} and category "
                f"{item.category_id}, and the file does not list both; get the official file again"
            )
        i = row[item.image_id]
        y[i, column[item.category_id]] = PRESENT
        annotated[i] = True
    crowds = sum(item.iscrowd for item in content.annotations)
    return {
        "identifiers": np.array(identifiers, np.int64),
        "names": packed_texts(names),
        "y": y,
        "annotated": annotated,
        "crowds": np.array(crowds),
    }


def object_areas(root: Path) -> np.ndarray:
    """(N, 80) float32: the part of each image that the objects of a class cover together, at most
    1; read from the instances files anew, which takes seconds."""
    parts = []
    for name in SPLITS.values():
        path = root / ANNOTATIONS / f"instances_{name}.json"
        content = _read_file(path, SizesFile)
        column = _columns(path, content.categories, True)
        row = {image.id: i for i, image in enumerate(content.images)}
        areas = np.zeros((len(row), len(CLASSES)), np.float32)
        for item in content.annotations:
            i = row[item.image_id]
            pixels = content.images[i].width * content.images[i].height
            areas[i, column[item.category_id]] += item.area / pixels
        parts.append(np.minimum(areas, 1.0))
    return np.concatenate(parts)


File = TypeVar("File", InstancesFile, SizesFile)


def _read_file(path: Path, kind: type[File]) -> File:
    """The file, read from its memory map so that it is never copied."""
    with path.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return msgspec.json.decode(content, type=kind)
        except msgspec.ValidationError as error:
            raise ValueError(f"{path} is not an instances file of COCO: {error}") from error
        except ValueError as error:  # an empty file cannot be mapped
            raise ValueError(
                f"{path} is not valid JSON ({error}); unpack the official archive again"
            ) from error


def _columns(path: Path, categories: list[Category], all_classes: bool) -> dict[int, int]:
    """Category id -> column, joined by name."""
    unknown = [item.name for item in categories if item.name not in CLASSES]
    if unknown:
        raise ValueError(f"{path}: COCO has no class {unknown[0]!r}")
    check_unique([item.name for item in categories], f"{path} (categories)")
    if all_classes and len(categories) != len(CLASSES):
        raise ValueError(
            f"{path} has {len(categories)} categories instead of {len(CLASSES)}: this looks like "
            f"a zero-shot subset; "
            "put the official instances file there"
        )
    return {item.id: CLASSES.index(item.name) for item in categories}


def zero_shot_split(dataset: Dataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Raw names of the seen and of the unseen classes; 15 of the 80 are in neither."""
    return SEEN, UNSEEN


def _sample(path: Path, row_of: dict[int, int]) -> np.ndarray:
    """(n,) rows of the annotated images of a zero-shot file, ascending."""
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: the zero-shot annotation files of ZSI "
            f"(github.com/zhengye1995/Zero-shot-Instance-"
            "Segmentation) hold the published sample; test_images='all' needs only the official "
            "annotations"
        )
    part = read_instances(path, SPLITS["test"], all_classes=False)
    identifiers = [
        identifier
        for identifier, there in zip(part.identifiers, part.annotated, strict=True)
        if there
    ]
    foreign = [identifier for identifier in identifiers if identifier not in row_of]
    if foreign:
        raise ValueError(
            f"{path} lists image {foreign[0]}, which instances_val2014.json does not have"
        )
    return np.sort(np.array([row_of[identifier] for identifier in identifiers], np.int64))
