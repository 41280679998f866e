"""What plugin files say about themselves, read from their source.

Nothing is imported: importing a method takes torch's 1.5 seconds, and a list or the answer to a
misspelt parameter should come at once.
"""

import ast
import functools
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.files import ROOT
from benchmark.registry import locate
from benchmark.spec import nearest


@dataclass(frozen=True)
class Entry:
    """One plugin: first line of its docstring, its fields with the source text of their defaults,
    the names of its presets with what each sets and where that was read."""

    summary: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    presets: tuple[str, ...] = ()
    preset_texts: dict[str, str] = field(default_factory=dict)


@functools.cache
def entry(kind: str, name: str) -> Entry:
    """The entry of a plugin; empty where its source cannot be read. Raises `ValueError` naming the
    nearest match when the name is unknown."""
    place = locate(kind, name)
    return _read_class(*place) if place else Entry()


def check_parameters(kind: str, name: str, given: dict[str, object]) -> None:
    """Raises `ValueError` naming the nearest match for a parameter that the plugin does not
    have."""
    known = entry(kind, name).parameters
    for parameter in given if known else ():
        if parameter not in known:
            raise ValueError(
                f"{name} has no parameter {parameter!r}. {nearest(parameter, sorted(known))}"
            )


def _read_class(path: Path, name: str) -> Entry:
    try:
        module = ast.parse(path.read_text())
    except SyntaxError as error:
        return Entry(f"cannot be read: {error.msg} in line {error.lineno}")
    except (ValueError, OSError, RecursionError, MemoryError) as error:
        return Entry(f"cannot be read: {error}")
    found = next((n for n in module.body if isinstance(n, ast.ClassDef) and n.name == name), None)
    if found is None:
        return Entry()
    inherited = [
        _read_class(*place) for base in found.bases if (place := _place(path, module, base))
    ]
    parameters = {key: value for parent in inherited for key, value in parent.parameters.items()}
    presets = next((parent.preset_texts for parent in inherited if parent.presets), {})
    # a base that is no dataclass, such as `benchmark.task.Method`, adds no fields
    has_fields = any("dataclass" in ast.unparse(decorator) for decorator in found.decorator_list)
    for node in found.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if has_fields and "ClassVar" not in ast.unparse(node.annotation):
                parameters[node.target.id] = _default(node.value) if node.value else "…"
            elif node.target.id == "PRESETS" and isinstance(node.value, ast.Dict):
                pairs = zip(node.value.keys, node.value.values, strict=True)
                presets = {
                    ast.literal_eval(key): _preset_text(value) for key, value in pairs if key
                }
    summary = (ast.get_docstring(found) or "").partition("\n")[0]
    return Entry(summary, parameters, tuple(presets), presets)


def _default(node: ast.expr) -> str:
    """The text of a default; of one that comes with its range, `bounded(0.9, low=0)`, the value."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("bounded", "one_of") and node.args:
        node = node.args[0]
    return ast.unparse(node)


def _preset_text(node: ast.expr) -> str:
    """ "learning_rate=0.001 — README: lr 0.001" of a `Preset(…)`, of a dictionary the
    values alone."""
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return ", ".join(
            f"{ast.literal_eval(k)}={ast.unparse(v)}" if k else f"**{ast.unparse(v)}"
            for k, v in pairs
        )
    if isinstance(node, ast.Call) and node.args:
        words = [(word.arg, ast.unparse(word.value)) for word in node.keywords]
        values = [f"{name}={value}" if name else f"**{value}" for name, value in words]
        return f"{', '.join(values) or 'the defaults'} — {ast.literal_eval(node.args[0])}"
    return ""


def _place(path: Path, module: ast.Module, base: ast.expr) -> tuple[Path, str] | None:
    """File and name of a base class: of the same file, or from `from module import Base`."""
    for node in module.body:
        if isinstance(node, ast.ClassDef) and isinstance(base, ast.Name) and node.name == base.id:
            return path, base.id
        if isinstance(node, ast.ImportFrom) and node.module and isinstance(base, ast.Name):
            for alias in node.names:
                if (alias.asname or alias.name) == base.id:
                    other = ROOT / f"{node.module.replace('.', '/')}.py"
                    return (other, alias.name) if other.is_file() else None
    return None
