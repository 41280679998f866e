"""The source files of the project: what they import from one another, and what they say apart from
comments and docstrings.

A process loads a file once, but a file can be edited while the process lives. `as_loaded` is the
text that this process went by, `as_it_stands` the one on the disk now.
"""

import ast
import functools
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmark.files import ROOT

Read = Callable[[Path], str]


def as_it_stands(file: Path) -> str:
    return file.read_text()


@functools.cache
def as_loaded(file: Path) -> str:
    """The text when this process asked for it first: ask before the file is imported."""
    return file.read_text()


def import_closure(roots: Iterable[Path], read: Read = as_it_stands) -> list[Path]:
    """The roots and every file of this project, or beside an importing file, that they reach."""
    found: set[Path] = set()
    seen: set[Path] = set()  # as they were named, perhaps through links
    waiting = list(roots)
    while waiting:
        named = waiting.pop()
        if named in seen:
            continue
        seen.add(named)
        file = named.resolve()
        if file not in found:
            found.add(file)
            waiting += _imported_files(file, read(file))
    return sorted(found)


def digest(files: Iterable[Path], read: Read = as_it_stands) -> str:
    """12 hex digits over names and syntax trees; comments and docstrings do not count."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.name.encode() + tree_digest(read(file)))
    return whole.hexdigest()[:12]


def tree_digest(source: str) -> bytes:
    """Of the syntax tree without docstrings: equal for sources that do the same."""
    return _parsed(source)[0]


@functools.cache
def _parsed(source: str) -> tuple[bytes, list[str]]:
    """The digest of the tree, and the modules that are imported anywhere in it."""
    tree, modules = ast.parse(source), []
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            modules += [base, *(f"{base.rstrip('.')}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    return hashlib.sha256(ast.dump(tree).encode()).digest(), modules


@functools.cache
def _imported_files(file: Path, source: str) -> list[Path]:
    places = [path for module in _parsed(source)[1] for path in _places(module, file)]
    return [path for path in places if path.is_file()]


def _places(module: str, importer: Path) -> list[Path]:
    """Where a module of this project, or a helper beside the importing file, would lie."""
    relative = Path(*module.strip(".").split("."))
    folders = [importer.parent] if module.startswith(".") else [ROOT, importer.parent]
    packages = [ROOT / Path(*relative.parts[:k]) for k in range(1, len(relative.parts))]
    files = [folder / f"{relative}.py" for folder in folders]
    return files + [package / "__init__.py" for package in (*packages, ROOT / relative)]
