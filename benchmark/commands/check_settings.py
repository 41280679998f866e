"""What every setting must do, as plain functions for `run_all.py check` and the shared tests."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np

from benchmark import data, registry
from benchmark.spec import Value
from benchmark.task import ABSENT, PRESENT, UNKNOWN, Dataset, Setting, Task


def make_setting(name: str) -> Setting:
    """The setting with its defaults, on its own data set where that is embedded."""
    setting: Setting = registry.make("settings", name, {})
    if data.embedded(setting.dataset):
        return setting
    made: Setting = registry.make("settings", name, {"dataset": "pictograms"})
    return made


@contextlib.contextmanager
def _changed(part: str) -> Iterator[None]:
    """Every data set has noise instead of its labels in one part."""
    original = data.load

    def load(name: str, **options: Value) -> Dataset:
        dataset = original(name, **options)
        y = dataset.y.copy()
        rows = dataset.splits[part]
        y[rows] = np.random.default_rng(0).integers(0, 2, y[rows].shape)
        return dataclasses.replace(dataset, y=y)

    with mock.patch.object(data, "load", load):
        yield


def survives_description(name: str) -> None:
    """Description → object → description gives the same description and the same run id."""
    choice = registry.describe(name, make_setting(name))
    again = registry.describe(name, registry.rebuild("settings", choice))
    assert again == choice, f"{choice} became {again}"


def same_seed_same_task(name: str) -> None:
    """Two tasks of one seed have the same images and labels."""
    first, second = make_setting(name).build(3), make_setting(name).build(3)
    for part in ("train", "val", "test"):
        one, other = getattr(first, part), getattr(second, part)
        assert np.array_equal(one.rows, other.rows) and np.array_equal(one.y, other.y), (
            f"two calls of build(3) give another {part} part: draw with seed_for(…, seed)"
        )


def parts_are_apart(name: str) -> None:
    """No image is in two parts, and no part but validation is empty."""
    task = make_setting(name).build(0)
    train, val, test = (set(part.rows.tolist()) for part in (task.train, task.val, task.test))
    assert not train & val, "an image is in train and in val"
    assert not (train | val) & test, "a test image is in train or val: its labels would be learned"
    assert train and test, "train or test holds no image"


def labels_are_legal(name: str) -> None:
    """Shapes fit, every label is one of three states, and unseen classes have none."""
    task = make_setting(name).build(0)
    for part in ("train", "val", "test"):
        labels, columns = getattr(task, part), len(task.classes)
        assert labels.y.shape == (len(labels.rows), columns), (
            f"{part}: labels of shape {labels.y.shape} for {len(labels.rows)} images and "
            f"{columns} classes"
        )
        assert np.isin(labels.y, (PRESENT, ABSENT, UNKNOWN)).all(), f"{part}: a label is no state"
        hidden = part == "test" or (labels.y[:, ~task.seen] == UNKNOWN).all()
        assert hidden, f"{part}: an unseen class has a label; set those columns to UNKNOWN"


def views_fit(name: str) -> None:
    """Each view has rows and columns of the test part, the first one classes with a positive."""
    task = make_setting(name).build(0)
    assert task.views, "there is no view: the first one is the headline"
    for title, view in task.views.items():
        shape = (len(view.rows), len(view.columns))
        assert shape == task.test.y.shape, (
            f"view {title!r} is for {shape} instead of {task.test.y.shape} test labels"
        )
        assert view.rows.any() and view.columns.any(), f"view {title!r} holds nothing"
    first = next(iter(task.views.values()))
    scored = task.test.y[np.ix_(first.rows, first.columns)] == PRESENT
    assert scored.any(), "no class of the first view is present in a test image"


def hidden_labels_of_test_change_nothing(name: str) -> None:
    """What a method may see stays the same when test labels change."""
    plain = make_setting(name).build(0)
    with _changed("test"):
        noisy = make_setting(name).build(0)
    assert _seen(plain) == _seen(noisy), "test labels change what a method sees"


def _seen(task: Task) -> tuple[bytes, ...]:
    return tuple(
        array.tobytes() for part in (task.train, task.val) for array in (part.rows, part.y)
    )


def says_why_a_method_is_skipped(name: str) -> None:
    """`skip` gives a text for every method: "" or a reason."""
    for method in registry.names("methods"):
        found = make_setting(name).skip(registry.make("methods", method, {}))
        assert isinstance(found, str), f"skip returned {found!r} for {method}, not a text"


CHECKS: tuple[Callable[[str], None], ...] = (
    survives_description,
    same_seed_same_task,
    parts_are_apart,
    labels_are_legal,
    views_fit,
    hidden_labels_of_test_change_nothing,
    says_why_a_method_is_skipped,
)
