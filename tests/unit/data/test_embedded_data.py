"""The rendered data sets: glyphs exist and differ, scenes are pure functions, labels are what is
drawn."""

import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.ft2font import FT2Font

from benchmark.data import _scenes, digits, pictograms, pictograms65, pictograms_lt

NOWHERE = Path("/nonexistent")
LOADERS = {
    "pictograms": pictograms.load,
    "pictograms65": pictograms65.load,
    "pictograms_lt": pictograms_lt.load,
    "digits": digits.load,
}
HASH_SCENES = """
import hashlib, sys
from pathlib import Path
from benchmark.data import digits, pictograms
data = {"digits": digits.load(Path()), "pictograms": pictograms.load(Path())}[sys.argv[1]]
print(hashlib.sha256(b"".join(data.open(i).tobytes() for i in map(int, sys.argv[2:]))).hexdigest())
"""


@pytest.fixture(scope="module", params=LOADERS)
def dataset(request):
    return LOADERS[request.param](NOWHERE)


def test_every_form_is_a_glyph_of_the_face():
    known = FT2Font(str(_scenes.font(pictograms.FACE).path)).get_charmap()
    assert [
        c for forms in pictograms.FORMS.values() for c in "".join(forms) if ord(c) not in known
    ] == []


def test_class_lists_have_the_promised_sizes():
    assert (len(pictograms.CLASSES_65), len(pictograms.CLASSES_20), len(pictograms.UNSEEN_17)) == (
        65,
        20,
        17,
    )
    assert set(pictograms.CLASSES_20) < set(pictograms.CLASSES_65) > set(pictograms.UNSEEN_17)
    assert len(set(pictograms.CLASSES_20)) == 20 and len(set(pictograms.UNSEEN_17)) == 17
    assert not set(pictograms.FOREIGN_45) & set(pictograms.CLASSES_20)


def test_classes_do_not_look_alike():
    """Upright masks of two classes, centred on one canvas, never correlate above 0.9."""
    pictures = []
    for usual, _ in pictograms.FORMS.values():
        mask = _scenes.glyph_mask(pictograms.FACE, usual[0], 24, 0, "plain")
        canvas = np.zeros((40, 40))
        top, left = (40 - mask.shape[0]) // 2, (40 - mask.shape[1]) // 2
        canvas[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
        pictures.append(canvas.ravel())
    likeness = np.corrcoef(pictures) - np.eye(len(pictures))
    first, second = np.unravel_index(likeness.argmax(), likeness.shape)
    assert likeness.max() < 0.9, (pictograms.CLASSES_65[first], pictograms.CLASSES_65[second])


def test_dataset_is_consistent(dataset):
    rows = np.concatenate(list(dataset.splits.values()))
    assert sorted(rows.tolist()) == list(range(len(dataset.y)))
    assert dataset.y.dtype == np.int8 and dataset.y.shape == (
        len(dataset.names),
        len(dataset.classes),
    )
    assert len(set(dataset.names)) == len(dataset.names)
    assert (dataset.y.sum(1) >= 1).all()
    assert (dataset.y[dataset.splits["test"]].sum(0) >= 20).all(), "every class can be scored"


def test_opening_survives_pickling_and_is_deterministic(dataset):
    clone = pickle.loads(pickle.dumps(dataset.open))
    for index in (0, 7, len(dataset.names) - 1):
        image = dataset.open(index)
        assert (image.mode, image.size) == ("RGB", (96, 96))
        assert image.tobytes() == clone(index).tobytes()
    assert dataset.open(0).tobytes() != dataset.open(1).tobytes()


@pytest.mark.parametrize("name", ["digits", "pictograms"])
def test_scenes_do_not_depend_on_the_process_or_on_order(name):
    def digest(*indices: int) -> str:
        command = [sys.executable, "-c", HASH_SCENES, name, *map(str, indices)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    import hashlib

    data = LOADERS[name](NOWHERE)
    # drawn in another order than over there
    here = {index: data.open(index).tobytes() for index in (40, 5, 3)}
    assert digest(3, 5, 40).strip() == hashlib.sha256(here[3] + here[5] + here[40]).hexdigest()


@pytest.mark.parametrize("name", pictograms.SHAPES)
def test_labels_are_what_is_drawn(name, monkeypatch):
    """The characters that reach the renderer are forms of the labelled classes, plus foreign ones
    that are no class."""
    drawn: list[str] = []
    original = _scenes.glyph_mask
    monkeypatch.setattr(
        _scenes,
        "glyph_mask",
        lambda face, character, *rest: drawn.append(character) or original(face, character, *rest),
    )
    data = LOADERS[name](NOWHERE)
    owner = {
        c: class_name for class_name, forms in pictograms.FORMS.items() for c in "".join(forms)
    }
    for index in [*range(12), *data.splits["test"][:12]]:
        drawn.clear()
        data.open(index)
        seen = {owner[c] for c in drawn} & set(data.classes)
        assert seen == {data.classes[c] for c in np.flatnonzero(data.y[index])}


def test_digit_labels_are_what_is_drawn_and_scans_are_disjoint():
    data = digits.load(NOWHERE)
    targets = digits._scans()[1]
    used: dict[str, set[int]] = {"train": set(), "test": set()}
    for split, rows in data.splits.items():
        for index in rows:
            labels, scans, _ = digits.content(int(index))
            assert (targets[scans] == labels).all()
            assert sorted(labels) == np.flatnonzero(data.y[index]).tolist()
            used[split] |= set(scans.tolist())
    assert not used["train"] & used["test"]
    assert min(len(used["train"]), len(used["test"])) > 400


def test_every_object_leaves_its_colour_on_the_picture():
    """A box returned by the renderer holds what differs from the same scene without objects."""
    mask = _scenes.glyph_mask(pictograms.FACE, "\u2693", 24, 0, "plain")
    look = _scenes.Look(contrast=0.8, saturation=0.0)
    picture, boxes = _scenes.draw_scene(
        _scenes.scene_generator("x", 1), [_scenes.Thing(0, mask)], look, 64
    )
    ground = picture[:, 0, 0]
    rows, columns = np.nonzero((picture != ground[:, None, None]).any(0))
    top, left, bottom, right = boxes[0].astype(int)
    assert (
        (rows.min(), columns.min()) >= (top, left) and rows.max() < bottom and columns.max() < right
    )
    assert len(rows) > 0.5 * (mask > 128).sum()


def test_long_tail_has_head_medium_and_tail():
    data = pictograms_lt.load(NOWHERE)
    positives = data.y[data.splits["train"]].sum(0)
    groups = [
        (positives >= 100).sum(),
        ((positives >= 20) & (positives < 100)).sum(),
        (positives < 20).sum(),
    ]
    assert groups == [6, 6, 8] and positives.min() >= 3
    test = data.y[data.splits["test"]].sum(0)
    assert test.max() < 1.5 * test.min(), "the test set is balanced"


def test_print_milliseconds_per_scene(dataset, capsys):
    for index in range(100):
        dataset.open(index)
    start = time.process_time()
    for index in range(100):
        dataset.open(index)
    with capsys.disabled():
        print(
            f"\n{dataset.name}: {(time.process_time() - start) * 10:.2f} ms CPU a scene (glyphs "
            f"cached)"
        )
