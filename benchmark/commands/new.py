"""`run_all.py new`: a plugin file that passes `check` as it stands."""

import argparse
import keyword
from collections.abc import Callable
from pathlib import Path

from benchmark import registry
from benchmark.commands.parser import command
from benchmark.commands.suite import Suite
from benchmark.files import ROOT

METHOD = '''"""NAME: say in one sentence what is new, and cite the paper."""

from dataclasses import dataclass

import torch
from torch import Tensor

import benchmark
from benchmark import ABSENT, PRESENT, Clip, Part, Run


@dataclass
class Method(benchmark.Method):
    """Similarity to the mean of the known positives minus the mean of the known negatives."""

    # x is (B, D), unit norm; or "regions" (B, R, D), "pixels" (B, 3, H, W)
    needs = "global"

    # A field is a hyper-parameter: method(text_weight=[0., 1.]) compares two values.
    text_weight: float = 1.0

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Labels are 1 present, 0 absent, -1 unknown: mask the unknown ones."""
        x, y = train.features, torch.from_numpy(train.y).to(run.device)  # (n, D), (n, C)
        positive, negative = (y == PRESENT).float(), (y == ABSENT).float()
        mean_positive = positive.T @ x / positive.sum(0).clamp(min=1)[:, None]  # (C, D)
        mean_negative = negative.T @ x / negative.sum(0).clamp(min=1)[:, None]
        self.direction = mean_positive - mean_negative
        run.log(epoch=0, **{"train/norm": float(self.direction.norm())})

    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """(B, C) logits, larger = present. Rank by logits; never by a saturated sigmoid."""
        text = clip.text([f"a photo of a {name}." for name in classes])  # (C, D)
        return clip.scale * x @ (self.direction + self.text_weight * text).T
'''

SETTING = '''"""NAME: say in one sentence what is asked."""

from dataclasses import dataclass

import numpy as np

import benchmark
from benchmark import PRESENT, UNKNOWN, Labels, Task, View, data, seed_for


@dataclass
class Setting(benchmark.Setting):
    """Single positive labels: of every training image one present class is known, no more."""

    encoder = "RN101/openai@448"  # taken for data sets that are not embedded

    dataset: str = "pictograms"
    val_fraction: float = 0.1  # training images held out; their labels are masked as well

    def build(self, seed: int) -> Task:
        """The same known labels for every method."""
        dataset = data.load(self.dataset)
        rows, test = dataset.splits["train"], dataset.splits["test"]
        rng = np.random.default_rng(seed_for("mask", self.dataset, seed))
        draw = np.where(dataset.y[rows] == PRESENT, rng.random(dataset.y[rows].shape), -1.0)
        known = (draw == draw.max(axis=1, keepdims=True)) & (draw >= 0)
        y = np.where(known, dataset.y[rows], UNKNOWN).astype(np.int8)
        val = rng.random(len(rows)) < self.val_fraction
        everything = np.ones(len(dataset.classes), bool)
        return Task(
            dataset=dataset,
            classes=dataset.classes,
            train=Labels(rows[~val], y[~val]),
            val=Labels(rows[val], y[val]),
            test=Labels(test, dataset.y[test]),
            seen=everything,
            views={"all": View(np.ones(len(test), bool), everything)},
        )
'''

DATASET = '''"""NAME: say in one line what the images show, how many, and where they are from."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmark import PRESENT, Dataset

EMBEDDED = True  # delete this line when the images are files
CLASSES = ("red", "green", "blue")
TRAIN, TEST = 240, 120


def missing(root: Path) -> list[str]:
    """Files that `load` wants and that are not there, relative to `root` (the folder of --data)."""
    # e.g. [path for path in ("NAME/labels.csv", "NAME/images") if not (root / path).exists()]
    return []


def shown(i: int) -> np.ndarray:
    """(C,) bool: what image i shows; drawn here, read from your files there."""
    present = np.random.default_rng(i).random(len(CLASSES)) < 0.4
    present[i % len(CLASSES)] = True
    return present


def open_image(i: int) -> Image.Image:
    """Image i as RGB; for files take benchmark.data._files.ImageFiles(root, names) instead."""
    pixels = np.full((96, 96, 3), 128, np.uint8)
    for c in np.flatnonzero(shown(i)):
        pixels[32 * c : 32 * c + 24, 8:88, c] = 255
    return Image.fromarray(pixels)


def load(root: Path) -> Dataset:
    """The data set: labels (N, C) int8 are 1 present, 0 absent, -1 unknown."""
    n = TRAIN + TEST
    y = np.stack([shown(i) for i in range(n)]).astype(np.int8) * PRESENT
    return Dataset(
        name="NAME",
        classes=CLASSES,  # as a prompt should say them
        raw_classes=CLASSES,  # as the label files spell them
        names=tuple(f"NAME/{i:04d}" for i in range(n)),  # relative paths: the images' identity
        sizes=np.zeros(n, np.int64),  # bytes of each file, so that a changed image is noticed
        y=y,
        splits={"train": np.arange(TRAIN), "test": np.arange(TRAIN, n)},
        open=open_image,
    )
'''


def prepare(arguments: argparse.Namespace, suite: Suite) -> Callable[[], int]:
    path = write(arguments.kind, arguments.name, Path.cwd())
    shown = arguments.name if ROOT in path.parents else path.name

    def say() -> int:
        print(f"Wrote {path}. Edit it, then: {command()} check {shown}")
        return 0

    return say


def write(kind: str, name: str, folder: Path) -> Path:
    """In the suite's own folder methods/NAME.py, settings/NAME.py or benchmark/data/NAME.py, in any
    other NAME.py. Raises `ValueError` for a bad or taken name."""
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise ValueError(
            f"{name!r} cannot be a plugin's name; use letters, digits and underscores, e.g. "
            f"my_idea."
        )
    if name in registry.names(f"{kind}s"):
        raise ValueError(f"The {kind} {name} exists already; choose another name.")
    own = folder / registry.FOLDERS[f"{kind}s"]
    path = (own if folder.resolve() == ROOT else folder) / f"{name}.py"
    if path.exists():
        raise ValueError(f"{path} exists already; choose another name.")
    template = {"method": METHOD, "setting": SETTING, "dataset": DATASET}[kind]
    path.write_text(template.replace("NAME", name))
    return path
