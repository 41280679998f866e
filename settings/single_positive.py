"""Single positive labels: of every training image one present class is known and nothing else (Cole
et al. 2021, and the line of SPLC, which is another protocol)."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import benchmark
from benchmark import ABSENT, UNKNOWN, Labels, Presets, Task, View, data, seed_for
from settings._masks import annotated, cole_labels, cole_order, cole_split, held_out, one_positive
from settings._protocol import class_names, resolve

SEED = 1200  # of NumPy's legacy generator in the files of Cole et al.
APART = (
    "single positive by the protocol {!r}: the protocols of Cole et al. and of SPLC draw other "
    "labels (on VOC2012 they agree on 78 % of the images), count other test labels and keep other "
    "images for validation, so they never share a table"
)


@dataclass
class Setting(benchmark.Setting):
    """Scores on fully labelled test images after learning from one known label an image; images
    without any present class take no part.

    `protocol` "cole": rows in the order of their files, labels drawn by NumPy's legacy generator
    with seed 1200 (`draw` "published", whatever the run's seed) or anew for every seed ("seeded").
    "splc": one of the present classes of each image, uniformly; its authors' draws exist only in
    their files, so `draw` does not apply, and on VOC difficult objects count as present, in test
    too. The presets "cole" and "splc" are the papers' protocols whole, the first with a fifth of
    the training images held out and fully labelled, the second without a validation part.

    Unlisted labels are UNKNOWN, because the files do not tell absent from unlisted; `unlisted`
    "absent" hands them to every method as known absences, wrong ones among them. `val_labels`
    "clean" gives the validation part all its labels, as the papers do: that is no single-positive
    budget. "observed" leaves one label an image, and nothing can be chosen by mAP on those."""

    encoder = "RN101/openai@448"
    PRESETS: ClassVar[Presets] = {
        "clean": {
            "draw": "seeded",
            "unlisted": "unknown",
            "val_fraction": 0.1,
            "val_labels": "observed",
            "class_names": "prompt",
        },
        "cole": {
            "protocol": "cole",
            "draw": "published",
            "unlisted": "unknown",
            "val_fraction": 0.2,
            "val_labels": "clean",
            "class_names": "raw",
        },
        "splc": {
            "protocol": "splc",
            "draw": "",
            "unlisted": "unknown",
            "val_fraction": 0.0,
            "val_labels": "",
            "class_names": "raw",
        },
    }

    dataset: str = "pictograms"
    protocol: str = "cole"  # or "splc"; numbers of the two cannot be compared
    draw: str = "seeded"  # "published": the labels of the papers' files, for every seed
    unlisted: str = "unknown"  # what a method is told about every other label, or "absent"
    val_fraction: float = 0.1  # training images held out
    val_labels: str = "observed"  # one label an image, or "clean": all of them
    class_names: str = "prompt"  # VOC names in prompts: "dining table", or "raw": "diningtable"
    preset: str = ""  # "clean", "cole", "splc" or "": the preset that these fields amount to

    def __post_init__(self) -> None:
        apart = self.protocol == "splc"
        self.draw = "seeded" if apart else self.draw
        resolve(self)
        self.draw = "" if apart else self.draw
        self.val_labels = self.val_labels if self.val_fraction else ""

    def build(self, seed: int) -> Task:
        """The task of this seed; the same known labels for every method."""
        difficult = self.dataset in ("voc2007", "voc2012") and self.protocol == "splc"
        dataset = data.load(self.dataset, **({"difficult": "present"} if difficult else {}))
        train, test = dataset.splits["train"], dataset.splits["test"]
        train = cole_order(dataset, train) if self.protocol == "cole" else train
        train, test = (rows[annotated(dataset, rows)] for rows in (train, test))
        full = dataset.y[train]
        observed, val = self._draw(full, seed)
        if self.unlisted == "absent":
            observed = np.where(observed == UNKNOWN, ABSENT, observed).astype(np.int8)
        val_y = (full if self.val_labels == "clean" else observed)[val]
        everything = np.ones(len(dataset.classes), bool)
        notes = {**dataset.notes, "protocol": APART.format(self.protocol)}
        return Task(
            dataset=dataclasses.replace(dataset, notes=notes),
            classes=class_names(self.class_names, dataset),
            train=Labels(train[~val], observed[~val]),
            val=Labels(train[val], val_y),
            test=Labels(test, dataset.y[test]),
            seen=everything,
            views={"all": View(np.ones(len(test), bool), everything)},
        )

    def _draw(self, full: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Observed labels (n, C) int8 and validation images (n,) bool."""
        if self.draw == "published":
            val = cole_split(len(full), self.val_fraction, SEED)
            return cole_labels(full, SEED), val
        draw = cole_labels if self.protocol == "cole" else one_positive
        own = seed_for("single positive", self.protocol, self.dataset, seed)
        return draw(full, own), held_out(len(full), self.val_fraction, self.dataset, seed)


# What a difference between two runs in one of these fields means; {a} and {b} are the two values.
EXPLANATIONS = {
    "dataset": "The images differ: {a} against {b}. Nothing can be compared.",
    "protocol": "Single positive labels by the protocol of {a} against that of {b}: other known "
    "labels, other validation images and, on VOC, other test labels. The two cannot be compared.",
    "draw": "Known labels: {a} against {b}. 'published' are those of Cole et al. for every seed, "
    "'seeded' are drawn anew for every seed.",
    "unlisted": "Every label but the one known is {a} in the first and {b} in the second run; "
    "'absent' includes wrong absences.",
    "val_fraction": "The first run held out the fraction {a} of the training images for "
    "validation, the second {b}.",
    "val_labels": "Labels of the validation images: {a} against {b}. With 'clean' the run may use "
    "all labels of these images, which is more than one an image.",
    "class_names": "Class names in the prompts: {a} against {b}, e.g. 'dining table' (prompt) or "
    "'diningtable' (raw).",
    "preset": "The protocols are {a} and {b}: the fields that make the difference are listed "
    "beside this line.",
}
