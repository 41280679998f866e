"""Pictograms: scenes drawn from glyphs of DejaVu Sans, the face that ships inside matplotlib; 65 or
20 classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.data import _scenes
from benchmark.task import Dataset

EMBEDDED = True
FACE, SIDE = "DejaVuSans", 96
# part of the image names: raise it when scenes change, so that old feature banks are not used
VERSION = 3

# name -> (forms the pocket CLIP was pretrained on, other forms that only the scenes of this module
# show)
FORMS: dict[str, tuple[str, str]] = {
    "airplane": ("\u2708", ""),
    "anchor": ("\u2693", ""),
    "arrow": ("\u279c\u27a1", "\u279e\u279d"),
    "atom": ("\u269b", ""),
    "biohazard sign": ("\u2623", ""),
    "bullseye": ("\u25c9", "\u25ce"),
    "cat": ("\U0001f431", "\U0001f63a\U0001f63c"),
    "check mark": ("\u2714", "\u2713"),
    "chess knight": ("\u265e", "\u2658"),
    "chess queen": ("\u265b", "\u2655"),
    "chess rook": ("\u265c", "\u2656"),
    "club": ("\u2663", "\u2667"),
    "coffee cup": ("\u2615", ""),
    "cow": ("\U0001f42e", ""),
    "crescent moon": ("\u263e", "\u263d"),
    "cross mark": ("\u2718", "\u2717"),
    "diamond": ("\u2666", "\u2662"),
    "dice": ("\u2684", "\u2683\u2685"),
    "domino": ("\U0001f07a", "\U0001f086\U0001f074"),
    "envelope": ("\u2709", ""),
    "exclamation mark": ("\u2762", "\u2763"),
    "female sign": ("\u2640", ""),
    "flag": ("\u2691", "\u2690"),
    "flask": ("\u2697", ""),
    "flower": ("\u273f", "\u2740"),
    "gear": ("\u2699", ""),
    "hammers": ("\u2692", ""),
    "heart": ("\u2665", "\u2661"),
    "hot spring": ("\u2668", ""),
    "house": ("\u2302", "\u2616"),
    "infinity sign": ("\u221e", "\u267e"),
    "key": ("\u26b7", ""),
    "keyboard": ("\u2328", ""),
    "leaf": ("\u2766", "\u2767"),
    "lightning": ("\u26a1", ""),
    "male sign": ("\u2642", ""),
    "monkey": ("\U0001f435", ""),
    "mouse": ("\U0001f42d", ""),
    "music notes": ("\u266b", "\u266c"),
    "peace sign": ("\u262e", ""),
    "pencil": ("\u270f", "\u270e\u2710"),
    "playing card": ("\U0001f0b6", "\U0001f0b4\U0001f0b5"),
    "plus sign": ("\u271a", "\u2719"),
    "pointing hand": ("\u261b", "\u261e"),
    "radiation sign": ("\u2622", ""),
    "recycling sign": ("\u267b", "\u2672"),
    "scales": ("\u2696", ""),
    "scissors": ("\u2702", "\u2704"),
    "ship wheel": ("\u2638", ""),
    "skull": ("\u2620", ""),
    "smiling face": ("\u263a", "\U0001f60a"),
    "snowflake": ("\u2744", "\u2746\u2745"),
    "snowman": ("\u2603", ""),
    "spade": ("\u2660", "\u2664"),
    "star": ("\u2605", "\u2606"),
    "star of David": ("\u2721", ""),
    "sun": ("\u2600", "\u263c"),
    "swords": ("\u2694", ""),
    "telephone": ("\u260e", "\u260f"),
    "umbrella": ("\u2602", "\u2614"),
    "victory hand": ("\u270c", ""),
    "warning sign": ("\u26a0", ""),
    "wheelchair": ("\u267f", ""),
    "writing hand": ("\u270d", ""),
    "yin yang": ("\u262f", ""),
}

CLASSES_65 = tuple(FORMS)
CLASSES_20 = (
    "airplane", "anchor", "cat", "coffee cup", "cow", "dice", "envelope", "flag", "flower",
    "gear", "heart", "house", "key", "monkey", "music notes", "scissors", "skull", "star",
    "telephone", "umbrella",
)  # fmt: skip
FOREIGN_45 = tuple(name for name in CLASSES_65 if name not in CLASSES_20)
UNSEEN_17 = (
    "anchor", "biohazard sign", "chess knight", "diamond", "domino", "gear", "house", "lightning",
    "monkey", "pencil", "plus sign", "scales", "skull", "spade", "sun", "telephone", "wheelchair",
)  # fmt: skip
# training positives of each of CLASSES_20, in a fixed shuffled order, in the long-tailed shape
TAIL_POSITIVES = (
    90, 15, 260, 6, 48, 215, 11, 75, 5, 185, 27, 16, 160, 9, 60, 140, 36, 7, 125, 13,
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Classes and numbers of one of the three data sets; `others`: most unlabelled objects of
    foreign classes."""

    classes: tuple[str, ...]
    train: int
    test: int
    most: int
    others: int


