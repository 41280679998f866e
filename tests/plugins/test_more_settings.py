"""Single positive labels, few shots, skewed and community masks: the published draws bit for bit,
and properties over many inputs."""

import hashlib
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark import data, registry
from benchmark.data._files import split_rows
from benchmark.data.voc2007 import CLASSES
from benchmark.task import ABSENT, PRESENT, UNKNOWN, Dataset
from settings import _masks as masks
from settings import few_shot, partial, single_positive
from tests.fixtures.golden import golden
from tests.fixtures.miniatures import build_all
from tests.unit.data.test_data_voc2012 import real


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return build_all(tmp_path_factory.mktemp("data"))


@pytest.fixture
def found(root, monkeypatch):
    monkeypatch.setenv("LOWLABEL_DATA", str(root))
    return root


# ---- masks ---------------------------------------------------------------------------------------


def test_labels_of_cole_bit_for_bit():
    vectors = golden("setting_cole.npz")
    full, other = vectors["labels_full"].astype(np.int8), int(vectors["seed_X"])
    for name, positives, negatives, seed in (
        ("obs_p1n0_s1200", 1, 0, 1200),
        ("obs_p1n0_sX", 1, 0, other),
        ("obs_p2n1_s1200", 2, 1, 1200),
        ("obs_palln0_s1200", None, 0, 1200),
        ("obs_p1n3_s5", 1, 3, 5),
    ):
        observed = masks.cole_labels(full, seed, positives, negatives)
        theirs = np.where(observed == UNKNOWN, 0, np.where(observed == ABSENT, -1, 1))
        np.testing.assert_array_equal(theirs, vectors[name])


def test_split_of_cole_bit_for_bit():
    vectors = golden("setting_cole.npz")
    for key, n in (("25", 25), ("100", 100), ("X", int(vectors["split_n_X"]))):
        val = masks.cole_split(n, 0.2, 1200)
        np.testing.assert_array_equal(np.flatnonzero(val), vectors[f"split_val_{key}"])
        np.testing.assert_array_equal(np.flatnonzero(~val), vectors[f"split_train_{key}"])


def test_cole_on_the_real_lists_of_voc2012(monkeypatch):
    """Labels, held-out images and order are those of the papers."""
    vectors = golden("setting_voc2012_real.npz")
    (train, y), (test, test_y) = (real(part)[:2] for part in ("train", "val"))
    names, splits = (*train, *test), split_rows(len(train), len(test))
    y = np.concatenate([y, test_y])
    sizes = np.zeros(len(y), np.int64)
    lists = Dataset("voc2012", CLASSES, CLASSES, names, sizes, y, splits, open=None)
    monkeypatch.setattr(data, "load", lambda name, **options: lists)
    setting = registry.make("settings", "single_positive", {"dataset": "voc2012"}, "cole")
    task = setting.build(seed=3)  # whatever the seed
    np.testing.assert_array_equal(np.sort(task.val.rows), vectors["split_val_idx"])
    assert len(task.train.y) == vectors["split_train_n"] == 4574
    order = np.argsort(np.concatenate([task.train.rows, task.val.rows]))
    kept = vectors["train_obs_class"][task.train.rows]
    assert (task.train.y[np.arange(len(kept)), kept] == PRESENT).all()
    assert ((task.train.y == PRESENT).sum(1) == 1).all() and not (task.train.y == ABSENT).any()
    assert len(order) == 5717 and (task.val.y != UNKNOWN).all()  # "clean" validation labels
    for part, own in (("train", y[:5717]), ("val", test_y)):
        observed = masks.cole_labels(own, 1200) == PRESENT
        digest = hashlib.sha256(observed.astype(np.int8).tobytes()).hexdigest()
        assert digest == vectors[f"{part}_sha256_obs_int8"]
        np.testing.assert_array_equal(observed.argmax(1), vectors[f"{part}_obs_class"])
        np.testing.assert_array_equal(observed.sum(0), vectors[f"{part}_obs_counts"])
    other = vectors["scpnet_train_class"]  # the protocol "splc": another draw
    assert "78 %" in single_positive.APART
    assert round(100 * (other == vectors["train_obs_class"]).mean()) == 78
    assert round(100 * (y[np.arange(5717), other] == PRESENT).mean()) == 96  # else difficult


def test_community_mask_bit_for_bit():
    vectors = golden("setting_hcp_mask.npz")
    full = np.where(vectors["labels"] > 0, PRESENT, ABSENT)
    for known in (0.1, 0.3, 0.5, 0.9):
        masked = masks.hide(full, masks.community_mask(*full.shape, known))
        theirs = np.where(masked == UNKNOWN, 0, np.where(masked == ABSENT, -1, 1))
        np.testing.assert_array_equal(theirs, vectors[f"changed_{known}"])


