"""Pictograms with all 65 classes, for the zero-shot setting: 48 seen and 17 unseen, the shape of
COCO's split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.data import pictograms
from benchmark.data.pictograms import EMBEDDED, missing
from benchmark.task import Dataset

__all__ = ["EMBEDDED", "UNSEEN", "load", "missing", "object_areas"]
UNSEEN: tuple[str, ...] = pictograms.UNSEEN_17


def load(root: Path) -> Dataset:
    """2,500 training and 1,000 test scenes; `root` is not used."""
    return pictograms.load(root, "pictograms65")


def object_areas(root: Path) -> np.ndarray:
    """(N, C) float32, as of `pictograms`."""
    return pictograms.object_areas(root, "pictograms65")
