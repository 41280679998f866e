"""Unseen classes: learn from images labelled for the seen classes only, then score unseen (ZSL) and
all classes (GZSL).

DualCoOp, Table 3 (COCO 48/17, NUS-WIDE 925/81) and the same shape on the embedded pictograms
(48/17).
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import benchmark
from benchmark import PRESENT, Criterion, Dataset, Labels, Method, Presets, Task, View, data
from settings._masks import held_out, hide, split
from settings._protocol import resolve

# DualCoOp's train_zsl.py: the best F1@3 (--top_k 3), apart for the unseen and for all classes.
OFFICIAL = (
    Criterion("best_unseen_F1", "F1@3", "zsl", ("zsl",)),
    Criterion("best_gzsl_F1", "F1@3", "gzsl", ("gzsl", "seen", "unseen")),
)


@dataclass
class Setting(benchmark.Setting):
    """Views: zsl (test images with an unseen class × unseen classes), gzsl (test images with any of
    the classes × all classes), and the two halves of gzsl, seen and unseen, whose harmonic mean
    tables report.

    A field that makes no difference on the chosen data set is stored as "", and `preset` is the
    name of the preset that the fields amount to: one protocol, one run id. The papers choose the
    epoch on test: `--selection oracle`."""

    encoder = "RN50/openai@224"
    PRESETS: ClassVar[Presets] = {
        "clean": {"train_images": "", "test_images": "all", "val_fraction": 0.1},
        "paper": {"train_images": "", "test_images": "sample", "val_fraction": 0.0},
    }

    dataset: str = "pictograms65"
    # Training images that show an unseen class: "drop" them, or "hide": keep them, their unseen
    # labels hidden. "" is what the tables do: "hide" on NUS-WIDE, where most images show one of the
    # 81 concepts, "drop" elsewhere.
    train_images: str = ""
    # COCO: "all" of val2014, or "sample": the 2,729 / 6,392 images of the published tables
    test_images: str = "all"
    # training images held out to choose epochs and thresholds (seen classes only)
    val_fraction: float = 0.1
    preset: str = ""  # "clean", "paper" or "": the preset that these fields amount to

    def __post_init__(self) -> None:
        usual = "hide" if self.dataset == "nus_wide" else "drop"
        self.train_images = self.train_images or usual
        resolve(self)
        if self.train_images != usual:
            self.preset = ""

    def build(self, seed: int) -> Task:
        """The task of this seed; columns are seen and unseen classes in the order of the data
        set."""
        options = {"samples": True} if self.test_images == "sample" else {}
        dataset = data.load(self.dataset, **options)
        seen_names, unseen_names = seen_and_unseen(self.dataset, dataset)
        seen, unseen = _member(dataset, seen_names), _member(dataset, unseen_names)
        columns = np.flatnonzero(seen | unseen)
        train = dataset.splits["train"]
        labels = dataset.y[train][:, columns]
        masked = hide(labels, np.broadcast_to(seen[columns], labels.shape))
        # Validation images are drawn before images are dropped, so that the variants agree on what
        # they share.
        val = held_out(len(train), self.val_fraction, self.dataset, seed)
        unusable, kept = self._kept(labels, seen[columns])
        train_labels, val_labels = split(train[kept], masked[kept], val[kept])
        test, views = self._test(dataset, columns, unseen[columns])
        notes = {
            **dataset.notes,
            "left out of train": unusable,
            "test images": self.test_images or "all",
        }
        return Task(
            dataset=dataclasses.replace(dataset, notes=notes),
            classes=tuple(dataset.classes[i] for i in columns),
            train=train_labels,
            val=val_labels,
            test=Labels(test, dataset.y[test][:, columns]),
            seen=seen[columns],
            views=views,
            groups={"seen": seen[columns], "unseen": unseen[columns]},
            official=OFFICIAL,
        )

    def _kept(self, labels: np.ndarray, seen: np.ndarray) -> tuple[dict[str, int], np.ndarray]:
        """Counts of what is left out, and (n,) bool: images with a seen class and, when asked, no
        unseen one."""
        without_seen = ~(labels[:, seen] == PRESENT).any(axis=1)
        with_unseen = (labels[:, ~seen] == PRESENT).any(axis=1) & (self.train_images == "drop")
        counts = {
            "no seen class": int(without_seen.sum()),
            "an unseen class": int((with_unseen & ~without_seen).sum()),
        }
        return counts, ~(without_seen | with_unseen)

    def _test(
        self, dataset: Dataset, columns: np.ndarray, unseen: np.ndarray
    ) -> tuple[np.ndarray, dict[str, View]]:
        """Rows (N_test,) of the test images of either view, and the views on them."""
        if self.test_images == "sample":
            zsl_rows, test = dataset.splits["zsl_sample"], dataset.splits["gzsl_sample"]
            test = np.union1d(test, zsl_rows)
            zsl = np.isin(test, zsl_rows)
        else:
            test = dataset.splits["test"]
            test = test[(dataset.y[test][:, columns] == PRESENT).any(axis=1)]
            zsl = (dataset.y[test][:, columns[unseen]] == PRESENT).any(axis=1)
        everything = np.ones(len(test), bool)
        views = {
            "zsl": View(zsl, unseen),
            "gzsl": View(everything, np.ones(len(columns), bool)),
            "seen": View(everything, ~unseen),
            "unseen": View(everything, unseen),
        }
        return test, views

    def skip(self, method: Method) -> str:
        """A method with one output per training class has nothing to say about an unseen one."""
        module = data.module(self.dataset)
        if not hasattr(module, "UNSEEN") and not hasattr(module, "zero_shot_split"):
            return f"no unseen classes: {self.dataset} has no seen/unseen split"
        return (
            ""
            if method.open_vocabulary
            else "closed vocabulary: it cannot score classes that it saw no label for"
        )


def seen_and_unseen(name: str, dataset: Dataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Raw names. The module of a data set says them by `zero_shot_split(dataset)`, or by a constant
    UNSEEN when all other classes are seen."""
    module = data.module(name)
    if hasattr(module, "zero_shot_split"):
        found: tuple[tuple[str, ...], tuple[str, ...]] = module.zero_shot_split(dataset)
        return found
    unseen: tuple[str, ...] = getattr(module, "UNSEEN", ())
    return tuple(raw for raw in dataset.raw_classes if raw not in unseen), unseen


