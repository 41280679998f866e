"""Partial labels: of every (training image, class) cell only a random fraction is known (DualCoOp,
Table 1 and 2)."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import benchmark
from benchmark import Labels, Method, Presets, Task, View, data
from settings._masks import annotated, held_out, hide, known_mask, sized_mask, split
from settings._protocol import class_names, resolve


@dataclass
class Setting(benchmark.Setting):
    """Scores on fully labelled test images after learning from a fraction `known` of the training
    labels; any data set.

    A field that makes no difference on the chosen data set is stored as "", and `preset` is the
    name of the preset that the fields amount to: one protocol, one run id. The papers choose the
    epoch on test: `--selection oracle`."""

    encoder = "RN101/openai@448"
    PRESETS: ClassVar[Presets] = {
        "clean": {
            "mask": "nested",
            "difficult": "absent",
            "empty_images": "keep",
            "val_fraction": 0.1,
            "class_names": "prompt",
        },
        "paper": {
            "mask": "community",
            "difficult": "absent",
            "empty_images": "drop",
            "val_fraction": 0.0,
            "class_names": "raw",
        },
    }

    dataset: str = "pictograms"
    known: float = 0.5  # fraction of the training labels that is known, in (0, 1]
    # "nested": drawn per seed, 10 % within 20 %; "community": NumPy's RandomState(0), any seed;
    # "skewed" and "sized": not at random, frequent classes or large objects are known more often;
    # "images": whole images are labelled, the others not at all; "cap": those that CAP labels
    mask: str = "nested"
    # VOC objects marked difficult: "absent" (DualCoOp), "ignore" (VOC), "present" (VOC-MLT)
    difficult: str = "absent"
    # COCO images without annotations: "keep", or "drop" as DualCoOp, in train and test
    empty_images: str = "keep"
    # training images held out to choose epochs and thresholds, their labels masked as well
    val_fraction: float = 0.1
    # VOC names in prompts: "prompt" ("dining table") or "raw" ("diningtable")
    class_names: str = "prompt"
    preset: str = ""  # "clean", "paper" or "": the preset that these fields amount to

    def __post_init__(self) -> None:
        resolve(self)

    def build(self, seed: int) -> Task:
        """The task of this seed; masks and validation images do not depend on `known` or on the
        method."""
        options = {"difficult": self.difficult} if self.difficult else {}
        dataset = data.load(self.dataset, **options)
        train, test = dataset.splits["train"], dataset.splits["test"]
        # Masks and validation images are drawn before images are dropped: both variants agree on
        # the images they share.
        full = dataset.y[train]
        if self.mask == "sized":
            areas = data.object_areas(self.dataset)[train]
            known = sized_mask(full, areas, self.known, self.dataset, seed)
        else:
            known = known_mask(self.mask, full, self.known, self.dataset, seed)
        masked = hide(full, known)
        val = held_out(len(train), self.val_fraction, self.dataset, seed)
        if self.empty_images == "drop":
            kept, test = annotated(dataset, train), test[annotated(dataset, test)]
            dropped = {"train": int((~kept).sum()), "test": len(dataset.splits["test"]) - len(test)}
            notes = {**dataset.notes, "dropped images without annotations": dropped}
            dataset = dataclasses.replace(dataset, notes=notes)
            train, masked, val = train[kept], masked[kept], val[kept]
        train_labels, val_labels = split(train, masked, val)
        everything = View(np.ones(len(test), bool), np.ones(len(dataset.classes), bool))
        return Task(
            dataset=dataset,
            classes=class_names(self.class_names, dataset),
            train=train_labels,
            val=val_labels,
            test=Labels(test, dataset.y[test]),
            seen=np.ones(len(dataset.classes), bool),
            views={"all": everything},
        )

    def skip(self, method: Method) -> str:
        """Where nobody knows how large the objects are, they cannot be known by their size."""
        if self.mask == "sized" and not data.knows_areas(self.dataset):
            return f"mask by size: {self.dataset} does not say how large its objects are"
        return ""


# What a difference between two runs in one of these fields means; {a} and {b} are the two values.
EXPLANATIONS = {
    "dataset": "The images differ: {a} against {b}. Nothing can be compared.",
    "known": "The first run knew the fraction {a} of the training labels, the second {b}.",
    "mask": "Different labels were known: mask {a} against {b}. A nested mask is drawn anew for "
    "every seed, the community mask is NumPy's RandomState(0) for every seed, as in the published "
    "tables, and with a skewed mask the labels of frequent classes are known more often, with a "
    "sized one those of large objects. With 'images' and 'cap' whole images are labelled, drawn by "
    "the seed or as in CAP.",
    "difficult": "VOC objects marked difficult count as {a} in the first and {b} in the second "
    "run. This changes test "
    "labels too (619 of 7,632 image labels of the VOC2007 test images rest on difficult objects "
    "alone).",
    "empty_images": "COCO images without annotations: {a} against {b}, in train and test (40,504 "
    "or 40,137 test images "
    "by the literature), so AP is over different images.",
    "val_fraction": "The first run held out the fraction {a} of the training images for "
    "validation, the second {b}; a "
    "larger fraction leaves fewer images to learn from, and without any nothing can be chosen on "
    "val.",
    "class_names": "Class names in the prompts: {a} against {b}, e.g. 'dining table' (prompt) or "
    "'diningtable' (raw).",
    "preset": "The protocols are {a} and {b}: the fields that make the difference are listed "
    "beside this line.",
}
