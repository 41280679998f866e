"""NUS-WIDE from the official lists and matrices: sorted union of tags and concepts, images gone
from Flickr."""

import numpy as np
import pytest

from benchmark.data import nus_wide
from benchmark.task import PRESENT
from tests.fixtures.miniatures import CONCEPTS, TAGS, build_nus_wide


@pytest.fixture
def root(tmp_path):
    build_nus_wide(tmp_path)
    return tmp_path


def test_classes_are_the_sorted_union_and_the_split_follows_from_the_files(root):
    dataset = nus_wide.load(root)
    assert (
        dataset.raw_classes == tuple(sorted({*TAGS, *CONCEPTS})) and len(dataset.raw_classes) == 16
    )
    seen, unseen = nus_wide.zero_shot_split(dataset)
    assert unseen == tuple(sorted(CONCEPTS))
    assert seen == tuple(sorted(set(TAGS) - set(CONCEPTS)))
    assert dataset.notes["classes"] == "6 tags (noisy) and 10 concepts (checked)"


def test_union_of_the_real_sizes(tmp_path):
    tags = tuple(f"tag{i:04d}" for i in range(1000))
    # 75 in common, as in the official lists
    concepts = tags[925:] + tuple(f"concept{i}" for i in range(6))
    build_nus_wide(tmp_path, tags, concepts)
    dataset = nus_wide.load(tmp_path)
    seen, unseen = nus_wide.zero_shot_split(dataset)
    assert (len(dataset.classes), len(seen), len(unseen)) == (1006, 925, 81)
    assert list(dataset.raw_classes) == sorted(dataset.raw_classes)


def test_labels_of_concepts_are_the_ground_truth_not_the_tags(root):
    folder = root / "nus_wide/Groundtruth/TrainTestLabels"
    dataset = nus_wide.load(root)
    rows = dataset.splits["test"]
    for concept in CONCEPTS:
        truth = np.loadtxt(folder / f"Labels_{concept}_Test.txt", dtype=np.int8)
        np.testing.assert_array_equal(dataset.y[rows, dataset.raw_classes.index(concept)], truth)
    tags = np.loadtxt(root / "nus_wide/NUS_WID_Tags/Test_Tags1k.dat", dtype=np.int8)
    for tag in set(TAGS) - set(CONCEPTS):
        np.testing.assert_array_equal(
            dataset.y[rows, dataset.raw_classes.index(tag)], tags[:, TAGS.index(tag)]
        )
    assert (dataset.y[rows] == PRESENT).any(0).all()


def test_images_gone_from_flickr_are_counted_or_an_error(root):
    dataset = nus_wide.load(root)
    assert [len(dataset.splits[name]) for name in ("train", "test")] == [39, 32]
    assert dataset.notes["listed images that are not on disk, left out"] == {"train": 1, "test": 0}
    # row 1 of the list: row 0 is gone
    assert dataset.names[0] == "nus_wide/Flickr/airport/0001_2124494180.jpg"
    tags = np.loadtxt(root / "nus_wide/NUS_WID_Tags/Train_Tags1k.dat", dtype=np.int8)
    np.testing.assert_array_equal(
        dataset.y[:39, dataset.raw_classes.index("art")], tags[1:, TAGS.index("art")]
    )
    with pytest.raises(
        FileNotFoundError, match=r"1 of 72 images are missing .*0000_2124494179\.jpg"
    ):
        nus_wide.load(root, missing_images="error")


def test_no_image_at_all_is_an_error(root):
    (root / "nus_wide/Flickr").rename(root / "nus_wide/Images")
    (root / "nus_wide/Flickr").mkdir()
    with pytest.raises(FileNotFoundError, match="none of the images of TrainImagelist"):
        nus_wide.load(root)


@pytest.mark.parametrize("text", ["0\n1\n", "0\n" * 31 + "2\n", "0\n" * 33, "0 1\n" * 32])
def test_matrix_that_does_not_fit_the_list(root, text):
    (root / "nus_wide/Groundtruth/TrainTestLabels/Labels_sky_Test.txt").write_text(text)
    with pytest.raises(
        ValueError, match=r"Labels_sky_Test\.txt should hold 32 lines of 1 zeros or ones"
    ):
        nus_wide.load(root)


def test_missing_ground_truth_of_a_concept_and_duplicates(root):
    path = root / "nus_wide/ImageList/TestImagelist.txt"
    text = path.read_text()
    path.write_text(text + text.splitlines()[0] + "\n")
    with pytest.raises(ValueError, match="should hold 33 lines"):
        nus_wide.load(root)
    lines = text.splitlines()
    path.write_text("\n".join([lines[1], *lines[1:]]))
    with pytest.raises(ValueError, match="listed twice"):
        nus_wide.load(root)
    path.write_text(text)
    (root / "nus_wide/Groundtruth/TrainTestLabels/Labels_sky_Train.txt").unlink()
    with pytest.raises(FileNotFoundError, match="labels of 'sky'"):
        nus_wide.load(root)
    assert "nus_wide/ConceptsList/Concepts81.txt" in nus_wide.missing(root / "elsewhere")
