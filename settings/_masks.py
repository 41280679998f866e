"""Which labels a method may see: masks over (image, class) cells and held-out validation images.

None of these depends on the method, and the nested mask does not depend on the ratio, so every
method pays for the same labels and 10 % of the labels are a subset of 20 %.
"""

import numpy as np

from benchmark.task import UNKNOWN, Labels, seed_for


def nested_mask(n: int, classes: int, known: float, dataset: str, seed: int) -> np.ndarray:
    """(n, C) bool, True where the label is known: one uniform draw per cell, the same draw for
    every ratio `known`."""
    uniform = np.random.default_rng(seed_for("mask", dataset, seed)).random((n, classes))
    return uniform < known


def community_mask(n: int, classes: int, known: float) -> np.ndarray:
    """(n, C) bool: the mask of the published tables (SST, SARB, HST, PositiveCoOp), NumPy's legacy
    generator, seed 0.

    Rows must be in the order of the training list of the data set (VOC's trainval.txt, COCO's
    `images`)."""
    return np.random.RandomState(0).random_sample((n, classes)) < known


def known_mask(
    kind: str, n: int, classes: int, known: float, dataset: str, seed: int
) -> np.ndarray:
    """(n, C) bool of the kind "nested" or "community"; every label is known when `known` is 1."""
    if kind == "community":
        return community_mask(n, classes, known)
    return nested_mask(n, classes, known, dataset, seed)


def hide(y: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(n, C) int8 with UNKNOWN where `known` (n, C) bool is False."""
    return np.where(known, y, UNKNOWN).astype(np.int8)


def held_out(n: int, fraction: float, dataset: str, seed: int) -> np.ndarray:
    """(n,) bool, True for a random `fraction` of the images, held out for validation; at least one
    unless it is 0."""
    chosen = np.zeros(n, dtype=bool)
    if fraction > 0:
        size = max(1, round(fraction * n))
        chosen[np.random.default_rng(seed_for("val", dataset, seed)).permutation(n)[:size]] = True
    return chosen


def split(rows: np.ndarray, y: np.ndarray, val: np.ndarray) -> tuple[Labels, Labels]:
    """Training and validation labels from rows (n,), masked y (n, C) and val (n,) bool."""
    return Labels(rows[~val], y[~val]), Labels(rows[val], y[val])