def test_community_mask_of_coco_counts_every_image_of_the_file(found):
    """Rows are all images in the order of the json, also those without annotations, which are left
    out only afterwards."""
    everything = partial.Setting(dataset="coco2014", mask="community", val_fraction=0.0).build(0)
    dropped = partial.Setting(
        dataset="coco2014", mask="community", val_fraction=0.0, empty_images="drop"
    ).build(7)
    n, classes = everything.train.y.shape
    drawn = np.random.RandomState(0).random_sample((n, classes)) < 0.5
    np.testing.assert_array_equal(everything.train.y != UNKNOWN, drawn)
    kept = np.isin(everything.train.rows, dropped.train.rows)
    assert not kept.all()
    np.testing.assert_array_equal(dropped.train.y != UNKNOWN, drawn[kept])


@given(
    frequency=st.lists(st.floats(0.001, 1), min_size=1, max_size=30).map(np.array),
    known=st.floats(0.01, 1),
)
def test_known_rates_follow_frequency_and_keep_the_total(frequency, known):
    rates = masks.known_by_frequency(frequency, known)
    assert rates.mean() == pytest.approx(known) and (rates <= 1 + 1e-9).all() and (rates > 0).all()
    below = rates < 1 - 1e-9
    assert np.ptp(rates[below] / frequency[below]) < 1e-6 if below.any() else True


def test_skewed_mask_knows_frequent_classes_and_nests():
    rng = np.random.default_rng(0)
    y = (rng.random((4000, 6)) < [0.4, 0.2, 0.1, 0.05, 0.02, 0]).astype(np.int8)
    low, high = (masks.known_mask("skewed", y, known, "toy", 0) for known in (0.1, 0.3))
    assert not (low & ~high).any() and abs(high.mean() - 0.3) < 0.01
    assert (np.diff(high.mean(0)) < 0).all() and not high[:, 5].any()


def test_sized_mask_knows_large_objects_and_nests(found):
    y, areas = data.load("digits").y, data.object_areas("digits")
    np.testing.assert_array_equal(areas > 0, y == PRESENT)
    low, high = (masks.sized_mask(y, areas, known, "digits", 0) for known in (0.1, 0.3))
    assert not (low & ~high).any()
    present = y == PRESENT
    for cells in (present, ~present):
        assert abs(high[cells].mean() - 0.3) < 0.02
    large = areas > np.median(areas[present])
    assert high[large].mean() > 1.4 * high[present & ~large].mean()


def test_a_mask_by_size_through_the_setting(found):
    task = partial.Setting(mask="sized", known=0.3).build(0)
    plain = partial.Setting(known=0.3).build(0)
    np.testing.assert_array_equal(task.val.rows, plain.val.rows)
    assert not np.array_equal(task.train.y, plain.train.y)
    assert partial.Setting(mask="sized", dataset="voc2007").skip(None).startswith("mask by size")
    assert partial.Setting(mask="sized", dataset="coco2014").skip(None) == ""


def test_sizes_of_cocos_objects_are_parts_of_their_images(found):
    areas, y = data.object_areas("coco2014"), data.load("coco2014").y
    assert areas.shape == y.shape and areas.max() <= 1
    assert (areas[y != PRESENT] == 0).all() and (areas[y == PRESENT] > 0).all()


def test_whole_images_as_in_cap_bit_for_bit():
    vectors = golden("setting_cap.npz")
    for n in (100, 5717):
        chosen = masks.labelled_images(n, 0.05)
        np.testing.assert_array_equal(
            np.flatnonzero(chosen), np.sort(vectors[f"lb_idx_seed1_n{n}_r0.05"])
        )
    for mask in ("images", "cap"):
        first, other = (partial.Setting(mask=mask, known=0.1).build(seed) for seed in (0, 1))
        whole = (first.train.y != UNKNOWN).mean(axis=1)
        assert set(whole) == {0.0, 1.0} and abs(whole.mean() - 0.1) < 0.02
        drawn = [np.sort(task.train.rows[task.train.y[:, 0] != UNKNOWN]) for task in (first, other)]
        both = np.intersect1d(*drawn)
        assert len(both) < len(drawn[0]) / 2 if mask == "images" else len(both) > len(drawn[0]) / 2


def test_cells_per_class_and_dropped_labels_bit_for_bit():
    vectors = golden("losses_csl.npz")
    y, seed = vectors["sim_labels"].astype(np.int8), int(vectors["sim_seed"])
    known = masks.fixed_per_class(y, 4, seed)
    np.testing.assert_array_equal(masks.hide(y, known), vectors["sim_fpc_4"])
    for dropped in (0.5, 0.8):
        known = masks.random_per_sample(*y.shape, dropped, seed)
        np.testing.assert_array_equal(masks.hide(y, known), vectors[f"sim_rps_{dropped}"])


def test_so_many_cells_of_each_class(found):
    task = few_shot.Setting(labels="cells", shots=3, val_shots=2).build(0)
    for part, count in ((task.train, 3), (task.val, 2)):
        assert ((part.y == PRESENT).sum(0) == count).all() and (
            (part.y == ABSENT).sum(0) == count
        ).all()
    assert not set(task.train.rows) & set(task.val.rows)


