"""The three settings: masks, held-out images, views, presets, fields that do not apply; properties
over many inputs."""

from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as options
from hypothesis import strategies as st

from benchmark import data, registry
from benchmark.task import ABSENT, PRESENT, UNKNOWN, Dataset
from settings import long_tail, partial, zero_shot
from settings._masks import community_mask, held_out, hide, known_mask, nested_mask
from tests.fixtures.miniatures import build_all

OPEN, CLOSED = SimpleNamespace(open_vocabulary=True), SimpleNamespace(open_vocabulary=False)
RATIO = st.floats(0.01, 1)
KNOWN = [
    0.1009,
    0.2016,
    0.3010,
    0.3998,
    0.5005,
    0.6015,
    0.6997,
    0.7996,
    0.8998,
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return build_all(tmp_path_factory.mktemp("data"))


@pytest.fixture
def found(root, monkeypatch):
    monkeypatch.setenv("LOWLABEL_DATA", str(root))
    return root


def toy(y, test=5, name="toy", classes=None):
    """A data set with labels y (N, C), the last `test` rows for test."""
    n, count = y.shape
    classes = classes or tuple(f"class {i}" for i in range(count))
    raw = tuple(name.replace(" ", "") for name in classes)
    splits = {"train": np.arange(n - test), "test": np.arange(n - test, n)}
    return Dataset(
        name, classes, raw, tuple(map(str, range(n))), np.zeros(n, np.int64), y, splits, open=None
    )


# ---- masks ---------------------------------------------------------------------------------------


def test_community_mask_is_the_published_one():
    fractions = [community_mask(5011, 20, p / 10).mean().round(4) for p in range(1, 10)]
    assert fractions == KNOWN
    without = [int((~community_mask(5011, 20, p / 10)).all(1).sum()) for p in range(1, 5)]
    assert without == [533, 49, 3, 0]


@given(
    n=st.integers(1, 60),
    classes=st.integers(1, 20),
    seed=st.integers(0, 9),
    ratios=st.tuples(RATIO, RATIO),
)
@pytest.mark.parametrize("kind", ["nested", "community"])
def test_masks_are_nested_and_depend_on_names_alone(kind, n, classes, seed, ratios):
    low, high, again, everything = (
        known_mask(kind, np.zeros((n, classes), np.int8), known, "voc2007", seed)
        for known in (*sorted(ratios), min(ratios), 1.0)
    )
    assert not (low & ~high).any() and everything.all()
    np.testing.assert_array_equal(low, again)


@given(known=st.floats(0.02, 0.98), seed=st.integers(0, 99))
def test_realised_rate_is_near_the_asked_one(known, seed):
    rate = nested_mask(1000, 20, known, "voc2007", seed).mean()
    assert abs(rate - known) < 5 * np.sqrt(known * (1 - known) / 20_000)


def test_masks_of_two_seeds_and_two_data_sets_differ():
    masks = [
        nested_mask(200, 20, 0.5, name, seed) for name in ("voc2007", "coco2014") for seed in (0, 1)
    ]
    agreement = [(a == b).mean() for i, a in enumerate(masks) for b in masks[:i]]
    assert all(0.4 < value < 0.6 for value in agreement)


@given(n=st.integers(1, 300), fraction=st.floats(0, 0.99), seed=st.integers(0, 5))
def test_held_out_has_the_asked_size_and_grows_with_it(n, fraction, seed):
    chosen = held_out(n, fraction, "toy", seed)
    assert chosen.sum() == (max(1, round(fraction * n)) if fraction else 0)
    assert not (held_out(n, fraction / 2, "toy", seed) & ~chosen).any() or fraction == 0


# ---- properties of every setting's tasks ---------------------------------------------------------

LABELS = st.integers(0, 2**32 - 1).map(
    lambda s: (np.random.default_rng(s).random((60, 6)) < 0.4).astype(np.int8)
)
SETTINGS = {
    "partial": lambda known: partial.Setting(dataset="pictograms", known=known, val_fraction=0.2),
    "zero_shot": lambda known: zero_shot.Setting(
        dataset="pictograms65", val_fraction=0.2, train_images="hide"
    ),
    "long_tail": lambda known: long_tail.Setting(
        dataset="pictograms_lt", known=known, val_fraction=0.2
    ),
}


def build(name, y, known, seed=0):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda dataset, **loading: toy(y))
        patch.setattr(
            zero_shot,
            "seen_and_unseen",
            lambda dataset, loaded: (loaded.raw_classes[:4], ("class4",)),
        )
        return SETTINGS[name](known).build(seed)


