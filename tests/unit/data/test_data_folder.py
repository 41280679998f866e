"""People's own images: a folder and a CSV file, by the command line down to a record."""

import numpy as np
import pytest

import run_all
from benchmark import commands, data, registry
from benchmark.data import folder
from benchmark.store import Store
from reports import page
from tests.fixtures.miniatures import write_image

CLASSES = ("cat", "traffic light", "dog")


def write(root, header, rows):
    photos = root / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    lines = [",".join(header), *(",".join(map(str, row)) for row in rows)]
    (photos / "labels.csv").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    for i, row in enumerate(rows):
        write_image(photos / row[0], [i % 3], 3, i)
    return root


def by_column(n=12):
    rows = [(f"{i}.jpg", "test" if i % 3 == 0 else "train", i % 2, "", 1 - i % 2) for i in range(n)]
    return ("image", "split", *CLASSES), rows


def test_a_column_a_class_with_unknown_cells(tmp_path):
    write(tmp_path, *by_column())
    dataset = folder.load(tmp_path, "photos")
    assert dataset.classes == CLASSES and dataset.y.shape == (12, 3)
    np.testing.assert_array_equal(dataset.y[1], [1, -1, 0])
    assert len(dataset.splits["train"]) == 8 and dataset.open(0).mode == "RGB"


def test_a_column_of_names(tmp_path):
    rows = [("a.jpg", "train", "dog; cat"), ("b.jpg", "train", ""), ("c.jpg", "test", "cat")]
    write(tmp_path, ("image", "split", "labels"), rows)
    dataset = folder.load(tmp_path, "photos")
    assert dataset.classes == ("cat", "dog")
    np.testing.assert_array_equal(dataset.y, [[1, 1], [0, 0], [1, 0]])


@pytest.mark.parametrize(
    ("header", "row", "sentence"),
    [
        (("file", "split", "cat"), ("a.jpg", "train", 1), "has no column 'image'"),
        (("image", "part", "cat"), ("a.jpg", "train", 1), "has no column 'split'"),
        (("image", "split", "cat"), ("a.jpg", "val", 1), r"labels.csv:2: split 'val' is neither"),
        (("image", "split", "cat"), ("a.jpg", "train", "yes"), "labels.csv:2: cat is 'yes'"),
        (("image", "split", "cat"), ("a.jpg", "train"), "labels.csv:2 has not 3 columns"),
        (("image", "split", "labels"), ("a.jpg", "train", ""), "no image has a label"),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path, header, row, sentence):
    write(tmp_path, header, [row])
    with pytest.raises(ValueError, match=sentence):
        folder.load(tmp_path, "photos")


def test_names_are_canonical_and_mistakes_are_said(tmp_path, monkeypatch):
    monkeypatch.setenv("LOWLABEL_DATA", str(tmp_path))
    text = "folder(path=photos, labels=labels.csv)"
    name = data.resolve(text)
    assert name == data.resolve(name) == "folder(labels='labels.csv', path='photos')"
    assert "wants photos/labels.csv under" in data.available(name)
    assert "a folder to read: folder(path=FOLDER" in data.available("folder")
    write(tmp_path, *by_column())
    assert not data.available(name) and data.load(name).classes == CLASSES
    with pytest.raises(ValueError, match=r"folder has no option 'paths'\. Did you mean 'path'"):
        data.available("folder(paths=photos)")
    with pytest.raises(ValueError, match="There is no data set 'holder'"):
        data.resolve("holder(path=photos)")


def run(*argv):
    return commands.main(list(argv), run_all.QUICK, run_all.FULL)


def test_own_images_and_an_own_data_set_from_the_command_line(tmp_path, monkeypatch, capsys):
    """Both in one sweep: a folder, and a file that `new dataset` wrote."""
    monkeypatch.setattr(registry, "_files", {})
    monkeypatch.setenv("LOWLABEL_DATA", str(tmp_path))
    monkeypatch.setenv("LOWLABEL_LEASES", str(tmp_path / "leases"))
    monkeypatch.chdir(tmp_path)
    write(tmp_path, *by_column(30))
    assert run("new", "dataset", "my_shapes") == 0
    assert run("check", "my_shapes.py") == 0
    assert "6 passed, 0 failed" in capsys.readouterr().out
    axes = [
        *("--settings", "partial(known=0.5)", "--methods", "zero_shot_clip", "--seeds", "0"),
        *("--datasets", "folder(path=photos, labels=labels.csv)", "my_shapes.py"),
        *("--encoders", "pocket-RN", "--out", "results"),
    ]
    report = page.Report(tmp_path, "")
    monkeypatch.setattr(page, "build", lambda *given, **options: report)  # 15 seconds
    assert run("run", "--backend", "inline", *axes) == 0
    specs = {record["spec"].dataset for record in Store(tmp_path / "results").records()}
    assert specs == {"folder(labels='labels.csv', path='photos')", "my_shapes"}
    capsys.readouterr()
    assert run("plan", *axes) == 0
    assert "2 done" in capsys.readouterr().out
