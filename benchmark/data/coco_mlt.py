"""COCO-MLT: 1,909 long-tailed training images (train2017), 5,000 test images (val2017), 80 classes.

48 test images have no label. Layout under the data folder:
    coco_mlt/{coco_labels.txt, coco_lt_train.txt, coco_lt_test.txt, coco_lt_captions.txt (optional)}
    coco/{train2017, val2017}/*.jpg
"""

from pathlib import Path

from benchmark.data import _lists
from benchmark.task import Dataset

EMBEDDED = False
CAPTIONS = "coco_mlt/coco_lt_captions.txt"  # optional
SIZES = {"train": 1_909, "test": 5_000}


def missing(root: Path) -> list[str]:
    """Files and folders that are not there, relative to `root`."""
    return _lists.missing(root, "coco_mlt", "coco", ("coco/train2017", "coco/val2017"))


def load(root: Path) -> Dataset:
    """The data set. Raises `ValueError` with file and line for lists that contradict themselves."""
    return _lists.load(root, "coco_mlt", "coco", "coco", ("train2017/", "val2017/"), {}, SIZES)
