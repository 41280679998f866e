"""The code digest of a run: which code decided its numbers, so that a changed plugin marks its
records as stale."""

import ast
import functools
import hashlib
from pathlib import Path

from benchmark import registry

ENGINE_FILES = (
    *("task", "execute", "world", "selection", "metrics"),
    *("encoder", "dense", "prompt_encoder", "images", "augment", "bank"),
)


@functools.cache
def code_digest(method: str, setting: str, dataset: str) -> str:
    """12 hex digits over the syntax trees of everything that decides a number; comments and
    docstrings do not count."""
    files = [registry.ROOT / "benchmark" / f"{name}.py" for name in ENGINE_FILES]
    data = registry.ROOT / "benchmark" / "data" / f"{dataset}.py"
    files += [data, *_helpers(data)]
    for kind, name in (("methods", method), ("settings", setting)):
        file = registry.source_file(kind, name)
        files += [file, *_helpers(file)]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file.name.encode() + _syntax_tree(file.read_text()).encode())
    return digest.hexdigest()[:12]


def _helpers(file: Path) -> list[Path]:
    """Sibling modules that a file imports, directly or through another: `from methods._losses
    import …`."""
    found: dict[Path, None] = {}
    waiting = [file]
    while waiting:
        current = waiting.pop()
        for node in ast.walk(ast.parse(current.read_text())) if current.is_file() else ():
            modules = []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                sibling = file.parent / f"{module.rpartition('.')[2]}.py"
                if sibling.is_file() and sibling not in found and sibling != file:
                    found[sibling] = None
                    waiting.append(sibling)
    return sorted(found)


def _syntax_tree(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
