"""The scenes that the pocket CLIPs are pretrained on: pictograms and printed digits in many
styles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.data import _scenes
from benchmark.data.pictograms import FORMS
from benchmark.pretraining.captions import CLASSES, FACTORS

DIGIT_FACES = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Bold",
    "DejaVuSerif-Italic", "DejaVuSansMono", "DejaVuSansMono-Oblique", "STIXGeneral",
    "STIXGeneralItalic", "cmr10", "cmss10", "cmtt10",
)  # fmt: skip
SIDES = {
    "small": (15, 17, 19),
    "medium": (21, 24, 27),
    "large": (30, 34, 39),
}  # pixels of an object's longest side
ANGLES = {"upright": (-12, -4, 4, 12), "tilted": (-60, -45, -30, 30, 45, 60)}
BENCHMARK_STYLE = (
    "outlined",
    "noisy",
    "scribbled",
)  # rare here, because the benchmark's scenes look so
HELD_OUT = 1 << 40  # scenes from this index on are never trained on


@dataclass(frozen=True)
class Scene:
    """A picture (3, side, side) uint8, the classes (n,) of its objects, their boxes (n, 4) and its
    words of style."""

    picture: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    styles: tuple[str, ...]


def glyph_of(random: np.random.Generator, label: int) -> tuple[str, str]:
    """Face and character of one object: forms known to pretraining only."""
    if label < len(FORMS):
        usual = FORMS[CLASSES[label]][0]
        return "DejaVuSans", usual[int(random.random() * len(usual))]
    return DIGIT_FACES[int(random.random() * len(DIGIT_FACES))], str(label - len(FORMS))


def sample_style(random: np.random.Generator) -> dict[str, str]:
    """One word for every factor but the number; the combination of the benchmark's scenes is made
    rare."""
    style = {name: words[int(random.random() * len(words))] for name, words in FACTORS.items()}
    if all(word in style.values() for word in BENCHMARK_STYLE) and random.random() < 0.8:
        style["look"] = "plain"
    return style


def pretraining_scene(index: int, side: int, most: int) -> Scene:
    """Scene number `index` with 1 to `most` objects on a canvas of `side` pixels."""
    random = _scenes.scene_generator("pocket", index)
    style = sample_style(random)
    count = 1 + int(random.random() * most)
    style["number"] = "alone" if count == 1 else "few" if count <= 3 else "crowded"
    labels = random.permutation(len(CLASSES))[:count]
    lengths, angles = SIDES[style["size"]], ANGLES[style["tilt"]]
    things = []
    for label in labels:
        face, character = glyph_of(random, int(label))
        length = min(lengths[int(random.random() * len(lengths))], side - 2)
        angle = angles[int(random.random() * len(angles))]
        things.append(
            _scenes.Thing(
                int(label), _scenes.glyph_mask(face, character, length, angle, style["look"])
            )
        )
    look = _scenes.Look(
        dark=style["ground"] == "dark",
        contrast=0.6 + 0.3 * random.random(),
        saturation={"gray": 0.0, "pastel": 0.45, "colorful": 1.0}[style["colour"]],
        texture="plain" if style["texture"] == "smooth" else style["texture"],
        texture_strength=0.0 if style["texture"] == "smooth" else 0.2 + 0.5 * random.random(),
        scribbles=0 if style["clutter"] == "clean" else 2 + int(random.random() * 4) * side // 64,
    )
    picture, boxes = _scenes.draw_scene(random, things, look, side)
    return Scene(picture, labels, boxes, tuple(style.values()))
