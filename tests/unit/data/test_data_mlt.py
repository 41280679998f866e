"""VOC-MLT and COCO-MLT: the real lists (when ../shared is there) against the published counts;
lists that are wrong."""

from pathlib import Path

import numpy as np
import pytest

from benchmark.data import _lists, coco_mlt, voc_mlt
from benchmark.task import PRESENT
from settings.long_tail import frequency_groups
from tests.fixtures.miniatures import build_coco_mlt, build_voc_mlt

SPLITS = Path(__file__).resolve().parents[4] / "shared" / "splits"
needs_real_lists = pytest.mark.skipif(
    not SPLITS.is_dir(), reason="the real lists are not here (../shared/splits)"
)

# name train/test positives, in the order of the training counts
VOC_GROUPS = {
    "head": "person 775/2097, chair 479/545, car 249/775, diningtable 240/247, bottle 154/240, "
    "pottedplant 100/254",
    "medium": "sofa 82/355, tvmonitor 64/255, dog 48/433, bicycle 34/250, cat 29/332, motorbike "
    "20/233",
    "tail": "bus 17/183, boat 14/176, horse 11/279, bird 8/289, train 7/259, aeroplane 6/205, "
    "sheep 5/98, cow 4/127",
}
COCO_GROUPS = {
    "head": "person 1128/2693, dining table 624/501, chair 585/580, cup 498/390, bottle 460/379, "
    "bowl 366/314, "
    "book 292/230, car 276/535, sink 237/187, knife 207/181, tv 200/207, handbag 189/292, oven "
    "175/115, spoon 173/153, "
    "potted plant 164/172, couch 153/195, laptop 137/183, cell phone 127/214, fork 126/155, "
    "refrigerator 119/101, "
    "vase 113/137, backpack 100/228",
    "medium": "bench 97/235, microwave 91/54, remote 89/145, truck 87/250, clock 87/204, wine "
    "glass 84/110, "
    "cake 73/124, keyboard 73/106, dog 70/177, mouse 70/88, traffic light 50/191, cat 49/184, "
    "pizza 45/153, "
    "sandwich 44/98, bed 44/149, bus 41/189, umbrella 39/174, banana 39/103, bicycle 37/149, "
    "orange 36/85, "
    "sports ball 35/169, apple 35/76, motorcycle 32/159, tie 31/145, broccoli 29/71, baseball bat "
    "25/97, carrot 25/81, "
    "toilet 25/149, suitcase 24/105, baseball glove 21/100, teddy bear 21/94, boat 20/121, tennis "
    "racket 20/167",
    "tail": "bird 19/125, train 18/157, horse 17/128, skateboard 17/127, donut 16/62, scissors "
    "15/28, hot dog 14/51, "
    "stop sign 13/69, skis 12/120, fire hydrant 11/86, frisbee 11/84, toothbrush 11/34, cow "
    "10/87, kite 10/91, "
    "surfboard 10/149, airplane 9/97, toaster 9/8, parking meter 8/37, elephant 8/89, snowboard "
    "8/49, sheep 7/65, "
    "zebra 7/85, giraffe 7/101, bear 6/49, hair drier 6/9",
}


def real(name, tmp_path, monkeypatch):
    """The data set of the real lists; no images are needed for its labels."""
    monkeypatch.setattr(
        _lists, "file_sizes", lambda root, names, dataset: np.zeros(len(names), np.int64)
    )
    (tmp_path / name).symlink_to(SPLITS / name)
    return {"voc_mlt": voc_mlt, "coco_mlt": coco_mlt}[name].load(tmp_path)


def check_counts(dataset, groups):
    train, test = (dataset.y[dataset.splits[part]] == PRESENT for part in ("train", "test"))
    found = frequency_groups(train.sum(0))
    for group, text in groups.items():
        expected = {item.rsplit(" ", 1)[0]: item.rsplit(" ", 1)[1] for item in text.split(", ")}
        measured = {
            dataset.raw_classes[c]: f"{train[:, c].sum()}/{test[:, c].sum()}"
            for c in np.flatnonzero(found[group])
        }
        assert measured == expected
    return train, test


@needs_real_lists
def test_voc_mlt_counts(tmp_path, monkeypatch):
    dataset = real("voc_mlt", tmp_path, monkeypatch)
    train, test = check_counts(dataset, VOC_GROUPS)
    assert train.shape == (1142, 20) and test.shape == (4952, 20)
    assert (train.sum(), test.sum()) == (2346, 7632)
    assert [int((test.sum(1) == k).sum()) for k in (0, 1)] == [0, 2841] and (
        train.sum(1) == 1
    ).sum() == 353
    assert dataset.classes[10] == "dining table" and dataset.raw_classes[1] == "bicycle"
    assert dataset.names[0] == "VOCdevkit/VOC2012/JPEGImages/2008_000023.jpg"
    rows = dataset.splits["train"]
    assert all(set(dataset.listed[i]) == set(np.flatnonzero(dataset.y[i] == 1)) for i in rows)
    assert sum(list(dataset.listed[i]) != sorted(dataset.listed[i]) for i in rows) == 380
    assert (
        dataset.captions[1] == "two cars driving down a city street with buildings."
        and dataset.captions[1142] == ""
    )


