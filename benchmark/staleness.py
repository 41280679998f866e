"""Which code decided a number: the import closure of a run's plugins and of the engine.

Nothing is listed by hand. The roots are the file that executes a run, the method, the setting and
the data set; what they import from this project, directly or through others, belongs to them. A
record keeps the digest of the code as its process loaded it, a plan compares it with the code as it
stands.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

from benchmark import registry
from benchmark.files import ROOT
from benchmark.sources import Read, as_it_stands, as_loaded, digest, import_closure
from benchmark.store import Record

# runs one alone or several as one
ENGINE = ROOT / "benchmark" / "run" / "cohort.py"
LARGEST = 2_000_000  # bytes of a plugin file that a record names
HOLD_LABELS = (ROOT / "benchmark" / "data", ROOT / "benchmark" / "run", ROOT / "settings")
Plugins = Mapping[str, str]  # "kind:name" -> file outside the suite

_frozen: set[Path] = set()


def code_digest(method: str, setting: str, dataset: str, plugins: Plugins | None = None) -> str:
    """12 hex digits over all that decides a number of such a run, as it stands now. Nothing is
    imported: a record may name any file. Raises `ValueError` when a plugin is gone."""
    return _digest(method, setting, dataset, tuple(sorted((plugins or {}).items())))


def is_stale(record: Record) -> bool:
    """Whether the code that decides this record's numbers has changed since (comments and
    docstrings do not count). Raises `ValueError` when a plugin is gone."""
    spec = record["spec"]
    plugins = record["provenance"].get("plugins", {})
    current = code_digest(spec.methods, spec.setting.name, spec.dataset, plugins)
    return record["provenance"].get("code_digest") != current


def look_again() -> None:
    """Forgets what `code_digest` has read: files may have been edited since."""
    _digest.cache_clear()
    _now.cache_clear()


_now = functools.cache(as_it_stands)  # until `look_again`


@functools.cache
def _digest(method: str, setting: str, dataset: str, plugins: tuple[tuple[str, str], ...]) -> str:
    try:
        return digest(_closure(method, setting, dataset, dict(plugins), _now), _now)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"the code of {method} or {setting} cannot be read: {error}") from error


def loaded_digest(method: str, setting: str, dataset: str, plugins: Plugins) -> str:
    """As `code_digest`, of the code that this process has loaded or is about to load."""
    return digest(_loaded(method, setting, dataset, tuple(sorted(plugins.items()))), as_loaded)


@functools.cache
def _loaded(
    method: str, setting: str, dataset: str, plugins: tuple[tuple[str, str], ...]
) -> list[Path]:
    """The files of such a run as this process went by them; they do not change any more."""
    return _closure(method, setting, dataset, dict(plugins), as_loaded)


def require_unchanged(method: str, setting: str, dataset: str, plugins: Plugins) -> None:
    """Raises `ValueError` when a file was edited between the digest and now, so that nobody knows
    which of its texts was loaded; what was frozen before its import is known."""
    for file in _loaded(method, setting, dataset, tuple(sorted(plugins.items()))):
        if file not in _frozen and as_loaded(file) != as_it_stands(file):
            raise ValueError(f"{file} was edited while the run was loading it; run it again")


def require_blind(method: str, plugins: Plugins | None = None) -> None:
    """Raises `ValueError` when a method, or a helper of it, imports what holds the test labels."""
    file = _source("methods", method, plugins or {})
    for reached in import_closure([file] if file else [], as_loaded):
        for folder in HOLD_LABELS:
            if folder in reached.parents:
                name = ".".join(reached.relative_to(ROOT).with_suffix("").parts)
                raise ValueError(
                    f"the method {method} imports {name.removesuffix('.__init__')}, which leads to "
                    "test labels; a method learns from what `fit` is handed"
                )


def freeze() -> None:
    """Takes note of the engine's files. To be called before the engine is imported."""
    for file in import_closure([ENGINE], as_loaded):
        as_loaded(file)
        _frozen.add(file)


def _closure(method: str, setting: str, dataset: str, plugins: Plugins, read: Read) -> list[Path]:
    names = [("methods", name) for name in method.split()]  # of a wrapper also what it holds
    names += [("settings", setting), ("datasets", registry.parse(dataset)[0])]
    roots = [ENGINE, *(_source(kind, name, plugins) for kind, name in names)]
    return import_closure(filter(None, roots), read)


def _source(kind: str, name: str, plugins: Plugins) -> Path | None:
    """The file of a plugin; None for an installed one without source."""
    named = plugins.get(f"{kind}:{name}")
    if named is None:
        found = registry.locate(kind, name)
        return found[0] if found else None
    path = Path(named)
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise ValueError(f"the plugin file {path} is gone")
    return path
