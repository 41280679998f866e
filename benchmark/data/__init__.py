"""Data sets by name: each is a module `benchmark/data/NAME.py`; root folder, availability and
loading live here."""

import functools
import importlib
import os
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmark.spec import nearest
from benchmark.task import Dataset

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
    dataset.y.flags.writeable = False  # shared by every task of this process
    return dataset