def _member(dataset: Dataset, names: tuple[str, ...]) -> np.ndarray:
    """(C,) bool, True for the classes with these raw names. Raises `ValueError` for a name the data
    set lacks."""
    absent = sorted(set(names) - set(dataset.raw_classes))
    if absent:
        raise ValueError(
            f"the seen/unseen split of {dataset.name} names {absent[0]!r}, which is none of its "
            f"classes"
        )
    return np.isin(dataset.raw_classes, names)


# What a difference between two runs in one of these fields means; {a} and {b} are the two values.
EXPLANATIONS = {
    "dataset": "The images differ: {a} against {b}. Nothing can be compared.",
    "train_images": "Training images that show an unseen class: {a} against {b}. 'drop' removes "
    "them, 'hide' trains on "
    "them with their unseen labels hidden, so the method has seen such objects without their "
    "names.",
    "test_images": "Test images: {a} against {b}. 'sample' are the 2,729 (zsl) and 6,392 (gzsl) "
    "images of the "
    "published tables, 'all' is everything in val2014 that shows one of the classes; the two "
    "cannot be compared.",
    "val_fraction": "The first run held out the fraction {a} of the training images for "
    "validation, the second {b}; a "
    "larger fraction leaves fewer images to learn from, and without any nothing can be chosen on "
    "val.",
    "preset": "The protocols are {a} and {b}: the fields that make the difference are listed "
    "beside this line.",
}
