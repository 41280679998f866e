"""What every data set must do, as plain functions for `run_all.py check` and the shared tests."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark import data, registry
from benchmark.task import PRESENT, Dataset

LOOKED_AT = 8  # images that are opened, spread over the data set


def _fresh(name: str) -> Dataset:
    """Read again, not from the memory of this process."""
    return data.module(name).load(data.root(), **registry.parse(name)[1])


def says_what_it_needs(name: str) -> None:
    """`missing` gives a list of texts, the same twice, and names something where nothing is there,
    unless the data set is embedded."""
    options = registry.parse(name)[1]
    found = data.module(name).missing(data.root(), **options)
    listed = isinstance(found, list) and all(isinstance(each, str) for each in found)
    assert listed, f"missing(root) returned {found!r}; it should be a list of paths"
    nowhere = data.module(name).missing(Path("/nowhere"), **options)
    assert data.embedded(name) or nowhere, (
        "missing(root) names nothing in a folder that does not exist; list the files that load "
        "wants, or set EMBEDDED = True if it wants none"
    )
    assert not (data.embedded(name) and nowhere), (
        "EMBEDDED = True says that no file is wanted, and missing(root) names some"
    )


def is_consistent(name: str) -> None:
    """Names, labels, parts and sizes fit together; see `benchmark.data.check`."""
    data.load(name)


def reads_the_same_twice(name: str) -> None:
    """Two readings give the same images in the same order, labels and parts."""
    first, second = _fresh(name), _fresh(name)
    assert first.names == second.names, "two calls of load(root) give images in another order"
    assert np.array_equal(first.y, second.y), "two calls of load(root) give other labels"
    for part, rows in first.splits.items():
        assert np.array_equal(rows, second.splits[part]), (
            f"two calls of load(root) give other images in {part}: draw parts with a fixed seed"
        )


def names_do_not_depend_on_the_machine(name: str) -> None:
    """Names are relative: they are the identity of the images in banks and records."""
    for each in data.load(name).names:
        assert not Path(each).is_absolute(), (
            f"the name {each!r} is an absolute path; give paths relative to the data folder"
        )


def images_open(name: str) -> None:
    """`open(i)` returns an RGB image, the same twice, also in another process."""
    dataset = data.load(name)
    try:
        opened = pickle.loads(pickle.dumps(dataset.open))
    except Exception as error:
        raise AssertionError(
            f"open cannot be sent to another process ({error}): use a function of the module, "
            f"functools.partial of one, or benchmark.data._files.ImageFiles"
        ) from None
    for i in np.linspace(0, len(dataset.names) - 1, LOOKED_AT).astype(int).tolist():
        image = opened(i)
        assert isinstance(image, Image.Image), (
            f"open({i}) returned a {type(image).__name__}, not a PIL image"
        )
        assert image.mode == "RGB", f"open({i}) has mode {image.mode}: add .convert('RGB')"
        again = opened(i)
        assert np.array_equal(np.asarray(image), np.asarray(again)), (
            f"open({i}) gives another image the second time: seed what is drawn by i"
        )


def every_class_can_be_learned_and_scored(name: str) -> None:
    """Each class is present in a training and in a test image."""
    dataset = data.load(name)
    for part in ("train", "test"):
        present = (dataset.y[dataset.splits[part]] == PRESENT).any(axis=0)
        absent = [dataset.classes[c] for c in np.flatnonzero(~present)]
        assert not absent, f"no image in {part} shows {absent[0]!r}: leave the class out"


CHECKS: tuple[Callable[[str], None], ...] = (
    says_what_it_needs,
    is_consistent,
    reads_the_same_twice,
    names_do_not_depend_on_the_machine,
    images_open,
    every_class_can_be_learned_and_scored,
)