# ---- single positive -----------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["cole", "splc"])
@pytest.mark.parametrize("dataset", ["coco2014", "voc2007", "pictograms"])
def test_one_known_label_an_image_and_images_without_one_left_out(found, protocol, dataset):
    task = single_positive.Setting(dataset=dataset, protocol=protocol).build(0)
    for part in (task.train, task.val):
        assert ((part.y == PRESENT).sum(1) == 1).all() and not (part.y == ABSENT).any()
        truth = task.dataset.y[part.rows]
        assert (truth[part.y == PRESENT] == PRESENT).all()
    assert not set(task.train.rows) & set(task.val.rows)
    assert (task.test.y == PRESENT).any(1).all()
    assert protocol in task.dataset.notes["protocol"]


def test_order_of_cole_on_coco_is_that_of_numbers_as_text():
    names = tuple(f"coco/train2014/COCO_train2014_{i:012d}.jpg" for i in (9, 100, 25, 3))
    toy = Dataset("coco2014", (), (), names, np.zeros(4), np.zeros((4, 1)), {}, open=None)
    np.testing.assert_array_equal(masks.cole_order(toy, np.arange(4)), [1, 2, 3, 0])


def test_unlisted_labels_may_be_told_as_absent(found):
    task = single_positive.Setting(unlisted="absent").build(0)
    assert not (task.train.y == UNKNOWN).any() and ((task.train.y == PRESENT).sum(1) == 1).all()


def test_difficult_objects_count_in_the_line_of_splc_only(found):
    cole, splc = (
        single_positive.Setting(dataset="voc2007", protocol=p).build(0) for p in ("cole", "splc")
    )
    assert (splc.test.y == PRESENT).sum() > (cole.test.y == PRESENT).sum()


def test_seeds_draw_anew_unless_the_published_labels_are_asked_for(found):
    seeded, published = single_positive.Setting(), single_positive.Setting(draw="published")
    assert not np.array_equal(seeded.build(0).train.y, seeded.build(1).train.y)
    np.testing.assert_array_equal(published.build(0).train.y, published.build(1).train.y)


# ---- few shots -----------------------------------------------------------------------------------


@given(
    y=st.integers(0, 999).map(
        lambda seed: np.random.default_rng(seed).integers(0, 2, (60, 4)).astype(np.int8)
    ),
    count=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_shots_are_k_images_of_each_class_no_image_twice_and_nested(y, count, seed):
    rounds, classes = masks.shots(y, count, seed)
    for c in range(4):
        own = classes == c
        assert own.sum() == count and (y[own, c] == PRESENT).all()
    fewer, _ = masks.shots(y, 1, seed)
    np.testing.assert_array_equal(fewer == 0, rounds == 0)


def test_more_shots_contain_fewer_and_share_their_validation_part(found):
    four, two = (few_shot.Setting(shots=k).build(0) for k in (4, 2))
    assert set(two.train.rows) < set(four.train.rows)
    np.testing.assert_array_equal(two.val.rows, four.val.rows)
    assert len(four.train.rows) == len(four.val.rows) == 4 * 20
    assert not (four.train.y == UNKNOWN).any()
    single = few_shot.Setting(shots=4, labels="single").build(0)
    np.testing.assert_array_equal(single.train.rows, four.train.rows)
    assert ((single.train.y == PRESENT).sum(1) == 1).all() and not (single.train.y == ABSENT).any()


def test_too_few_images_of_a_class_is_said(found):
    with pytest.raises(ValueError, match="too few for 2004 images of every class"):
        few_shot.Setting(shots=2000).build(0)


# ---- fields, presets, run ids --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["few_shot", "single_positive"])
@pytest.mark.parametrize("dataset", ["voc2007", "voc2012", "coco2014", "pictograms"])
def test_presets_come_back(name, dataset):
    module = {"few_shot": few_shot, "single_positive": single_positive}[name]
    plain = registry.make("settings", name, {"dataset": dataset})
    assert plain.preset == "clean"
    for preset in module.Setting.PRESETS:
        setting = registry.make("settings", name, {"dataset": dataset, "preset": preset})
        assert setting.preset == preset
        described = registry.describe(name, setting)
        assert registry.describe(name, registry.rebuild("settings", described)) == described


@pytest.mark.parametrize("module", [few_shot, single_positive])
def test_every_field_can_be_explained(module):
    assert set(module.EXPLANATIONS) == {field.name for field in fields(module.Setting)}
    assert all("{a}" in text and "{b}" in text for text in module.EXPLANATIONS.values())


def test_fields_without_meaning_never_make_a_second_run():
    plain = single_positive.Setting(protocol="splc")
    assert single_positive.Setting(protocol="splc", draw="published") == plain
    nothing = replace(plain, val_fraction=0.0)
    assert replace(nothing, val_labels="clean") == nothing


@pytest.mark.parametrize(
    ("module", "values", "message"),
    [
        (single_positive, {"protocol": "epr"}, "protocol='epr' is not one of 'cole', 'splc'"),
        (single_positive, {"val_fraction": 2}, "val_fraction=2.0 is not a fraction"),
        (few_shot, {"shots": 0}, "shots=0 and val_shots=4 count images"),
        (few_shot, {"labels": "some"}, "'all', 'single'"),
    ],
)
def test_bad_fields_list_the_choices(module, values, message):
    with pytest.raises(ValueError, match=message):
        module.Setting(**values)
