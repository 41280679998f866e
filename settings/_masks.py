"""Which labels a method may see: masks over (image, class) cells and held-out validation images.

None of these depends on the method, and the nested mask does not depend on the ratio, so every
method pays for the same labels and 10 % of the labels are a subset of 20 %.
"""

from pathlib import Path

import numpy as np

from benchmark import ABSENT, PRESENT, UNKNOWN, Dataset, Labels, seed_for


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


def skewed_mask(y: np.ndarray, known: float, dataset: str, seed: int) -> np.ndarray:
    """(n, C) bool, not at random: a class is known in proportion to how often it is present in y
    (n, C), at most always, and the classes together in the fraction `known`.

    Frequent classes are the ones that annotators look for. Nested over `known`, and drawn from the
    numbers of `nested_mask`."""
    uniform = np.random.default_rng(seed_for("mask", dataset, seed)).random(y.shape)
    return uniform < known_by_frequency((y == PRESENT).mean(axis=0), known)


def sized_mask(
    y: np.ndarray, areas: np.ndarray, known: float, dataset: str, seed: int
) -> np.ndarray:
    """(n, C) bool, not at random: a present class is known in proportion to the part `areas` (n, C)
    of the image that it covers, at most always, all of them together in the fraction `known`; an
    absent one at random in the same fraction.

    Small objects are the ones that annotators miss. Nested over `known`, and drawn from the numbers
    of `nested_mask`."""
    uniform = np.random.default_rng(seed_for("mask", dataset, seed)).random(y.shape)
    rates = np.full(y.shape, known)
    present = y == PRESENT
    rates[present] = known_by_frequency(areas[present].astype(np.float64), known)
    return uniform < rates


def labelled_images(n: int, known: float, seed: int = 1) -> np.ndarray:
    """(n,) bool: the first int(known · n) images of a permutation carry all their labels, the
    others none (semi-supervised; CAP, Xie et al. 2023, draws with seed 1)."""
    chosen = np.zeros(n, dtype=bool)
    chosen[np.random.RandomState(seed).permutation(n)[: int(known * n)]] = True
    return chosen


