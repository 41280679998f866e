"""Augmentations: deterministic in the generator, of the stated strength, harmless to the image
handed in."""

import numpy as np
import pytest
from PIL import Image

from benchmark.clip import augmentation as module
from benchmark.clip.augmentation import OPERATIONS, apply_operation, augment, cutout, rand_augment

MAGNITUDE_FREE = {"invert", "autocontrast", "equalize"}


@pytest.fixture
def image():
    pixels = np.random.default_rng(0).integers(20, 200, (40, 60, 3)).astype(np.uint8)
    return Image.fromarray(pixels).resize((60, 40), Image.Resampling.BOX)


def generator(seed=0):
    return np.random.default_rng(seed)


def test_plain_and_flip(image):
    assert augment(image, "", generator()) is image
    plain, mirrored = np.asarray(image), np.asarray(image)[:, ::-1]
    results = [np.asarray(augment(image, "flip", generator(seed))) for seed in range(200)]
    flipped = sum(np.array_equal(result, mirrored) for result in results)
    assert (
        flipped + sum(np.array_equal(result, plain) for result in results) == 200
        and 70 < flipped < 130
    )
    with pytest.raises(ValueError, match="known"):
        augment(image, "mixup", generator())


def test_dualcoop_is_deterministic_and_keeps_size_and_input(image):
    before = np.array(image)
    results = [augment(image, "dualcoop", generator(seed)) for seed in range(40)]
    again = [augment(image, "dualcoop", generator(seed)) for seed in range(40)]
    assert all(result.size == (60, 40) and result.mode == "RGB" for result in results)
    assert all(np.array_equal(one, other) for one, other in zip(results, again, strict=True))
    assert len({result.tobytes() for result in results}) == 40
    np.testing.assert_array_equal(np.asarray(image), before)


def test_cutout_is_one_rectangle_of_half_the_sides_clipped_at_the_border(image):
    areas, colours = [], set()
    for seed in range(300):
        changed = np.asarray(cutout(image, generator(seed)))
        inside = (changed != np.asarray(image)).any(-1)
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        box = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].reshape(-1, 3)
        assert (box == box[0]).all() and len(rows) <= 20 and len(columns) <= 30
        areas.append(len(box) / 2400)
        colours.add(tuple(box[0]))
    assert max(areas) == 0.25 and min(areas) < 0.1  # whole, and cut at a corner
    # uniform centre: 1/16 of a side is lost on average
    assert np.mean(areas) == pytest.approx(0.4375**2, abs=0.01)
    assert len(colours) > 290


def test_there_are_135_candidates_drawn_alike_and_applied_half_the_time(image, monkeypatch):
    calls = []
    monkeypatch.setattr(
        module,
        "apply_operation",
        lambda image, name, level, rng: calls.append((name, level)) or image,
    )
    rng = generator()
    for _ in range(13_500):
        rand_augment(image, rng)
    assert len(calls) == pytest.approx(13_500, rel=0.03)  # two draws, each with probability 1/2
    names, counts = np.unique([f"{name} {level}" for name, level in calls], return_counts=True)
    assert len(names) == 135 and {level for _, level in calls} == set(range(1, 10))
    assert counts.min() > 50 and counts.max() < 160  # 100 expected


@pytest.mark.parametrize("name", OPERATIONS)
def test_level_0_changes_nothing_and_level_9_does(image, name):
    strongest = np.asarray(apply_operation(image, name, 9, generator()))
    assert not np.array_equal(strongest, np.asarray(image)) and strongest.shape == (40, 60, 3)
    if name not in MAGNITUDE_FREE:
        np.testing.assert_array_equal(
            np.asarray(apply_operation(image, name, 0, generator())), np.asarray(image)
        )


def test_magnitudes(image):
    pixels = np.asarray(image).astype(int)
    translated = np.asarray(apply_operation(image, "translate_x", 9, generator(1)))
    grey = (translated == 128).all((0, 2))
    assert grey.sum() == pytest.approx(60 * 150 / 331, abs=1) and (grey[0] or grey[-1])
    np.testing.assert_array_equal(
        np.asarray(apply_operation(image, "solarize", 9, generator())), 255 - pixels
    )
    assert (np.asarray(apply_operation(image, "posterize", 9, generator())) % 16 == 0).all()
    bright = {
        round(np.asarray(apply_operation(image, "brightness", 9, generator(s))).mean())
        for s in range(20)
    }
    # both signs, 1 ± 0.9
    assert len(bright) == 2 and min(bright) == pytest.approx(0.1 * pixels.mean(), abs=1)
    small = (np.asarray(apply_operation(image, "cutout", 9, generator(4))) == 128).all(-1)
    assert 0 < small.sum() <= 410  # 20 × 20 pixels and a few that were grey before
