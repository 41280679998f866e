"""Data sets by name: each is a module `benchmark/data/NAME.py`; root folder, availability and
loading live here."""

import functools
import importlib
import os
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmark.spec import nearest
from benchmark.task import ABSENT, PRESENT, UNKNOWN, Dataset

# modules of this folder that are no data set; a leading _ marks helpers
_NOT_DATASETS = ("download", "scenes")


def root() -> Path:
    """Where the data sets lie: the environment variable LOWLABEL_DATA (set by `--data`), else
    `data`."""
    return Path(os.environ.get("LOWLABEL_DATA") or "data")


def names() -> list[str]:
    """Names of all data sets, sorted."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(
        name for name in modules if not name.startswith("_") and name not in _NOT_DATASETS
    )


def module(name: str) -> ModuleType:
    """The module of a data set. Raises `ValueError` with the known names and the nearest match."""
    if name not in names():
        raise ValueError(f"There is no data set {name!r}. {nearest(name, names())}")
    return importlib.import_module(f"benchmark.data.{name}")


def embedded(name: str) -> bool:
    """Whether the data set is rendered by this package and needs no files."""
    return module(name).EMBEDDED


def available(name: str, folder: Path | None = None) -> str:
    """ "" when the data set can be loaded, else one sentence that says which files are missing and
    how to get them."""
    from benchmark.data.download import fetch

    folder, found = folder or root(), module(name)
    wanted = [*fetch.interrupted(name, folder), *found.missing(folder)]
    if not wanted:
        return ""
    shown = ", ".join(wanted[:4]) + (f" and {len(wanted) - 4} more" if len(wanted) > 4 else "")
    return f"{name} wants {shown} under {folder} (see: python run_all.py data {name})"


def load(name: str, **options: Any) -> Dataset:
    """The data set. Raises `FileNotFoundError` that names what is missing, `ValueError` for files
    that contradict themselves. One process parses each data set once."""
    missing = available(name)
    if missing:
        raise FileNotFoundError(missing)
    return _load(name, root(), tuple(sorted(options.items())))


@functools.lru_cache(maxsize=8)
def _load(name: str, folder: Path, options: tuple[tuple[str, Any], ...]) -> Dataset:
    dataset = module(name).load(folder, **dict(options))
    check(dataset)
    dataset.y.flags.writeable = False  # shared by every task of this process
    return dataset


def check(dataset: Dataset) -> None:
    """Raises `ValueError` that says what contradicts itself: a class named twice, an empty part, an
    image in train and in test, labels of another shape or value."""
    n, name = len(dataset.names), dataset.name
    for classes in (dataset.classes, dataset.raw_classes):
        twice = sorted({one for one in classes if classes.count(one) > 1})
        if twice or not all(one.strip() for one in classes):
            raise ValueError(f"{name}: two classes are called {twice[0] if twice else ''!r}")
    if dataset.y.shape != (n, len(dataset.classes)) or len(dataset.sizes) != n:
        raise ValueError(
            f"{name}: {n} images of {len(dataset.classes)} classes, but labels of shape "
            f"{dataset.y.shape} and {len(dataset.sizes)} sizes"
        )
    if not np.isin(dataset.y, (PRESENT, ABSENT, UNKNOWN)).all():
        raise ValueError(f"{name}: a label is none of {PRESENT}, {ABSENT}, {UNKNOWN}")
    for part in ("train", "test"):
        if not len(dataset.splits.get(part, ())):
            raise ValueError(f"{name}: there is no image in {part}; get its lists again")
    both = np.intersect1d(dataset.splits["train"], dataset.splits["test"])
    if len(both):
        raise ValueError(f"{name}: {dataset.names[both[0]]} is in train and in test")
