"""Which code decided a number: the import closure of a run's plugins and of the engine.

Nothing is listed by hand. The roots are the file that executes a run, the method, the setting and
the data set; what they import from this project, directly or through others, belongs to them.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from benchmark import registry
from benchmark.files import ROOT

ENGINE = "benchmark.run.execute"


@functools.cache
def code_digest(method: str, setting: str, dataset: str) -> str:
    """12 hex digits over the syntax trees of all that decides a number of such a run; comments and
    docstrings do not count."""
    plugins = [registry.source_file("methods", method), registry.source_file("settings", setting)]
    plugins.append(registry.source_file("datasets", registry.parse(dataset)[0]))
    roots = [_module_file(ENGINE), *plugins]
    digest = hashlib.sha256()
    for file in import_closure(filter(None, roots)):
        digest.update(file.name.encode() + syntax_tree(file.read_text()).encode())
    return digest.hexdigest()[:12]


def import_closure(roots: Iterable[Path]) -> list[Path]:
    """The roots and every file of this project, or beside an importing file, that they reach."""
    found: set[Path] = set()
    waiting = list(roots)
    while waiting:
        file = waiting.pop().resolve()
        if file not in found:
            found.add(file)
            waiting += _imported_files(file)
    return sorted(found)


def _imported_files(file: Path) -> list[Path]:
    modules: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            modules += [base, *(f"{base.rstrip('.')}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    places = [path for module in modules for path in _places(module, file)]
    return [path for path in places if path.is_file()]


def _places(module: str, importer: Path) -> list[Path]:
    """Where a module of this project, or a helper beside the importing file, would lie."""
    relative = Path(*module.strip(".").split("."))
    folders = [importer.parent] if module.startswith(".") else [ROOT, importer.parent]
    packages = [ROOT / Path(*relative.parts[:k]) for k in range(1, len(relative.parts))]
    files = [folder / f"{relative}.py" for folder in folders]
    return files + [package / "__init__.py" for package in (*packages, ROOT / relative)]


def _module_file(module: str) -> Path | None:
    return next((path for path in _places(module, ROOT / "_") if path.is_file()), None)


def syntax_tree(source: str) -> str:
    """The dumped tree of a source without its docstrings: equal for sources that do the same."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
