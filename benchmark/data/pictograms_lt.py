"""Pictograms with a long-tailed training set: six head, six medium and eight tail classes; a
balanced test set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.data import pictograms
from benchmark.data.pictograms import EMBEDDED, missing
from benchmark.task import Dataset

__all__ = ["EMBEDDED", "load", "missing", "object_areas"]


def load(root: Path) -> Dataset:
    """720 training and 1,000 test scenes; `root` is not used."""
    return pictograms.load(root, "pictograms_lt")


def object_areas(root: Path) -> np.ndarray:
    """(N, C) float32, as of `pictograms`."""
    return pictograms.object_areas(root, "pictograms_lt")
