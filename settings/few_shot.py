"""Few shots: K training images of every class are labelled, the others are not used."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import benchmark
from benchmark import PRESENT, UNKNOWN, Labels, Presets, Task, View, data, seed_for
from settings._masks import fixed_per_class, hide, shots
from settings._protocol import class_names, resolve


@dataclass
class Setting(benchmark.Setting):
    """Scores on fully labelled test images after learning from `shots` images of each class.

    Images are drawn class by class, the rarest first, no image twice, every class in turn, so fewer
    shots are the beginning of more. `labels` "all": an image carries all its labels, as in LaSO
    (Alfassy et al. 2019), so a class may be present in more than K images; "single": only the class
    it was drawn for is known, as in the few-shot lists of Tip-Adapter-SA, whose own draws also
    prefer simple images by a rule that was not published; "cells": K present and K absent labels of
    each class in any images, all else unknown, as FPC of Ben-Baruch et al. (2022). `val_shots`
    further images of each class, labelled alike and the same for every K, are held out; the papers
    choose on test instead."""

    encoder = "RN101/openai@448"
    PRESETS: ClassVar[Presets] = {
        "clean": {"labels": "all", "val_shots": 4, "class_names": "prompt"},
        "paper": {"labels": "single", "val_shots": 0, "class_names": "raw"},
    }

    dataset: str = "pictograms"
    shots: int = 16  # training images of each class; the papers take 1, 2, 4, 8, 16
    labels: str = "all"  # of a drawn image, or "single": the class it was drawn for; "cells"
    val_shots: int = 4  # held-out images of each class, on top of the training images
    class_names: str = "prompt"  # VOC names in prompts: "dining table", or "raw": "diningtable"
    preset: str = ""  # "clean", "paper" or "": the preset that these fields amount to

    def __post_init__(self) -> None:
        resolve(self)
        if self.shots < 1 or self.val_shots < 0:
            raise ValueError(
                f"shots={self.shots} and val_shots={self.val_shots} count images of a class; "
                f"write e.g. shots=4, val_shots=0"
            )

    def build(self, seed: int) -> Task:
        """The task of this seed; raises `ValueError` when a class has too few images."""
        dataset = data.load(self.dataset)
        train, test = dataset.splits["train"], dataset.splits["test"]
        full = dataset.y[train]
        number = seed_for("few shot", self.dataset, seed)
        rounds, drawn_for = shots(full, self.val_shots + self.shots, number)
        val, chosen = (rounds >= 0) & (rounds < self.val_shots), rounds >= self.val_shots
        y = full
        if self.labels == "single":
            own = np.arange(full.shape[1]) == drawn_for[:, None]
            y = np.where(own, PRESENT, UNKNOWN).astype(np.int8)
        elif self.labels == "cells":
            known = np.zeros(full.shape, bool)
            known[val] = fixed_per_class(full[val], self.val_shots, number)
            known[~val] = fixed_per_class(full[~val], self.shots, number)
            y, chosen = hide(full, known), ~val & known.any(axis=1)
        everything = np.ones(len(dataset.classes), bool)
        notes = {**dataset.notes, "labelled images": int(chosen.sum()), "held out": int(val.sum())}
        return Task(
            dataset=dataclasses.replace(dataset, notes=notes),
            classes=class_names(self.class_names, dataset),
            train=Labels(train[chosen], y[chosen]),
            val=Labels(train[val], y[val]),
            test=Labels(test, dataset.y[test]),
            seen=everything,
            views={"all": View(np.ones(len(test), bool), everything)},
        )


# What a difference between two runs in one of these fields means; {a} and {b} are the two values.
EXPLANATIONS = {
    "dataset": "The images differ: {a} against {b}. Nothing can be compared.",
    "shots": "The first run learned from {a} images of each class, the second from {b}.",
    "labels": "Labels of a drawn image: {a} against {b}. With 'single' only the class it was drawn "
    "for is known, with 'all' every class; 'cells' are so many present and absent labels of each "
    "class, in any images.",
    "val_shots": "The first run held out {a} labelled images of each class for validation, the "
    "second {b}.",
    "class_names": "Class names in the prompts: {a} against {b}, e.g. 'dining table' (prompt) or "
    "'diningtable' (raw).",
    "preset": "The protocols are {a} and {b}: the fields that make the difference are listed "
    "beside this line.",
}
