"""Digits: scenes composed of real handwriting, the 1,797 scans that ship with scikit-learn; ten
classes."""

from __future__ import annotations

from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.data import _scenes
from benchmark.task import Dataset

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
EMBEDDED = True
TRAIN, TEST = 1_500, 800
# scans before this number are used in training scenes only, the others in test scenes only
TRAIN_SCANS = 1_200
SIDE, LENGTHS, ANGLES = 96, (22, 26, 30), (-16, -8, 0, 8, 16)
# part of the image names: raise it when scenes change, so that old feature banks are not used
VERSION = 1


def missing(root: Path) -> list[str]:
    """Nothing is ever missing: scikit-learn brings the scans."""
    return []


@cache
def _scans() -> tuple[np.ndarray, np.ndarray]:
    """Scans (1797, 8, 8) in 0..16 and their digits (1797,)."""
    from sklearn.datasets import load_digits  # here: a plan names data sets and reads none

    bunch = load_digits()
    return bunch.images, bunch.target


@cache
def scans_of(digit: int, train: bool) -> np.ndarray:
    """Numbers of the scans that show a digit and belong to the training or to the test scenes."""
    numbers = np.flatnonzero(_scans()[1] == digit)
    return np.asarray(numbers[(numbers < TRAIN_SCANS) == train])


@lru_cache(maxsize=2_000)
def large_scan(number: int) -> Image.Image:
    """One scan, smoothly enlarged and cut to what is written (PIL image of mode L)."""
    scan = Image.fromarray((_scans()[0][number] * (255 / 16)).astype(np.uint8))
    large = scan.resize((_scenes.MASTER, _scenes.MASTER), Image.Resampling.BICUBIC)
    return large.crop(large.getbbox())


@lru_cache(maxsize=50_000)
def scan_mask(number: int, length: int, angle: int) -> np.ndarray:
    """The mask (h, w) uint8 of one scan, reduced to `length` pixels and turned."""
    return _scenes.turned_mask(large_scan(number), length, angle, "plain")


def content(index: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Digits (n,) of a scene, the scans (n,) that show them, and the generator that goes on to draw
    them."""
    random = _scenes.scene_generator("digits", index)
    digits = random.permutation(10)[: 1 + int(random.random() * 4)]
    options = [scans_of(int(digit), index < TRAIN) for digit in digits]
    return (
        digits,
        np.array([numbers[int(random.random() * len(numbers))] for numbers in options]),
        random,
    )


def objects(index: int) -> tuple[list[_scenes.Thing], np.random.Generator]:
    """What a scene shows, and the generator that goes on to draw it."""
    digits, scans, random = content(index)
    things = []
    for digit, scan in zip(digits, scans, strict=True):
        length, angle = LENGTHS[int(random.random() * 3)], ANGLES[int(random.random() * 5)]
        things.append(_scenes.Thing(int(digit), scan_mask(int(scan), length, angle)))
    return things, random


def object_areas(root: Path) -> np.ndarray:
    """(N, C) float32: the part of each scene that a digit covers; `root` is not used."""
    areas = np.zeros((TRAIN + TEST, len(CLASSES)), np.float32)
    for index in range(len(areas)):
        for thing in objects(index)[0]:
            areas[index, thing.label] += _scenes.share(thing.mask, SIDE)
    return areas


def picture(index: int) -> Image.Image:
    """Scene `index` as an RGB image."""
    things, random = objects(index)
    look = _scenes.Look(
        dark=random.random() < 0.5,
        contrast=0.5 + 0.3 * random.random(),
        saturation=random.random(),
        texture=_scenes.TEXTURES[int(random.random() * len(_scenes.TEXTURES))],
        texture_strength=0.5 * random.random(),
        scribbles=int(random.random() * 5),
    )
    pixels, _ = _scenes.draw_scene(random, things, look, SIDE)
    return Image.fromarray(pixels.transpose(1, 2, 0))


def load(root: Path) -> Dataset:
    """1,500 training and 800 test scenes of handwritten digits; `root` is not used."""
    y = np.zeros((TRAIN + TEST, len(CLASSES)), np.int8)
    for index in range(len(y)):
        y[index, content(index)[0]] = 1
    return Dataset(
        name="digits",
        classes=CLASSES,
        raw_classes=CLASSES,
        names=tuple(f"digits-{VERSION}/{index:05d}" for index in range(len(y))),
        sizes=np.zeros(len(y), np.int64),
        y=y,
        splits={"train": np.arange(TRAIN), "test": np.arange(TRAIN, TRAIN + TEST)},
        open=partial(picture),
        notes={
            "rendered": "handwriting of scikit-learn's digits on drawn grounds; train and test "
            "share no scan"
        },
    )
