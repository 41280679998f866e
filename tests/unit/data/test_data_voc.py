"""VOC2007 from XML: the difficult rule, names, splits, and files that are wrong."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from benchmark import data
from benchmark.data import voc2007
from benchmark.task import ABSENT, PRESENT, UNKNOWN
from tests.fixtures.miniatures import build_voc2007, truncate, voc_xml

BUS, CAR, PERSON, SOFA = (
    voc2007.RAW_CLASSES.index(name) for name in ("bus", "car", "person", "sofa")
)


@pytest.fixture
def root(tmp_path):
    build_voc2007(tmp_path)
    return tmp_path


def test_splits_names_and_classes(root):
    dataset = voc2007.load(root)
    assert [len(dataset.splits[name]) for name in ("train", "test")] == [42, 32]
    assert set(dataset.splits["train"]).isdisjoint(dataset.splits["test"])
    assert dataset.names[0] == "VOCdevkit/VOC2007/JPEGImages/000000.jpg"
    assert dataset.sizes[3] == (root / dataset.names[3]).stat().st_size
    assert dataset.classes[10] == "dining table" and dataset.raw_classes[10] == "diningtable"
    assert dataset.classes[15] == "potted plant" and dataset.classes[19] == "tv monitor"
    assert len(dataset.classes) == len(set(dataset.classes)) == 20
    assert dataset.open(0).mode == "RGB"
    assert (dataset.y[0, [0, 1]] == [PRESENT, ABSENT]).all()


@pytest.mark.parametrize(
    ("rule", "value"), [("absent", ABSENT), ("ignore", UNKNOWN), ("present", PRESENT)]
)
def test_difficult_rule_in_train_and_test(root, rule, value):
    dataset = voc2007.load(root, difficult=rule)
    for rows in dataset.splits.values():
        only, mixed = dataset.y[rows[-1]], dataset.y[rows[-2]]
        assert only[BUS] == value and only[CAR] == value and only[PERSON] == ABSENT
        assert mixed[BUS] == PRESENT  # a difficult bus beside an ordinary one
        assert mixed[SOFA] == value and mixed[PERSON] == PRESENT
    assert dataset.notes[f"labels that rest on difficult objects alone ({rule})"] == {
        "train": 3,
        "test": 3,
    }


def test_rules_differ_only_in_difficult_cells(root):
    absent, ignore = voc2007.load(root), voc2007.load(root, difficult="ignore")
    assert (absent.y != ignore.y).sum() == 6
    assert absent.fingerprint() == ignore.fingerprint()  # one feature bank serves both
    with pytest.raises(ValueError, match="'absent', 'ignore', 'present'"):
        voc2007.load(root, difficult="maybe")


def test_unknown_class_and_broken_xml_name_the_file(root):
    path = root / "VOCdevkit/VOC2007/Annotations/000003.xml"
    good = path.read_text()
    path.write_text(voc_xml("000003", [("unicorn", 0)]))
    with pytest.raises(ValueError, match=r"000003\.xml.*'unicorn'.*aeroplane"):
        voc2007.load(root)
    path.write_text(good[:90])
    with pytest.raises(ValueError, match=r"000003\.xml is not valid XML"):
        voc2007.load(root)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"000003\.xml is missing"):
        voc2007.load(root)


def test_a_halved_list_is_refused_unless_a_subset_is_meant(root, monkeypatch):
    monkeypatch.delenv("LOWLABEL_ALLOW_SUBSET")
    with pytest.raises(ValueError, match=r"42 train .*5,011 and 32 test .*4,952.*--allow-subset"):
        voc2007.load(root)
    monkeypatch.setenv("LOWLABEL_ALLOW_SUBSET", "1")
    assert any("subset" in note for note in voc2007.load(root).notes)  # counted, in the record


def test_an_empty_list_and_a_list_that_is_no_text(root, monkeypatch):
    monkeypatch.setenv("LOWLABEL_DATA", str(root))
    path = root / "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt"
    path.write_text("\n")
    data._load.cache_clear()
    with pytest.raises(ValueError, match="no image in train"):
        data.load("voc2007")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"trainval\.txt is not text in UTF-8"):
        data.load("voc2007")


def test_a_file_that_only_calls_itself_a_photograph(root):
    dataset = voc2007.load(root)
    (root / dataset.names[7]).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(OSError, match=r"000007\.jpg cannot be decoded"):
        dataset.open(7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: {"classes": (*d.classes[:-1], d.classes[0])}, "two classes are called"),
        (lambda d: {"y": d.y[:-1]}, "labels of shape"),
        (lambda d: {"y": d.y + np.int8(2)}, "a label is none of"),
        (lambda d: {"splits": {**d.splits, "test": d.splits["test"][:0]}}, "no image in test"),
        (lambda d: {"splits": {**d.splits, "test": d.splits["train"]}}, "in train and in test"),
    ],
)
def test_a_data_set_that_contradicts_itself(root, change, message):
    dataset = voc2007.load(root)
    data.check(dataset)
    with pytest.raises(ValueError, match=message):
        data.check(dataclasses.replace(dataset, **change(dataset)))


def test_missing_image_and_image_listed_twice(root):
    (root / "VOCdevkit/VOC2007/JPEGImages/000005.jpg").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"1 of 74 images are missing .*000005\.jpg .*run_all\.py data voc2007",
    ):
        voc2007.load(root)
    path = root / "VOCdevkit/VOC2007/ImageSets/Main/test.txt"
    path.write_text(path.read_text() + "000001\r\n")
    with pytest.raises(ValueError, match="listed twice, first 000001"):
        voc2007.load(root)


def test_a_picture_that_unpacks_to_a_huge_one_names_the_file(root):
    dataset = voc2007.load(root)
    Image.new("1", (20_000, 20_000)).save(root / dataset.names[7], "PNG")
    with pytest.raises(OSError, match=r"000007\.jpg cannot be decoded .*bomb"):
        dataset.open(7)


def test_a_difficult_that_is_no_flag_names_the_file(root):
    path = root / "VOCdevkit/VOC2007/Annotations/000003.xml"
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>x"))
    with pytest.raises(ValueError, match=r"000003\.xml: difficult is 'x'"):
        voc2007.load(root)


def test_truncated_jpeg_names_the_file(root):
    dataset = voc2007.load(root)
    truncate(root / dataset.names[7])
    with pytest.raises(OSError, match=r"000007\.jpg cannot be decoded"):
        dataset.open(7)
    assert dataset.open(8).size[0] >= 40


def test_by_name_with_the_data_folder_of_the_environment(root, monkeypatch, tmp_path):
    monkeypatch.setenv("LOWLABEL_DATA", str(root))
    assert data.available("voc2007") == ""
    first, second = data.load("voc2007"), data.load("voc2007")
    assert first is second and not first.y.flags.writeable
    assert data.load("voc2007", difficult="ignore") is not first
    monkeypatch.setenv("LOWLABEL_DATA", str(tmp_path / "nowhere"))
    sentence = data.available("voc2007")
    assert (
        "ImageSets/Main/trainval.txt" in sentence
        and "nowhere" in sentence
        and "run_all.py data voc2007" in sentence
    )
    with pytest.raises(FileNotFoundError, match="trainval"):
        data.load("voc2007")


def test_unknown_data_set_names_the_nearest():
    with pytest.raises(ValueError, match=r"Did you mean 'voc2007'\? The nearest of .*voc_mlt"):
        data.load("voc07")
    assert {"voc2007", "coco2014", "nus_wide", "voc_mlt", "coco_mlt"} <= set(data.names())
    assert not any(name.startswith("_") or name == "download" for name in data.names())
    assert all(hasattr(data.module(name), "missing") for name in data.names())


def test_every_class_has_a_positive(root):
    dataset = voc2007.load(root)
    for rows in dataset.splits.values():
        assert np.all((dataset.y[rows] == PRESENT).any(0))
