"""VOC-MLT: 1,142 long-tailed training images (VOC2012), 4,952 test images (VOC2007), 20 classes.

Difficult objects count as present in these lists, in train and test. Layout under the data folder:
    voc_mlt/{voc_labels.txt, voc_lt_train.txt, voc_lt_test.txt, voc_lt_captions.txt (optional)}
    VOCdevkit/{VOC2012, VOC2007}/JPEGImages/*.jpg
"""

from pathlib import Path

from benchmark.data import _lists
from benchmark.data.voc2007 import SPACED
from benchmark.task import Dataset

EMBEDDED = False
CAPTIONS = "voc_mlt/voc_lt_captions.txt"  # optional
SIZES = {"train": 1_142, "test": 4_952}


def missing(root: Path) -> list[str]:
    """Files and folders that are not there, relative to `root`."""
    return _lists.missing(
        root, "voc_mlt", "voc", ("VOCdevkit/VOC2012/JPEGImages", "VOCdevkit/VOC2007/JPEGImages")
    )


def load(root: Path) -> Dataset:
    """The data set. Raises `ValueError` with file and line for lists that contradict themselves."""
    return _lists.load(root, "voc_mlt", "voc", "", ("/VOC2012/", "/VOC2007/"), SPACED, SIZES)