SHAPES = {
    "pictograms": Shape(CLASSES_20, 2_000, 1_000, most=4, others=3),
    "pictograms65": Shape(CLASSES_65, 2_500, 1_000, most=5, others=0),
    "pictograms_lt": Shape(CLASSES_20, 720, 1_000, most=4, others=3),
}
LENGTHS, ANGLES = (16, 19, 22, 26), (-50, -35, -20, -8, 8, 20, 35, 50)


def missing(root: Path) -> list[str]:
    """Nothing is ever missing: matplotlib brings the face."""
    return []


@cache
def _long_tail() -> tuple[tuple[int, ...], ...]:
    """Classes of each long-tailed training scene: all positives, shuffled and dealt out in hands of
    one to three."""
    random = _scenes.scene_generator("long tail", 0)
    deck = random.permutation(np.repeat(np.arange(len(TAIL_POSITIVES)), TAIL_POSITIVES))
    cuts = np.sort(random.permutation(np.arange(1, len(deck)))[: SHAPES["pictograms_lt"].train - 1])
    return tuple(tuple(dict.fromkeys(hand.tolist())) for hand in np.split(deck, cuts))


def content(name: str, index: int) -> tuple[np.ndarray, np.random.Generator]:
    """Labelled classes (n,) of a scene, as indices into the data set's classes, and the generator
    that draws it."""
    shape, random = SHAPES[name], _scenes.scene_generator(name, index)
    if name == "pictograms_lt" and index < shape.train:
        return np.array(_long_tail()[index]), random
    return random.permutation(len(shape.classes))[: 1 + int(random.random() * shape.most)], random


def objects(name: str, index: int) -> tuple[list[_scenes.Thing], np.random.Generator]:
    """What a scene shows, the labelled objects first and numbered by their class, the others -1,
    and the generator that goes on to draw it."""
    shape = SHAPES[name]
    labels, random = content(name, index)
    drawn, foreign = (
        [shape.classes[label] for label in labels],
        CLASSES_65 if shape.others == 0 else FOREIGN_45,
    )
    drawn += [
        foreign[int(random.random() * len(foreign))]
        for _ in range(int(random.random() * (shape.others + 1)))
    ]
    things = []
    numbers = [*labels.tolist(), *[-1] * (len(drawn) - len(labels))]
    for number, class_name in zip(numbers, drawn, strict=True):
        usual, other = FORMS[class_name]
        forms = other if other and random.random() < 0.8 else usual
        character = forms[int(random.random() * len(forms))]
        length, angle = LENGTHS[int(random.random() * 4)], ANGLES[int(random.random() * 8)]
        form = "outlined" if random.random() < 0.8 else "plain"
        things.append(
            _scenes.Thing(number, _scenes.glyph_mask(FACE, character, length, angle, form))
        )
    return things, random


def object_areas(root: Path, name: str = "pictograms") -> np.ndarray:
    """(N, C) float32: the part of each scene that the labelled object of a class covers; `root` is
    not used."""
    shape = SHAPES[name]
    areas = np.zeros((shape.train + shape.test, len(shape.classes)), np.float32)
    for index in range(len(areas)):
        for thing in objects(name, index)[0]:
            if thing.label >= 0:
                areas[index, thing.label] = _scenes.share(thing.mask, SIDE)
    return areas


def picture(name: str, index: int) -> Image.Image:
    """Scene `index` of a data set as an RGB image."""
    things, random = objects(name, index)
    look = _scenes.Look(
        dark=random.random() < 0.5,
        contrast=0.38 + 0.2 * random.random(),
        saturation=random.random(),
        texture="noisy",
        texture_strength=0.4 + 0.4 * random.random(),
        scribbles=6 + int(random.random() * 7),
    )
    pixels, _ = _scenes.draw_scene(random, things, look, SIDE)
    return Image.fromarray(pixels.transpose(1, 2, 0))


def load(root: Path, name: str = "pictograms") -> Dataset:
    """One of the three data sets of SHAPES, with splits "train" and "test"; `root` is not used."""
    shape = SHAPES[name]
    y = np.zeros((shape.train + shape.test, len(shape.classes)), np.int8)
    for index in range(len(y)):
        y[index, content(name, index)[0]] = 1
    return Dataset(
        name=name,
        classes=shape.classes,
        raw_classes=shape.classes,
        names=tuple(f"{name}-{VERSION}/{index:05d}" for index in range(len(y))),
        sizes=np.zeros(len(y), np.int64),
        y=y,
        splits={"train": np.arange(shape.train), "test": np.arange(shape.train, len(y))},
        open=partial(picture, name),
        notes={
            "rendered": "glyphs of DejaVu Sans in a style that is rare in the pocket CLIP's "
            "pretraining"
        },
    )
