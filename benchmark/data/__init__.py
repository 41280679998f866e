"""Data sets by name, file or entry point: root folder, availability and loading live here.

A data set is a module with `load(root, **options) -> Dataset` and `missing(root, **options) ->
list[str]`, which names what is not there. `EMBEDDED = True` says that it needs no files. Options
are given in brackets, "folder(path=photos, labels=labels.csv)".
"""

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar, cast

import numpy as np

from benchmark import registry
from benchmark.spec import Value, nearest
from benchmark.task import ABSENT, PRESENT, UNKNOWN, Dataset

FUNCTIONS = ("load", "missing")


class DatasetModule(Protocol):
    """What a data set's file holds; `missing` names files below the root that are not there."""

    __doc__: str | None
    load: Callable[..., Dataset]
    missing: Callable[..., list[str]]


def root() -> Path:
    """Where the data sets lie: the environment variable LOWLABEL_DATA (set by `--data`), else
    `data`."""
    return Path(os.environ.get("LOWLABEL_DATA") or "data")


def names() -> list[str]:
    """Names of all data sets, sorted."""
    return registry.names("datasets")


def resolve(text: str) -> str:
    """The name by which everything calls the data set of a text: files are made known under their
    name, options are sorted. Raises `ValueError` for an unknown one."""
    name, options = registry.parse(text)
    if registry.is_path(name):
        name = registry.register_file("datasets", name)
    module(name)
    given = ", ".join(f"{key}={value!r}" for key, value in sorted(options.items()))
    return f"{name}({given})" if given else name


def module(text: str) -> DatasetModule:
    """The module of a data set, named with or without its options. Raises `ValueError` with the
    nearest match for an unknown name, or for a file without `load` and `missing`."""
    name, _ = registry.parse(text)
    found = registry.find("datasets", name)
    lacking = [each for each in FUNCTIONS if not callable(getattr(found, each, None))]
    if lacking:
        where = getattr(found, "__file__", name)
        raise ValueError(
            f"{where} is no data set: it has no function {lacking[0]}(root); "
            f"python run_all.py new dataset NAME writes one that has"
        )
    return cast(DatasetModule, found)


def embedded(name: str) -> bool:
    """Whether the data set is made by its module and needs no files."""
    return bool(getattr(module(name), "EMBEDDED", False))


def has_captions(name: str) -> bool:
    """Whether the data set has sentences about its training images: its module says by CAPTIONS
    which file below the root holds them, or True for always."""
    said = getattr(module(name), "CAPTIONS", False)
    return (root() / said).is_file() if isinstance(said, str) else bool(said)


def knows_areas(name: str) -> bool:
    """Whether the data set says how large its objects are: its module has `object_areas(root)`."""
    return hasattr(module(name), "object_areas")


def object_areas(name: str) -> np.ndarray:
    """(N, C) float32: the part of each image that the objects of a class cover, 0 where it is not
    shown."""
    return _object_areas(name, root())


@functools.lru_cache(maxsize=4)
def _object_areas(name: str, folder: Path) -> np.ndarray:
    found: Callable[..., np.ndarray] = vars(module(name))["object_areas"]
    return _call(found, name, folder, registry.parse(name)[1])


def available(name: str, folder: Path | None = None) -> str:
    """ "" when the data set can be loaded, else one sentence that says which files are missing and
    how to get them."""
    from benchmark.data.download import places
    from benchmark.data.download.sources import SOURCES

    folder, found = folder or root(), module(name)
    base, options = registry.parse(name)
    wanted = [*places.interrupted(base, folder), *_call(found.missing, name, folder, options)]
    if not wanted:
        return ""
    shown = ", ".join(wanted[:4]) + (f" and {len(wanted) - 4} more" if len(wanted) > 4 else "")
    remedy = f" (see: python run_all.py data {base})" if base in SOURCES else ""
    return f"{name} wants {shown} under {folder}{remedy}"


Found = TypeVar("Found")


def _call(
    function: Callable[..., Found], name: str, folder: Path, options: Mapping[str, Value]
) -> Found:
    """`function(folder, **options)`; an option that it does not take is a `ValueError`."""
    known = set(inspect.signature(function).parameters)
    wrong = sorted(set(options) - known)
    if wrong:
        raise ValueError(
            f"{name.partition('(')[0]} has no option {wrong[0]!r}. {nearest(wrong[0], known)}"
        )
    return function(folder, **options)


def load(name: str, **options: Value) -> Dataset:
    """The data set. Raises `FileNotFoundError` that names what is missing, `ValueError` for files
    that contradict themselves. One process parses each data set once."""
    missing = available(name)
    if missing:
        raise FileNotFoundError(missing)
    given = {**registry.parse(name)[1], **options}
    return _load(name, root(), tuple(sorted(given.items())))


@functools.lru_cache(maxsize=8)
def _load(name: str, folder: Path, options: tuple[tuple[str, Value], ...]) -> Dataset:
    dataset = _call(module(name).load, name, folder, dict(options))
    if not isinstance(dataset, Dataset):
        kind = type(dataset).__name__
        raise ValueError(f"{name}: load(root) returned a {kind}, not a benchmark.Dataset")
    check(dataset)
    dataset.y.flags.writeable = False  # shared by every task of this process
    return dataset


def check(dataset: Dataset) -> None:
    """Raises `ValueError` that says what contradicts itself: a class or an image named twice, an
    empty part, an image in train and in test, rows that do not exist, labels of another shape, type
    or value."""
    n, name = len(dataset.names), dataset.name
    for classes in (dataset.classes, dataset.raw_classes):
        twice = sorted({one for one in classes if classes.count(one) > 1})
        if twice or not all(one.strip() for one in classes):
            raise ValueError(f"{name}: two classes are called {twice[0] if twice else ''!r}")
    if len(set(dataset.names)) != n:
        twice = sorted({one for one in dataset.names if dataset.names.count(one) > 1})
        raise ValueError(f"{name}: two images are called {twice[0]!r}")
    if dataset.y.shape != (n, len(dataset.classes)) or len(dataset.sizes) != n:
        raise ValueError(
            f"{name}: {n} images of {len(dataset.classes)} classes, but labels of shape "
            f"{dataset.y.shape} and {len(dataset.sizes)} sizes"
        )
    if dataset.y.dtype != np.int8:
        raise ValueError(f"{name}: labels are {dataset.y.dtype}, not int8")
    # by blocks: of the 271 million labels of NUS-WIDE at once it takes 2.4 GB
    blocks = np.array_split(dataset.y, 1 + dataset.y.size // 1_000_000)
    if not all(np.isin(block, (PRESENT, ABSENT, UNKNOWN)).all() for block in blocks):
        raise ValueError(f"{name}: a label is none of {PRESENT}, {ABSENT}, {UNKNOWN}")
    for part in ("train", "test"):
        rows = dataset.splits.get(part, np.empty(0, np.int64))
        if not len(rows):
            raise ValueError(f"{name}: there is no image in {part}; get its lists again")
        if not np.issubdtype(rows.dtype, np.integer) or rows.min() < 0 or rows.max() >= n:
            raise ValueError(f"{name}: the rows of {part} are no numbers from 0 to {n - 1}")
    both = np.intersect1d(dataset.splits["train"], dataset.splits["test"])
    if len(both):
        raise ValueError(f"{name}: {dataset.names[both[0]]} is in train and in test")
