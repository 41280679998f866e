"""VOC2012 from its class lists: the real labels, flags, and lists that contradict each other."""

import hashlib

import numpy as np
import pytest

from benchmark.data import voc2012
from benchmark.task import ABSENT, PRESENT, UNKNOWN
from tests.fixtures.golden import golden


def write_lists(root, names, flags):
    """The 20 class lists of both parts, from names and flags (n, 20) of each part, and image files
    of a few."""
    main, images = root / voc2012.FOLDER / "ImageSets/Main", root / voc2012.FOLDER / "JPEGImages"
    main.mkdir(parents=True)
    images.mkdir()
    for part in ("train", "val"):
        for column, name in enumerate(voc2012.RAW_CLASSES):
            rows = [f"{n} {f:2d}" for n, f in zip(names[part], flags[part][:, column], strict=True)]
            (main / f"{name}_{part}.txt").write_text("\n".join(rows) + "\n")
    for name in (*names["val"], *names["train"][:9]):
        (images / f"{name}.jpg").touch()


def real(part):
    """Names and labels (n, 20) of the official lists; the golden file keeps no difficult flags."""
    data = golden("setting_voc2012_real.npz")
    count, classes = data[f"{part}_shape"]
    labels = np.unpackbits(data[f"{part}_labels_packed"], axis=1)[:, :classes]
    return [name.decode() for name in data[f"{part}_image_ids"]], labels.astype(np.int8), count


@pytest.mark.parametrize("part", ["train", "val"])
def test_real_lists_are_read_bit_for_bit(tmp_path, monkeypatch, part):
    """One part; of the other one a single image, because each costs a file."""
    monkeypatch.setattr(voc2012, "ImageFiles", lambda root, names: None)
    monkeypatch.setattr(voc2012, "file_sizes", lambda root, names, name: np.zeros(len(names)))
    data = golden("setting_voc2012_real.npz")
    names, labels, count = real(part)
    flags = 2 * labels[::-1] - 1  # in another order than the sorted one
    other, ours = {"train": "val", "val": "train"}[part], {"train": "train", "val": "test"}[part]
    write_lists(tmp_path, {part: names[::-1], other: ["x"]}, {part: flags, other: flags[:1]})
    assert voc2012.missing(tmp_path) == []
    dataset = voc2012.load(tmp_path)
    rows = dataset.splits[ours]
    assert len(rows) == count == voc2012.SIZES[ours]
    y = dataset.y[rows]
    np.testing.assert_array_equal((y == PRESENT).sum(0), data[f"{part}_full_counts"])
    digest = hashlib.sha256(y.tobytes()).hexdigest()
    assert digest == data[f"{part}_sha256_labels_int8"]
    found = "\n".join(dataset.names[row].split("/")[-1][:-4] for row in rows)
    assert hashlib.sha256(found.encode()).hexdigest() == data[f"{part}_sha256_ids"]


def small(flag=1):
    names = {"train": ["2008_000002", "2008_000001"], "val": ["2008_000003"]}
    flags = {part: np.full((len(names[part]), 20), -1) for part in names}
    flags["train"][0, 3] = flags["val"][0, 4] = 1
    flags["train"][1, 5] = flag
    return names, flags


@pytest.mark.parametrize(
    ("difficult", "expected"), [("absent", ABSENT), ("ignore", UNKNOWN), ("present", PRESENT)]
)
def test_difficult_objects(tmp_path, difficult, expected):
    write_lists(tmp_path, *small(flag=0))
    dataset = voc2012.load(tmp_path, difficult)
    assert dataset.names[0].endswith("2008_000001.jpg")  # sorted
    assert dataset.y[0, 5] == expected and dataset.y[1, 3] == PRESENT


def test_lists_that_contradict_each_other(tmp_path):
    write_lists(tmp_path, *small())
    path = tmp_path / voc2012.FOLDER / "ImageSets/Main/boat_train.txt"
    text = path.read_text()
    path.write_text(text.replace("-1", "2", 1))
    with pytest.raises(ValueError, match=r"boat_train\.txt:2 should read NAME and -1, 0 or 1"):
        voc2012.load(tmp_path)
    path.write_text(text.splitlines()[0])
    with pytest.raises(ValueError, match=r"boat_train\.txt lists other images"):
        voc2012.load(tmp_path)
    path.unlink()
    assert voc2012.missing(tmp_path) == [str(voc2012.FOLDER / "ImageSets/Main/boat_train.txt")]
