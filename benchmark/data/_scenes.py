"""Draw scenes: glyph masks, once cached, pasted on a textured background; pure functions of a
random generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TEXTURES = ("plain", "noisy", "striped", "shaded", "checkered")
# pixels of the longest side of a master glyph; every mask is a rotated and reduced copy of it
MASTER = 96


@dataclass(frozen=True)
class Thing:
    """One object to draw: the class it counts as and the mask (h, w) uint8 of its shape."""

    label: int
    mask: np.ndarray


@dataclass(frozen=True)
class Look:
    """How a whole scene is drawn.

    `dark`: light objects on a dark ground; `contrast`: distance of object and ground brightness in
    0..1; `saturation`: 0 is grey, 1 is full colour; `texture`: one of TEXTURES, with
    `texture_strength` in 0..1; `scribbles`: number of random strokes drawn over everything.
    """

    dark: bool = False
    contrast: float = 0.7
    saturation: float = 0.7
    texture: str = "plain"
    texture_strength: float = 0.0
    scribbles: int = 0


def share(mask: np.ndarray, side: int) -> float:
    """The part of a picture (side, side) that a mask (h, w) uint8 covers."""
    return float(mask[:side, :side].sum(dtype=np.float64)) / (255 * side * side)


def scene_generator(name: str, index: int) -> np.random.Generator:
    """A random generator that depends on the name of a data set and the index of a scene, and on
    nothing else."""
    key = int.from_bytes(name.encode()[-8:], "little")
    return np.random.Generator(np.random.Philox(key=[key, index]))


@cache
def font(face: str) -> ImageFont.FreeTypeFont:
    """A face that ships with matplotlib, by file name without ending, at the size of master
    glyphs."""
    matplotlib = find_spec("matplotlib")  # found, not imported: only its data are wanted
    assert matplotlib is not None and matplotlib.origin is not None
    fonts = Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(str(fonts / f"{face}.ttf"), MASTER)


@lru_cache(maxsize=2048)
def master_glyph(face: str, character: str) -> Image.Image:
    """The tight mask of a glyph, scaled so that its longest side is MASTER pixels (PIL image of
    mode L)."""
    left, top, right, bottom = (int(edge) for edge in font(face).getbbox(character))
    image = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(image).text((-left, -top), character, font=font(face), fill=255)
    return scale_to(image.crop(image.getbbox()), MASTER)


def scale_to(image: Image.Image, side: int) -> Image.Image:
    """Scale a mask so that its longest side has `side` pixels."""
    factor = side / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.BILINEAR)


@lru_cache(maxsize=200_000)
def glyph_mask(face: str, character: str, side: int, angle: int, look: str) -> np.ndarray:
    """Mask (h, w) uint8 of a glyph whose upright longest side is `side` pixels, turned by `angle`
    degrees."""
    return turned_mask(master_glyph(face, character), side, angle, look)


def turned_mask(master: Image.Image, side: int, angle: int, look: str) -> np.ndarray:
    """Reduce a master mask to `side` pixels, turn it and draw it plain, bold or as an outline; (h,
    w) uint8."""
    border = max(2, side // 8)
    image = Image.new("L", (side + 2 * border, side + 2 * border))
    small = scale_to(master, side)
    image.paste(small, (border + (side - small.width) // 2, border + (side - small.height) // 2))
    if angle:
        image = image.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    mask = np.asarray(image)
    if look != "plain":
        thick = _thicken(mask)
        if look == "bold":
            mask = np.maximum(mask, thick // 2)
        else:
            mask = np.clip((thick.astype(np.int16) - mask) * 3 // 2, 0, 255).astype(np.uint8)
    rows, columns = np.flatnonzero(mask.max(1) > 32), np.flatnonzero(mask.max(0) > 32)
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _thicken(mask: np.ndarray) -> np.ndarray:
    """The largest of each pixel and its eight neighbours; (h, w) uint8."""
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    padded[1:-1, 1:-1] = mask
    rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


@cache
def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    row, column = np.mgrid[0:side, 0:side].astype(np.float32)
    return row, column


def _texture(random: np.random.Generator, kind: str, side: int) -> np.ndarray | float:
    """A pattern (side, side) float32 in -1..1."""
    row, column = _grid(side)
    angle, phase, period = random.random(3) * (np.pi, 1.0, 10.0) + (0, 0, 8.0)
    if kind == "plain":
        return 0.0
    if kind == "noisy":
        noise: np.ndarray = random.integers(-128, 128, (side, side), dtype=np.int8)
        return noise.astype(np.float32) * (1 / 128)
    if kind == "shaded":
        slope = (row - side / 2) * np.sin(2 * angle) + (column - side / 2) * np.cos(2 * angle)
        return np.asarray(slope * np.float32(1.4 / side))
    along = (row * np.sin(angle) + column * np.cos(angle)) * np.float32(1 / period) + np.float32(
        phase
    )
    stripes: np.ndarray = ((along % 1) > 0.5).astype(np.float32) * 2 - 1
    if kind == "striped":
        return stripes
    across = (row * np.cos(angle) - column * np.sin(angle)) * np.float32(1 / period)
    return np.asarray(stripes * (((across % 1) > 0.5).astype(np.float32) * 2 - 1))


def _colours(hues: np.ndarray, brightness: np.ndarray | float, saturation: float) -> np.ndarray:
    """Red, green and blue (n, 3) float32 in 0..255 of given mean brightness in 0..1.

    Random `hues` (n, 3) in 0..1 spread them around the brightness, as far as the saturation says.
    """
    middle = (hues[:, :1] + hues[:, 1:2] + hues[:, 2:]) / 3
    spread = 2 * saturation * (np.minimum(brightness, 1 - brightness) + 0.12)
    colours = np.minimum(np.maximum(brightness + (hues - middle) * spread, 0.0), 1.0)
    return np.asarray(colours * 255, np.float32)


def places(random: np.random.Generator, count: int, side: int) -> np.ndarray:
    """Centres (count, 2) float of objects: distinct cells of a grid just fine enough, jittered
    within the cell."""
    cells = int(np.ceil(np.sqrt(count)))
    if cells > 1 and random.random() < 0.5:
        cells += side // cells > 36
    chosen = random.permutation(cells * cells)[:count]
    corner = np.stack([chosen // cells, chosen % cells], 1)
    return (corner + 0.5 + (random.random((count, 2)) - 0.5) * 0.7) * (side / cells)


def draw_scene(
    random: np.random.Generator, things: Sequence[Thing], look: Look, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw objects on a textured ground.

    Returns the picture (3, side, side) uint8 and the boxes (len(things), 4) float32: top, left,
    bottom, right.
    """
    low = 0.5 - look.contrast / 2 + (random.random() - 0.5) * (1 - look.contrast) * 0.8
    high = low + look.contrast
    ground, paint = (low, high) if look.dark else (high, low)
    picture = np.empty((3, side, side), np.float32)
    picture[:] = _colours(random.random((1, 3)), ground, look.saturation)[0, :, None, None]
    if look.texture_strength:
        picture += _texture(random, look.texture, side) * np.float32(
            255 * 0.3 * look.texture_strength
        )
    boxes, centres = (
        np.empty((len(things), 4), np.float32),
        places(random, len(things), side).tolist(),
    )
    colours = _colours(random.random((len(things), 3)), paint, look.saturation)[:, :, None, None]
    for number, (thing, centre, colour) in enumerate(zip(things, centres, colours, strict=True)):
        height, width = thing.mask.shape
        top = int(min(max(centre[0] - height / 2, 0), max(side - height, 0)))
        left = int(min(max(centre[1] - width / 2, 0), max(side - width, 0)))
        alpha = thing.mask[:side, :side] * np.float32(1 / 255)
        window = picture[:, top : top + height, left : left + width]
        window *= 1 - alpha
        window += alpha * colour
        boxes[number] = top, left, top + height, left + width
    if look.scribbles:
        _scribble(random, picture, look)
    return np.clip(picture, 0, 255, out=picture).astype(np.uint8), boxes


def _scribble(random: np.random.Generator, picture: np.ndarray, look: Look) -> None:
    """Draw thin bent strokes of random colours on the picture, in place."""
    side = picture.shape[-1]
    start, (angle, bend) = (
        random.random((2, look.scribbles, 1)) * side,
        random.random((2, look.scribbles, 1)),
    )
    heading = angle * (2 * np.pi) + (bend - 0.5) * 0.3 * np.arange(6 + int(random.random() * 14))
    rows = (start[0] + np.cumsum(np.sin(heading), 1)).astype(np.int64).clip(0, side - 1)
    columns = (start[1] + np.cumsum(np.cos(heading), 1)).astype(np.int64).clip(0, side - 1)
    drawn = random.random((look.scribbles, 4))
    picture[:, rows, columns] = _colours(drawn[:, 1:], drawn[:, :1], look.saturation).T[:, :, None]
