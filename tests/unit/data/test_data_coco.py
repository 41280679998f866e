"""COCO 2014 from instances files: order, names, crowds, images without annotations, and files that
are wrong."""

import json
import pickle

import numpy as np
import pytest

from benchmark.data import coco2014
from benchmark.task import PRESENT
from tests.fixtures.miniatures import build_coco2014, coco_annotation, write_instances

ANNOTATIONS = "coco/annotations"
SEEN_IDS = [
    0, 1, 2, 3, 6, 7, 8, 13, 14, 17, 18, 21, 22, 23, 24, 26, 28, 29, 30, 33, 37, 39, 42, 44, 45,
    46, 47, 48, 49, 50, 51, 53, 54, 56, 59, 61, 62, 63, 64, 65, 68, 69, 70, 72, 73, 74, 75, 79,
]  # fmt: skip
UNSEEN_IDS = [4, 5, 15, 16, 19, 20, 25, 27, 31, 36, 41, 43, 55, 57, 66, 71, 76]


@pytest.fixture
def root(tmp_path):
    build_coco2014(tmp_path)
    return tmp_path


def edit(root, change, split="train2014"):
    path = root / ANNOTATIONS / f"instances_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_order_names_and_notes(root):
    dataset = coco2014.load(root)
    assert [len(dataset.splits[name]) for name in ("train", "test")] == [90, 82]
    assert dataset.names[0] == "coco/train2014/COCO_train2014_000000000001.jpg"
    assert dataset.names[90] == "coco/val2014/COCO_val2014_000000000201.jpg"
    assert (
        len(dataset.classes) == 80
        and dataset.classes[60] == "dining table"
        and dataset.classes[79] == "toothbrush"
    )
    # The miniature lists the categories out of order; image i shows class i % 80 among others.
    assert all(dataset.y[i - 1, i % 80] == PRESENT for i in range(1, 80))
    assert dataset.y[87].tolist() == [1] + [0] * 79  # a crowd of persons and nothing else
    assert not dataset.y[[88, 89, 170, 171]].any()  # kept, though nothing is annotated
    assert dataset.notes["images without annotations"] == {"train": 2, "test": 2}
    assert dataset.notes["crowd annotations, counted"] == {"train": 1, "test": 1}
    image = pickle.loads(pickle.dumps(dataset.open))(5)  # loader processes get the opener
    assert image.mode == "RGB"


def test_columns_are_joined_by_name_not_by_position(root):
    before = coco2014.load(root).y

    def swap(content):
        content["categories"].reverse()
        for item in content["categories"]:
            item["id"] += 1000
        for item in content["annotations"]:
            item["category_id"] += 1000

    edit(root, swap)
    np.testing.assert_array_equal(coco2014.load(root).y, before)


def test_the_48_17_split_is_the_published_one():
    assert [
        coco2014.CLASSES.index(name) for name in sorted(coco2014.SEEN, key=coco2014.CLASSES.index)
    ] == SEEN_IDS
    assert sorted(coco2014.CLASSES.index(name) for name in coco2014.UNSEEN) == UNSEEN_IDS
    assert len(coco2014.SEEN) == 48 and len(coco2014.UNSEEN) == 17


def test_samples_are_the_annotated_images_of_the_zero_shot_files(root):
    dataset = coco2014.load(root, samples=True)
    unseen = [coco2014.CLASSES.index(name) for name in coco2014.UNSEEN]
    zsl, gzsl = dataset.splits["zsl_sample"], dataset.splits["gzsl_sample"]
    assert 0 < len(zsl) < len(gzsl) <= 60 and set(zsl) <= set(gzsl) <= set(dataset.splits["test"])
    assert dataset.y[zsl][:, unseen].any(1).all()
    (root / ANNOTATIONS / "instances_val2014_gzsi_48_17.json").unlink()
    assert "gzsl_sample" not in coco2014.load(root).splits
    with pytest.raises(FileNotFoundError, match=r"gzsi_48_17\.json is missing.*test_images='all'"):
        coco2014.load(root, samples=True)


def test_sample_of_images_that_are_not_in_val2014(root):
    image = {"id": 99_999, "file_name": "COCO_val2014_000000099999.jpg"}
    names = coco2014.UNSEEN
    path = root / ANNOTATIONS / "instances_val2014_unseen_48_17.json"
    write_instances(path, [image], [coco_annotation(1, 99_999, "bus")], names)
    with pytest.raises(ValueError, match="99999, which instances_val2014"):
        coco2014.load(root, samples=True)


def test_annotation_file_of_the_wrong_split(root):
    folder = root / ANNOTATIONS
    (folder / "instances_train2014.json").write_bytes(
        (folder / "instances_val2014.json").read_bytes()
    )
    with pytest.raises(
        ValueError, match=r"train2014\.json is not of the split train2014.*COCO_val2014_"
    ):
        coco2014.load(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["images"].append({**c["images"][0]}),
            "listed twice, first COCO_train2014_000000000001",
        ),
        (
            lambda c: c["images"][1].update(id=c["images"][0]["id"]),
            r"image ids\): 1 images listed twice, first 1",
        ),
        (lambda c: c["annotations"][0].update(image_id=4_242), "annotation 1 points to image 4242"),
        (lambda c: c["annotations"][0].update(category_id=12), "category 12"),
        (lambda c: c["categories"][0].update(name="unicorn"), "COCO has no class 'unicorn'"),
        (lambda c: c["annotations"][0].pop("category_id"), "not an inst.*field `category_id`"),
        (lambda c: c["images"][0].pop("file_name"), "not an instances file.*field `file_name`"),
        (lambda c: c.update(images=[7]), "not an instances file.*Expected `object`, got `int`"),
        (lambda c: c["categories"].pop(), "79 categories instead of 80"),
        (lambda c: c.pop("annotations"), "not an instances file of COCO.*field `annotations`"),
        (
            lambda c: c["annotations"][2].update(image_id="7"),
            r"Expected `int`, got `str` - at `\$.annotations\[2\].image_id`",
        ),
    ],
)
def test_contradictions_are_errors_that_name_the_file(root, change, message):
    edit(root, change)
    with pytest.raises(ValueError, match=message) as caught:
        coco2014.load(root)
    assert "instances_train2014.json" in str(caught.value)


def test_cut_json_and_missing_image(root):
    path = root / ANNOTATIONS / "instances_val2014.json"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"instances_val2014\.json is not valid JSON"):
        coco2014.load(root)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"instances_val2014\.json is not valid JSON"):
        coco2014.load(root)
    path.write_text(whole)
    (root / "coco/val2014/COCO_val2014_000000000203.jpg").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 of 172 images are missing .*COCO_val2014_000000000203\.jpg"
    ):
        coco2014.load(root)


def test_missing_lists_what_is_wanted(tmp_path):
    assert coco2014.missing(tmp_path) == [
        "coco/annotations/instances_train2014.json",
        "coco/annotations/instances_val2014.json",
        "coco/train2014",
        "coco/val2014",
    ]