@needs_real_lists
def test_coco_mlt_counts(tmp_path, monkeypatch):
    dataset = real("coco_mlt", tmp_path, monkeypatch)
    train, test = check_counts(dataset, COCO_GROUPS)
    assert train.shape == (1909, 80) and test.shape == (5000, 80)
    assert (train.sum(), test.sum()) == (8316, 14631)
    assert [int((test.sum(1) == k).sum()) for k in (0, 1)] == [48, 1025] and (
        train.sum(1) == 1
    ).sum() == 40
    assert dataset.notes == {"images without a label": {"train": 0, "test": 48}}
    assert dataset.names[0] == "coco/train2017/000000554625.jpg" and len(dataset.captions) == 6909


def test_thresholds_of_the_groups():
    groups = frequency_groups(np.array([100, 99, 20, 19, 0]))
    assert [group.tolist() for group in groups.values()] == [
        [True, False, False, False, False],
        [False, True, True, False, False],
        [False, False, False, True, True],
    ]


def test_miniature_with_crlf_blanks_spaces_and_empty_labels(tmp_path):
    build_coco_mlt(tmp_path)
    dataset = coco_mlt.load(tmp_path)
    assert dataset.raw_classes[9] == "traffic light" and dataset.raw_classes[1] == "bicycle"
    assert len(dataset.splits["train"]) == 112 and len(dataset.splits["test"]) == 84
    assert not dataset.y[-1].any() and dataset.y[:-1].any(1).all()
    assert dataset.notes["images without a label"] == {"train": 0, "test": 1}
    assert dataset.open(0).mode == "RGB"
    assert dataset.captions[12] == "a picture of person and bicycle and cat."
    (tmp_path / "coco_mlt/coco_lt_captions.txt").unlink()
    assert coco_mlt.load(tmp_path).captions is None
    assert coco_mlt.missing(tmp_path) == []
    assert voc_mlt.missing(tmp_path)[0] == "voc_mlt/voc_labels.txt"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "voc_lt_train.txt",
            " 0 ",
            " 20 ",
            r"voc_lt_train\.txt, line 13: label 20, but the classes are 0 to 19",
        ),
        (
            "voc_lt_train.txt",
            "2008_000002",
            "2008_000001",
            r"listed twice, first VOCdevkit/.*2008_000001\.jpg",
        ),
        (
            "voc_lt_test.txt",
            "VOC2007/JPEGImages/900001",
            "VOC2012/JPEGImages/2008_000001",
            "of the wrong split: ",
        ),
        (
            "voc_lt_train.txt",
            ".jpg 3",
            " 3",
            r"voc_lt_train\.txt, line 1: .* is not 'image\.jpg id id …'",
        ),
        ("voc_lt_train.txt", ".jpg 3", ".jpg three", "line 1: .* is not 'image"),
        ("voc_lt_train.txt", ".jpg 3", ".jpg -3", "line 1: .* is not 'image"),
        (
            "voc_labels.txt",
            "bird 2",
            "bird 3",
            "line 4: 'boat 3' is not 'name id' with an id of its own",
        ),
        ("voc_labels.txt", "tvmonitor 19", "tvmonitor 25", "the ids are not 0 to 19"),
        (
            "voc_lt_captions.txt",
            "2008_000004",
            "2008_000005",
            "does not list the training images in the order",
        ),
    ],
)
def test_lists_that_contradict_themselves(tmp_path, file, old, new, message):
    path = build_voc_mlt(tmp_path) / file
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode())
    with pytest.raises(ValueError, match=message):
        voc_mlt.load(tmp_path)


def test_list_of_the_wrong_split(tmp_path):
    folder = build_coco_mlt(tmp_path)
    (folder / "coco_lt_train.txt").write_bytes((folder / "coco_lt_test.txt").read_bytes())
    with pytest.raises(
        ValueError,
        match=r"lt_train\.txt is of the wrong split: val2017/0+\.jpg is not in train2017",
    ):
        coco_mlt.load(tmp_path)


def test_missing_image(tmp_path):
    build_voc_mlt(tmp_path)
    (tmp_path / "VOCdevkit/VOC2012/JPEGImages/2008_000007.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 142 images are missing .*2008_000007\.jpg"):
        voc_mlt.load(tmp_path)


def test_pickles_beside_the_lists_are_never_read(tmp_path):
    folder = build_voc_mlt(tmp_path)
    before = voc_mlt.load(tmp_path)
    (folder / "class_split.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    np.testing.assert_array_equal(voc_mlt.load(tmp_path).y, before.y)
    sources = Path(_lists.__file__).parent.glob("*.py")
    assert not any(
        "import pickle" in text or text.count("np.load(") > text.count("allow_pickle=False")
        for text in (source.read_text() for source in sources)
    )