@options(deadline=None, max_examples=25)
@given(
    name=st.sampled_from(list(SETTINGS)), y=LABELS, known=st.floats(0.1, 1), seed=st.integers(0, 3)
)
def test_parts_are_disjoint_and_states_are_legal(name, y, known, seed):
    task = build(name, y, known, seed)
    rows = [set(part.rows.tolist()) for part in (task.train, task.val, task.test)]
    assert not rows[0] & rows[1] and not rows[0] & rows[2] and not rows[1] & rows[2]
    assert rows[0] | rows[1] <= set(range(55)) and rows[2] <= set(range(55, 60))
    assert len(task.val.rows) and len(task.train.rows)
    columns = [int(raw.removeprefix("class ")) for raw in task.classes]
    for part in (task.train, task.val):
        assert part.y.dtype == np.int8 and part.y.shape == (len(part.rows), len(task.classes))
        visible = part.y != UNKNOWN
        np.testing.assert_array_equal(part.y[visible], y[part.rows][:, columns][visible])
        assert not visible[:, ~task.seen].any()
    np.testing.assert_array_equal(task.test.y, y[task.test.rows][:, columns])
    for view in task.views.values():
        assert view.rows.shape == (len(task.test.rows),) and view.columns.shape == (
            len(task.classes),
        )
        assert view.rows.dtype == view.columns.dtype == bool


@options(deadline=None, max_examples=25)
@given(name=st.sampled_from(list(SETTINGS)), y=LABELS, known=st.floats(0.1, 0.9))
def test_hidden_labels_change_nothing_that_a_method_sees(name, y, known):
    before = build(name, y, known)
    changed = y.copy()
    columns = [int(raw.removeprefix("class ")) for raw in before.classes]
    hidden = 0
    for part in (before.train, before.val):
        cells = np.ix_(part.rows, columns)
        changed[cells] = np.where(part.y == UNKNOWN, 1 - y[cells], y[cells])
        hidden += (part.y == UNKNOWN).sum()
    assert (changed != y).sum() == hidden > 0
    after = build(name, changed, known)
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(before, part).rows, getattr(after, part).rows)
        np.testing.assert_array_equal(getattr(before, part).y, getattr(after, part).y)


@options(deadline=None, max_examples=25)
@given(y=LABELS, ratios=st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)))
def test_tasks_are_nested_over_ratios(y, ratios):
    low, high = (build("partial", y, known) for known in sorted(ratios))
    for part in ("train", "val"):
        a, b = getattr(low, part), getattr(high, part)
        np.testing.assert_array_equal(a.rows, b.rows)
        known = a.y != UNKNOWN
        np.testing.assert_array_equal(a.y[known], b.y[known])


@options(deadline=None, max_examples=25)
@given(y=LABELS, noise=LABELS, name=st.sampled_from(list(SETTINGS)))
def test_test_labels_reach_neither_train_nor_val(y, noise, name):
    changed = y.copy()
    changed[55:] = noise[55:]
    before, after = build(name, y, 0.5), build(name, changed, 0.5)
    for part in ("train", "val"):
        np.testing.assert_array_equal(getattr(before, part).rows, getattr(after, part).rows)
        np.testing.assert_array_equal(getattr(before, part).y, getattr(after, part).y)


# ---- partial -------------------------------------------------------------------------------------


def test_difficult_ignored_is_unknown_in_test_and_never_a_known_label(found):
    task = partial.Setting(
        dataset="voc2007", difficult="ignore", known=1.0, val_fraction=0.0
    ).build(0)
    assert (task.test.y == UNKNOWN).sum() == 3 and (task.train.y == UNKNOWN).sum() == 3
    absent = partial.Setting(dataset="voc2007", known=1.0, val_fraction=0.0).build(0)
    assert (absent.test.y == UNKNOWN).sum() == 0 and len(absent.val.rows) == 0
    hidden = task.test.y == UNKNOWN
    assert (absent.test.y[hidden] == ABSENT).all()


def test_names_raw_or_prompt_ready(found):
    assert partial.Setting(dataset="voc2007").build(0).classes[10] == "dining table"
    assert (
        partial.Setting(dataset="voc2007", class_names="raw").build(0).classes[10] == "diningtable"
    )


def test_community_mask_on_a_data_set_and_for_every_seed(found):
    tasks = [
        partial.Setting(dataset="voc2007", mask="community", known=0.3, val_fraction=0).build(s)
        for s in (0, 1)
    ]
    expected = hide(
        data.load("voc2007").y[:42], np.random.RandomState(0).random_sample((42, 20)) < 0.3
    )
    for task in tasks:
        np.testing.assert_array_equal(task.train.y, expected)


