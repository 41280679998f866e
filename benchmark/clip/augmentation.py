"""Training augmentations of the official codes: horizontal flip (LM-CLIP), Cutout with RandAugment
(DualCoOp).

Images are RGB and already resized to the encoder's input: DualCoOp resizes first, Cutout's side is
relative to the image, and only RandAugment's small cut-out (at most 20 pixels) is not. Written from
the papers (Cubuk et al. 2020; DeVries and Taylor 2017) and from what the package `randaugment`
(1.0.2) and DualCoOp's `CutoutPIL` are described to do.
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

GREY = (128, 128, 128)  # what shows where an operation uncovers the border
LEVELS = 10  # equally spaced magnitudes; the first, no change, is never drawn
APPLY = 0.5  # probability that a drawn operation is carried out


def augment(image: Image.Image, name: str, rng: np.random.Generator) -> Image.Image:
    """The image transformed at random: "" not at all, "flip" mirrored half the time, "dualcoop" as
    DualCoOp trains.

    The result depends on the image, the name and the state of `rng` alone. Raises `ValueError` for
    another name.
    """
    if name == "":
        return image
    if name == "flip":
        return ImageOps.mirror(image) if rng.random() < 0.5 else image
    if name == "dualcoop":
        return rand_augment(cutout(image, rng), rng)
    raise ValueError(f'unknown augmentation {name!r}; known: "", "flip", "dualcoop"')


def cutout(image: Image.Image, rng: np.random.Generator, factor: float = 0.5) -> Image.Image:
    """One rectangle, `factor` of each side long, around a uniformly drawn pixel, in one random
    colour."""
    width, height = image.size
    size = round(factor * width), round(factor * height)
    return _fill(image, size, tuple(int(value) for value in rng.integers(256, size=3)), rng)


def rand_augment(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """An ordered pair of the 135 candidates (15 operations × 9 magnitudes), repeats allowed, each
    applied or not."""
    for candidate in rng.integers(len(OPERATIONS) * (LEVELS - 1), size=2):
        operation, level = divmod(int(candidate), LEVELS - 1)
        if rng.random() < APPLY:
            image = apply_operation(image, list(OPERATIONS)[operation], level + 1, rng)
    return image


def apply_operation(
    image: Image.Image, name: str, level: int, rng: np.random.Generator
) -> Image.Image:
    """One of `OPERATIONS` at magnitude `level` 0 … 9; `rng` decides signs and places."""
    function, weakest, strongest = OPERATIONS[name]
    return function(image, float(np.linspace(weakest, strongest, LEVELS)[level]), rng)


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _affine(
    image: Image.Image, matrix: tuple[float, ...], resample: Image.Resampling
) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample, fillcolor=GREY)


def _shear_x(image: Image.Image, slope: float, rng: np.random.Generator) -> Image.Image:
    return _affine(image, (1, slope * _sign(rng), 0, 0, 1, 0), Image.Resampling.BICUBIC)


def _shear_y(image: Image.Image, slope: float, rng: np.random.Generator) -> Image.Image:
    return _affine(image, (1, 0, 0, slope * _sign(rng), 1, 0), Image.Resampling.BICUBIC)


def _translate_x(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    return _affine(
        image, (1, 0, share * image.width * _sign(rng), 0, 1, 0), Image.Resampling.NEAREST
    )


def _translate_y(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    return _affine(
        image, (1, 0, 0, 0, 1, share * image.height * _sign(rng)), Image.Resampling.NEAREST
    )


def _rotate(image: Image.Image, degrees: float, rng: np.random.Generator) -> Image.Image:
    return image.rotate(degrees, fillcolor=GREY)  # always the same direction


def _small_cutout(image: Image.Image, side: float, rng: np.random.Generator) -> Image.Image:
    return _fill(image, (round(side), round(side)), GREY, rng)


def _enhance(kind: type) -> Callable[[Image.Image, float, np.random.Generator], Image.Image]:
    return lambda image, change, rng: kind(image).enhance(1 + change * _sign(rng))


def _fill(
    image: Image.Image, size: tuple[int, int], colour: tuple[int, ...], rng: np.random.Generator
) -> Image.Image:
    """A rectangle (width, height) around a random pixel, clipped at the border; a new image."""
    left, top = (
        int(rng.integers(side)) - part // 2 for side, part in zip(image.size, size, strict=True)
    )
    image = image.copy()
    if min(size) > 0:
        ImageDraw.Draw(image).rectangle(
            (left, top, left + size[0] - 1, top + size[1] - 1), fill=colour
        )
    return image


# name -> (function of image, magnitude and rng; magnitude at level 0, at level 9)
OPERATIONS: dict[
    str, tuple[Callable[[Image.Image, float, np.random.Generator], Image.Image], float, float]
] = {
    "invert": (lambda image, _, rng: ImageOps.invert(image), 0, 0),
    "cutout": (_small_cutout, 0, 20),  # pixels
    "sharpness": (_enhance(ImageEnhance.Sharpness), 0, 0.9),
    "autocontrast": (lambda image, _, rng: ImageOps.autocontrast(image), 0, 0),
    "posterize": (lambda image, bits, rng: ImageOps.posterize(image, round(bits)), 8, 4),
    "shear_x": (_shear_x, 0, 0.3),
    "translate_x": (_translate_x, 0, 150 / 331),  # of the side
    "translate_y": (_translate_y, 0, 150 / 331),
    "shear_y": (_shear_y, 0, 0.3),
    "rotate": (_rotate, 0, 30),  # degrees
    "equalize": (lambda image, _, rng: ImageOps.equalize(image), 0, 0),
    "contrast": (_enhance(ImageEnhance.Contrast), 0, 0.9),
    "color": (_enhance(ImageEnhance.Color), 0, 0.9),
    "solarize": (
        lambda image, threshold, rng: ImageOps.solarize(image, math.ceil(threshold)),
        256,
        0,
    ),
    "brightness": (_enhance(ImageEnhance.Brightness), 0, 0.9),
}