def fixed_per_class(y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(n, C) bool: of every class `count` present and `count` absent cells of y (n, C) are known,
    or all that there are (FPC of Ben-Baruch et al. 2022, drawn as the official code draws)."""
    random, known = np.random.RandomState(seed), np.zeros(y.shape, dtype=bool)
    for c in range(y.shape[1]):
        for value in (PRESENT, ABSENT):
            rows = np.flatnonzero(y[:, c] == value)
            known[random.choice(rows, min(count, len(rows)), replace=False), c] = True
    return known


def random_per_sample(n: int, classes: int, dropped: float, seed: int) -> np.ndarray:
    """(n, C) bool, False where a uniform draw is below `dropped` (RPS of Ben-Baruch et al. 2022: a
    fraction of the labels is dropped, not kept)."""
    return np.random.RandomState(seed).random_sample((n, classes)) >= dropped


def known_by_frequency(frequency: np.ndarray, known: float) -> np.ndarray:
    """(C,) rates min(1, s · frequency) with s such that their mean is `known`."""
    if known >= 1 or not frequency.any():
        return np.full(len(frequency), known)
    order = np.argsort(-frequency)
    rates = np.empty(len(frequency))
    left, remaining = known * len(frequency), frequency.sum()
    for place, c in enumerate(order):  # the most frequent ones reach 1 first
        open_classes = len(frequency) - place
        share = frequency[c] / remaining if remaining > 0 else 1 / open_classes
        rates[c] = min(1.0, left * share)
        left, remaining = left - rates[c], remaining - frequency[c]
    return rates


def known_mask(kind: str, y: np.ndarray, known: float, dataset: str, seed: int) -> np.ndarray:
    """(n, C) bool of the kind "nested", "community", "skewed", "images" or "cap" for labels y (n,
    C); every label is known when `known` is 1."""
    if kind == "community":
        return community_mask(len(y), y.shape[1], known)
    if kind in ("images", "cap"):
        number = 1 if kind == "cap" else seed_for("mask", dataset, seed)
        return np.broadcast_to(labelled_images(len(y), known, number)[:, None], y.shape)
    if kind == "skewed":
        return skewed_mask(y, known, dataset, seed)
    return nested_mask(len(y), y.shape[1], known, dataset, seed)


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


def annotated(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """(n,) bool, True for the images `rows` (n,) that show at least one class."""
    shown: np.ndarray = (dataset.y[rows] == PRESENT).any(axis=1)
    return shown


def cole_order(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Rows (n,) in the order in which Cole et al. draw: by file name, on COCO by the image's number
    written without leading zeros and sorted as text."""
    names = [Path(dataset.names[row]).stem for row in rows]
    if dataset.name == "coco2014":
        names = [str(int(name.rpartition("_")[2])) for name in names]
    return rows[np.argsort(names, kind="stable")]


def cole_labels(
    y: np.ndarray, seed: int, positives: int | None = 1, negatives: int | None = 0
) -> np.ndarray:
    """Observed labels (n, C) int8 of full labels (n, C): of every image the first `positives`
    present and `negatives` absent classes of a shuffled order, None meaning all (Cole et al. 2021,
    official script).

    Both orders are shuffled even where none is kept, because that moves the generator."""
    random = np.random.RandomState(seed)
    observed = np.full(y.shape, UNKNOWN, np.int8)
    for i, labels in enumerate(y):
        for value, count in ((PRESENT, positives), (ABSENT, negatives)):
            columns = np.flatnonzero(labels == value)
            random.shuffle(columns)
            observed[i, columns[:count]] = value
    return observed


def cole_split(n: int, fraction: float, seed: int) -> np.ndarray:
    """(n,) bool, True for the validation images of Cole et al.: the last round(fraction · n) of a
    permutation."""
    chosen = np.zeros(n, dtype=bool)
    order = np.random.RandomState(seed).permutation(n)
    chosen[order[n - round(fraction * n) :]] = True
    return chosen


def one_positive(y: np.ndarray, seed: int) -> np.ndarray:
    """Observed labels (n, C) int8: of every image one of its present classes, uniformly, all else
    UNKNOWN."""
    draw = np.where(y == PRESENT, np.random.default_rng(seed).random(y.shape), -1.0)
    chosen = (draw == draw.max(axis=1, keepdims=True)) & (draw >= 0)
    return np.where(chosen, PRESENT, UNKNOWN).astype(np.int8)


def shots(y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(n,) the round 0 … count - 1 in which an image is drawn, -1 for the others, and (n,) the
    class it is drawn for: every round takes one further image of each class that shows it in y (n,
    C), the rarest class first, no image twice; so fewer shots are the beginning of more.

    Raises `ValueError` when a class has no image left."""
    random = np.random.default_rng(seed)
    present = y == PRESENT
    queues = [random.permutation(np.flatnonzero(column)) for column in present.T]
    rounds, classes = np.full(len(y), -1), np.full(len(y), -1)
    for number in range(count):
        for c in np.argsort(present.sum(axis=0), kind="stable"):
            free = queues[c][rounds[queues[c]] < 0]
            if not len(free):
                raise ValueError(
                    f"class {c} shows in {present[:, c].sum()} training images, too few for "
                    f"{count} images of every class: ask for fewer shots"
                )
            rounds[free[0]], classes[free[0]] = number, c
    return np.stack([rounds, classes])


def split(rows: np.ndarray, y: np.ndarray, val: np.ndarray) -> tuple[Labels, Labels]:
    """Training and validation labels from rows (n,), masked y (n, C) and val (n,) bool."""
    return Labels(rows[~val], y[~val]), Labels(rows[val], y[val])