def test_dropping_empty_images_keeps_the_labels_of_the_others(found):
    keep = partial.Setting(dataset="coco2014", known=0.5).build(0)
    drop = partial.Setting(dataset="coco2014", known=0.5, empty_images="drop").build(0)
    assert len(keep.train.rows) + len(keep.val.rows) == 90 and len(keep.test.rows) == 82
    assert len(drop.train.rows) + len(drop.val.rows) == 88 and len(drop.test.rows) == 80
    assert drop.dataset.notes["dropped images without annotations"] == {"train": 2, "test": 2}
    shared = np.isin(keep.train.rows, drop.train.rows)
    np.testing.assert_array_equal(keep.train.y[shared], drop.train.y)
    assert keep.dataset.fingerprint() == drop.dataset.fingerprint()


# ---- zero_shot -----------------------------------------------------------------------------------


def test_coco_48_17_views_and_columns(found):
    task = zero_shot.Setting(dataset="coco2014").build(0)
    assert len(task.classes) == 65 and task.seen.sum() == 48 and "dining table" not in task.classes
    assert list(task.views) == ["zsl", "gzsl", "seen", "unseen"]
    assert [int(view.columns.sum()) for view in task.views.values()] == [17, 65, 48, 17]
    unseen = task.groups["unseen"]
    np.testing.assert_array_equal(
        task.views["zsl"].rows, (task.test.y[:, unseen] == PRESENT).any(1)
    )
    assert (task.test.y == PRESENT).any(1).all() and task.views["gzsl"].rows.all()
    assert task.classes.index("airplane") == 4 and unseen[4] and task.groups["seen"][0]


def test_training_images_with_unseen_classes_are_dropped_or_their_labels_hidden(found):
    dataset = data.load("coco2014")
    from benchmark.data.coco2014 import CLASSES, SEEN, UNSEEN

    seen, unseen = np.isin(CLASSES, SEEN), np.isin(CLASSES, UNSEEN)
    drop = zero_shot.Setting(dataset="coco2014", val_fraction=0.0).build(0)
    hidden = zero_shot.Setting(dataset="coco2014", val_fraction=0.0, train_images="hide").build(0)
    assert (
        not dataset.y[drop.train.rows][:, unseen].any()
        and dataset.y[hidden.train.rows][:, unseen].any()
    )
    for task in (drop, hidden):
        assert dataset.y[task.train.rows][:, seen].any(1).all()
        assert (task.train.y[:, ~task.seen] == UNKNOWN).all() and (
            task.train.y[:, task.seen] != UNKNOWN
        ).all()
    counts = drop.dataset.notes["left out of train"]
    assert len(drop.train.rows) == 90 - sum(counts.values())
    assert set(drop.train.rows) < set(hidden.train.rows)


def test_published_sample_of_test_images(found):
    task = zero_shot.Setting(dataset="coco2014", test_images="sample").build(0)
    dataset = data.load("coco2014", samples=True)
    np.testing.assert_array_equal(task.test.rows, dataset.splits["gzsl_sample"])
    np.testing.assert_array_equal(
        task.test.rows[task.views["zsl"].rows], dataset.splits["zsl_sample"]
    )
    assert task.dataset.notes["test images"] == "sample"


def test_nus_wide_split_and_pictograms(found):
    task = zero_shot.Setting(dataset="nus_wide").build(0)
    assert (len(task.classes), int(task.seen.sum())) == (16, 6)
    assert "zebra" in task.classes and not task.seen[task.classes.index("zebra")]
    embedded = zero_shot.Setting().build(0)
    assert (len(embedded.classes), int(embedded.seen.sum())) == (65, 48)


def test_skip_says_why():
    assert zero_shot.Setting().skip(OPEN) == ""
    assert zero_shot.Setting().skip(CLOSED).startswith("closed vocabulary")
    assert "voc2007 has no seen/unseen split" in zero_shot.Setting(dataset="voc2007").skip(OPEN)
    assert partial.Setting().skip(CLOSED) == long_tail.Setting().skip(CLOSED) == ""


def test_split_that_names_a_class_the_data_set_lacks(found, monkeypatch):
    monkeypatch.setattr(
        zero_shot, "seen_and_unseen", lambda name, dataset: (("person",), ("unicorn",))
    )
    with pytest.raises(ValueError, match="names 'unicorn', which is none of its classes"):
        zero_shot.Setting(dataset="coco2014").build(0)


