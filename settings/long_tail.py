"""Long-tailed training data: few images, most positives in a few classes (VOC-MLT, COCO-MLT;
LM-CLIP's tables)."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import benchmark
from benchmark import PRESENT, Criterion, Labels, Presets, Task, View, data, seed_for
from settings._masks import hide, known_mask, split
from settings._protocol import class_names, resolve

HEAD, MEDIUM = 100, 20  # training positives: head ≥ 100, medium 20 … 99, tail < 20


@dataclass
class Setting(benchmark.Setting):
    """Views: all, the classes of head, medium and tail, and the test images with a single or with
    several labels.

    Groups follow from the positives of the *whole* official training list, whatever is held out or
    hidden. These data sets have no validation split; `val_fraction` holds training images out
    without taking the last positive of a class. A field that makes no difference on the chosen data
    set is stored as "", and `preset` is the name of the preset that the fields amount to: one
    protocol, one run id. The papers choose the epoch on test: `--selection oracle`."""

    encoder = "ViT-B-16/openai@224"
    PRESETS: ClassVar[Presets] = {
        "clean": {"val_fraction": 0.1, "class_names": "prompt", "statistics": "own"},
        "paper": {"val_fraction": 0.0, "class_names": "raw", "statistics": "imagenet"},
    }

    dataset: str = "pictograms_lt"
    # of the training images, at most; 0 leaves nothing to choose on but the last epoch
    val_fraction: float = 0.1
    # VOC names in prompts: "prompt" ("dining table") or "raw" ("diningtable")
    class_names: str = "prompt"
    # of the pixels: the encoder's "own", or "imagenet" for every encoder, as LM-CLIP and LMPT
    statistics: str = "own"
    # fraction of the training labels that is known, nested masks as in `partial`
    known: float = 1.0
    preset: str = ""  # "clean", "paper" or "": the preset that these fields amount to

    def __post_init__(self) -> None:
        resolve(self)

    def build(self, seed: int) -> Task:
        """The task of this seed."""
        dataset = data.load(self.dataset)
        train, test = dataset.splits["train"], dataset.splits["test"]
        y, test_y = dataset.y[train], dataset.y[test]
        masked = hide(y, known_mask("nested", y, self.known, self.dataset, seed))
        val = held_out_sparing(masked, self.val_fraction, self.dataset, seed)
        train_labels, val_labels = split(train, masked, val)
        groups = frequency_groups((y == PRESENT).sum(axis=0))
        counts = (test_y == PRESENT).sum(axis=1)
        rows, columns = np.ones(len(test), bool), np.ones(y.shape[1], bool)
        views = {"all": View(rows, columns)}
        views |= {name: View(rows, group) for name, group in groups.items() if group.any()}
        sizes = {"single": counts == 1, "multi": counts > 1}
        views |= {name: View(chosen, columns) for name, chosen in sizes.items() if chosen.any()}
        notes = {**dataset.notes, "images held out for validation": int(val.sum())}
        return Task(
            dataset=dataclasses.replace(dataset, notes=notes),
            classes=class_names(self.class_names, dataset),
            train=train_labels,
            val=val_labels,
            test=Labels(test, test_y),
            seen=columns,
            views=views,
            groups=groups,
            official=_official(views),
        )


def _official(views: dict[str, View]) -> tuple[Criterion, ...]:
    """LM-CLIP's train.py: the softmax over all classes; its tail column is from an epoch of its
    own (best_valid_mAP.pt, best_valid_mAP_tail.pt)."""
    found = [Criterion("best_valid_mAP", "mAP_softmax_all", "all")]
    if "tail" in views:
        found.append(Criterion("best_valid_mAP_tail", "mAP_softmax_all", "tail", ("tail",)))
    return tuple(found)


def frequency_groups(positives: np.ndarray) -> dict[str, np.ndarray]:
    """(C,) bool each, from the training positives (C,): the thresholds of Wu et al., ECCV 2020."""
    return {
        "head": positives >= HEAD,
        "medium": (positives >= MEDIUM) & (positives < HEAD),
        "tail": positives < MEDIUM,
    }


def held_out_sparing(y: np.ndarray, fraction: float, dataset: str, seed: int) -> np.ndarray:
    """(n,) bool: a random `fraction` of the images for validation, from their known labels y (n,
    C), passing over an image that would leave one of its classes with fewer than half of its
    positives, so at least one stays in train."""
    chosen = np.zeros(len(y), dtype=bool)
    positive = y == PRESENT
    spare = positive.sum(axis=0) // 2  # (C,) how many positives each class may still give away
    wanted = round(fraction * len(y))
    for i in np.random.default_rng(seed_for("val", dataset, seed)).permutation(len(y)):
        if chosen.sum() == wanted:
            break
        if (spare[positive[i]] > 0).all():
            chosen[i] = True
            spare[positive[i]] -= 1
    return chosen


# What a difference between two runs in one of these fields means; {a} and {b} are the two values.
EXPLANATIONS = {
    "dataset": "The images differ: {a} against {b}. Nothing can be compared.",
    "val_fraction": "The first run held out the fraction {a} of the training images for "
    "validation, the second {b}; "
    "the papers train on all of them and choose on test.",
    "class_names": "Class names in the prompts: {a} against {b}, e.g. 'dining table' (prompt) or "
    "'diningtable' (raw).",
    "known": "The first run knew the fraction {a} of the training labels, the second {b}.",
    "statistics": "Pixels were normalised with the mean and deviation {a} in the first, {b} in the "
    "second run; 'own' is what the encoder was trained with.",
    "preset": "The protocols are {a} and {b}: the fields that make the difference are listed "
    "beside this line.",
}