# ---- long_tail -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["voc_mlt", "coco_mlt", "pictograms_lt"])
def test_long_tail_views_and_captions(found, dataset):
    task = long_tail.Setting(dataset=dataset, val_fraction=0.0).build(0)
    assert list(task.views) == ["all", "head", "medium", "tail", "single", "multi"]
    counts = (task.train.y == PRESENT).sum(0)
    np.testing.assert_array_equal(task.views["head"].columns, counts >= 100)
    np.testing.assert_array_equal(task.views["tail"].columns, counts < 20)
    assert (sum(group.astype(int) for group in task.groups.values()) == 1).all()
    labels = (task.test.y == PRESENT).sum(1)
    assert (labels[task.views["single"].rows] == 1).all() and (
        labels[task.views["multi"].rows] > 1
    ).all()
    if dataset != "pictograms_lt":
        assert all(task.dataset.captions[row] for row in task.train.rows)


@options(deadline=None, max_examples=30)
@given(y=LABELS, fraction=st.floats(0, 0.9), seed=st.integers(0, 9))
def test_no_class_loses_more_than_half_of_its_positives(y, fraction, seed):
    val = long_tail.held_out_sparing(y, fraction, "toy", seed)
    total, kept = (y == PRESENT).sum(0), (y[~val] == PRESENT).sum(0)
    assert (2 * kept >= total).all() and val.sum() <= round(fraction * len(y))


def test_groups_follow_from_the_whole_list_whatever_is_held_out_or_hidden(found):
    whole = long_tail.Setting(dataset="voc_mlt", val_fraction=0.0).build(0)
    part = long_tail.Setting(dataset="voc_mlt", val_fraction=0.2, known=0.3).build(1)
    assert len(part.val.rows) == 22
    for name, group in whole.groups.items():
        np.testing.assert_array_equal(part.groups[name], group)


# ---- fields, presets, run ids --------------------------------------------------------------------


def description(setting):
    return registry.describe("name", setting)


def test_a_field_without_meaning_never_makes_a_second_run():
    assert description(partial.Setting(difficult="ignore", class_names="raw")) == description(
        partial.Setting()
    )
    assert description(partial.Setting(dataset="coco2014", difficult="ignore")) == description(
        partial.Setting(dataset="coco2014")
    )
    assert description(partial.Setting(dataset="voc2007", difficult="ignore")) != description(
        partial.Setting(dataset="voc2007")
    )
    assert description(zero_shot.Setting(test_images="sample")) == description(zero_shot.Setting())
    assert replace(partial.Setting(), dataset="voc2007").difficult == "absent"


@pytest.mark.parametrize("name", ["partial", "zero_shot", "long_tail"])
@pytest.mark.parametrize("dataset", ["voc2007", "coco2014", "nus_wide", "voc_mlt", "pictograms"])
def test_presets_are_complete_recorded_and_come_back(name, dataset):
    plain = registry.make("settings", name, {"dataset": dataset})
    clean = registry.make("settings", name, {"dataset": dataset, "preset": "clean"})
    paper = registry.make("settings", name, {"dataset": dataset, "preset": "paper"})
    assert (
        plain == clean
        and clean.preset == "clean"
        and paper.preset == "paper"
        and paper.val_fraction == 0
    )
    for setting in (clean, paper):
        text = registry.describe(name, setting)
        assert registry.describe(name, registry.rebuild("settings", text)) == text
    changed = registry.make(
        "settings", name, {"dataset": dataset, "preset": "paper", "val_fraction": 0.3}
    )
    assert changed.preset == ""  # no longer the protocol of that name
    assert set(type(plain).PRESETS["paper"]) == set(type(plain).PRESETS["clean"])


def test_another_rule_for_training_images_is_no_preset():
    assert zero_shot.Setting(dataset="coco2014", train_images="hide").preset == ""
    assert zero_shot.Setting(dataset="nus_wide").train_images == "hide"


@pytest.mark.parametrize("module", [partial, zero_shot, long_tail])
def test_every_field_can_be_explained(module):
    assert set(module.EXPLANATIONS) == {field.name for field in fields(module.Setting)}
    assert all("{a}" in text and "{b}" in text for text in module.EXPLANATIONS.values())
    assert module.Setting.encoder.count("@") == 1


@pytest.mark.parametrize(
    ("setting", "values", "message"),
    [
        (partial, {"known": 0}, "known=0.0 is not a fraction"),
        (partial, {"known": 1.2}, r"in \(0, 1\]"),
        (
            partial,
            {"mask": "random"},
            "mask='random' is not one of 'nested', 'community', 'skewed'",
        ),
        (partial, {"difficult": "maybe"}, "'absent', 'ignore', 'present'"),
        (zero_shot, {"train_images": "all"}, "'drop', 'hide'"),
        (long_tail, {"val_fraction": 1}, "val_fraction=1.0 is not a fraction"),
    ],
)
def test_bad_fields_list_the_choices(setting, values, message):
    with pytest.raises(ValueError, match=message):
        setting.Setting(**values)
