"""From a name, a path or an entry point to a plugin, and from "coop(context_length=4)" to objects
and back.

A plugin is a Python file with a dataclass called `Method` (in `methods/`) or `Setting` (in
`settings/`), or with functions `load` and `missing` (a data set, in `benchmark/data/`). Its file
name is its name. Files that start with an underscore are helpers. A file elsewhere is named by its
path, an installed package by an entry point in the group `lowlabel.methods`, `lowlabel.settings` or
`lowlabel.datasets`.
"""

import ast
import dataclasses
import functools
import importlib
import importlib.metadata
import importlib.util
import itertools
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, overload

from benchmark import parameters
from benchmark.files import ROOT
from benchmark.spec import Choice, Value, nearest
from benchmark.task import NEEDS, Method, Setting

BASES: dict[str, type[Method] | type[Setting]] = {"methods": Method, "settings": Setting}
CLASS_NAMES = {kind: base.__name__ for kind, base in BASES.items()}
FOLDERS = {"methods": "methods", "settings": "settings", "datasets": "benchmark/data"}

# Of a plugin, as written: a list means several runs. Values are checked against the fields.
Parameters = dict[str, Any]

_files: dict[tuple[str, str], Path] = {}  # (kind, name) -> a plugin file outside the suite


# ---- names -> classes ----------------------------------------------------------------------------


def _entry_points(kind: str) -> dict[str, importlib.metadata.EntryPoint]:
    return {
        point.name: point for point in importlib.metadata.entry_points(group=f"lowlabel.{kind}")
    }


def names(kind: str) -> list[str]:
    """All plugin names of a kind ("methods", "settings" or "datasets"), sorted."""
    own = {path.stem for path in _folder(kind).glob("*.py") if not path.stem.startswith("_")}
    return sorted(own | set(_entry_points(kind)) | {name for k, name in _files if k == kind})


def register_file(kind: str, path: str | Path) -> str:
    """Makes a plugin file outside the suite known under its file name and returns that name."""
    try:
        found = Path(path).resolve().is_file()
    except (RuntimeError, OSError):  # a link that leads to itself, a name that is too long
        found = False
    if not found:
        raise ValueError(f"There is no plugin file {str(path)[:300]}.")
    path = Path(path).resolve()
    if (_folder(kind) / path.name).is_file() and path.parent != _folder(kind):
        raise ValueError(
            f"{path} has the name of the built-in {FOLDERS[kind]}/{path.name}; rename the file."
        )
    if path.parent != _folder(kind):
        other = _files.setdefault((kind, path.stem), path)
        if other != path:
            raise ValueError(f"{path} and {other} have one name; rename one of the two files.")
    return path.stem


def _folder(kind: str) -> Path:
    return ROOT / FOLDERS[kind]


def is_path(name: str) -> bool:
    """Whether a plugin is named by its file."""
    return name.endswith(".py") or "/" in name


def plugin_files() -> dict[str, str]:
    """ "kind:name" -> path of every registered outside file; a job carries it, so that the child
    process knows them."""
    return {f"{kind}:{name}": str(path) for (kind, name), path in _files.items()}


def register_plugins(files: Mapping[str, str]) -> None:
    """Makes the files of `plugin_files`, perhaps of another process, known here."""
    for kind_and_name, path in files.items():
        register_file(kind_and_name.partition(":")[0], path)


def find(kind: str, name: str) -> object:
    """The module of a plugin, or what its entry point names. Raises `ValueError` that names the
    nearest match for an unknown name, or says why the file cannot be imported."""
    if (kind, name) in _files:
        return imported(_files[kind, name], lambda: _load_file(kind, _files[kind, name]))
    own = _folder(kind) / f"{name}.py"
    if name.isidentifier() and own.is_file() and not name.startswith("_"):
        module = f"{FOLDERS[kind].replace('/', '.')}.{name}"
        return imported(own, lambda: importlib.import_module(module))
    if name in _entry_points(kind):
        point = _entry_points(kind)[name]
        return imported(point.value, point.load)
    said = "data set" if kind == "datasets" else kind[:-1]
    raise ValueError(f"There is no {said} {name!r}. {nearest(name, names(kind))}")


@overload
def load(kind: Literal["methods"], name: str) -> type[Method]: ...
@overload
def load(kind: Literal["settings"], name: str) -> type[Setting]: ...
@overload
def load(kind: str, name: str) -> type[Method] | type[Setting]: ...
def load(kind: str, name: str) -> type[Method] | type[Setting]:
    """The plugin class of a method or setting. Raises `ValueError` as `find`, or says what a file
    lacks to be a plugin."""
    found = find(kind, name)
    plugin = found if isinstance(found, type) else getattr(found, CLASS_NAMES[kind], None)
    if not isinstance(plugin, type) or not dataclasses.is_dataclass(plugin):
        where = getattr(found, "__file__", name)
        raise ValueError(f"{where} has no dataclass called {CLASS_NAMES[kind]!r}.")
    return _completed(kind, plugin)


@functools.cache
def _completed(kind: str, plugin: type) -> type[Method] | type[Setting]:
    """The class with the defaults of its base, also where a plugin does not name the base."""
    base = BASES[kind]
    if not issubclass(plugin, base):
        doc = {"__module__": plugin.__module__, "__doc__": plugin.__doc__}
        plugin = type(plugin.__name__, (plugin, base), doc)
    needs = getattr(plugin, "needs", None)
    unsaid = needs is Method.needs
    if base is Method and (unsaid or not (isinstance(needs, property) or needs in NEEDS)):
        said = "does not say what it needs" if unsaid else f"needs {needs!r}"
        known = ", ".join(f'"{name}"' for name in NEEDS)
        raise ValueError(f"{plugin.__module__}.Method {said}: set needs to one of {known}.")
    return plugin


def imported(what: object, load: Callable[[], object]) -> object:
    """What `load` returns. A plugin is a file of the user and may raise anything while it is
    imported: one sentence says where it went wrong."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        trace = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in trace if frame.filename == str(what)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        place = f" (line {line})" if line else ""
        raise ValueError(
            f"{what} cannot be imported: {type(error).__name__}: {error}{place}"
        ) from error


def _load_file(kind: str, path: Path) -> ModuleType:
    module_name = f"lowlabel_plugin_{kind}_{path.stem}"
    loaded = sys.modules.get(module_name)
    if loaded is None or loaded.__file__ != str(path):  # never one file for another of its name
        specification = importlib.util.spec_from_file_location(module_name, path)
        assert specification is not None and specification.loader is not None, path
        module = importlib.util.module_from_spec(specification)
        sys.modules[module_name] = module  # dataclasses look their own module up
        if str(path.parent) not in sys.path:  # helpers beside it; last, so that they hide nothing
            sys.path.append(str(path.parent))
        try:
            specification.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    return sys.modules[module_name]


def locate(kind: str, name: str) -> tuple[Path, str] | None:
    """File and class name of a plugin, found without importing it; None for an installed one
    without source. Raises `ValueError` naming the nearest match when the name is unknown."""
    if (kind, name) in _files:
        return _files[kind, name], CLASS_NAMES.get(kind, "")
    own = _folder(kind) / f"{name}.py"
    if own.is_file() and not name.startswith("_"):
        return own, CLASS_NAMES.get(kind, "")
    point = _entry_points(kind).get(name)
    if point is None:
        raise ValueError(f"There is no {kind[:-1]} {name!r}. {nearest(name, names(kind))}")
    found = importlib.util.find_spec(point.module)
    if found is None or not found.has_location or found.origin is None:
        return None
    return Path(found.origin), point.attr or CLASS_NAMES.get(kind, "")


def title(method: str) -> str:
    """How tables call a method: `title` of its class, read without importing it, else its name."""
    try:
        found = locate("methods", method)
        tree = ast.parse(found[0].read_text()) if found else ast.Module([], [])
    except (OSError, ValueError, SyntaxError, RecursionError):  # it is gone, or broken
        return method
    for node in tree.body:
        if found and isinstance(node, ast.ClassDef) and node.name == found[1]:
            for line in node.body:
                match line:
                    case ast.Assign([ast.Name("title")], ast.Constant(str(text))):
                        return text
                    case ast.AnnAssign(ast.Name("title"), _, ast.Constant(str(text))):
                        return text
    return method


def source_file(kind: str, name: str) -> Path:
    """The file that defines a plugin."""
    if kind == "datasets":
        return Path(str(getattr(find(kind, name), "__file__", __file__)))
    return Path(str(sys.modules[load(kind, name).__module__].__file__))


# ---- text -> descriptions -> objects -------------------------------------------------------------


def parse(text: str) -> tuple[str, Parameters]:
    """ "coop(context_length=[4, 16])" -> ("coop", {"context_length": [4, 16]}); a path ends in
    .py."""
    name, bracket, _ = text.partition("(")
    name = name.strip()
    if not bracket:
        return name, {}
    problem = (
        f"Cannot read {text!r}. Write name(parameter=value, …), e.g. 'partial(known=[.1, .5])'."
    )
    try:
        call = ast.parse("_" + text.partition("(")[1] + text.partition("(")[2].strip(), mode="eval")
        found = _arguments(call.body)
    # ast has three ways to say that it cannot read a text
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        found = None
    if found is None:
        raise ValueError(problem if len(text) < 500 else f"Cannot read {text[:60]!r}…")
    return name, found


def _arguments(call: ast.expr) -> Parameters | None:
    """The keywords of one call, or None for anything else."""
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        return None
    names = [keyword.arg for keyword in call.keywords]
    if None in names or len(set(names)) < len(names):
        return None
    return {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}


def _value(node: ast.expr) -> Any:  # a value, or a list of values
    if isinstance(node, ast.Call | ast.Name | ast.Attribute):
        # a plugin inside a plugin, tuned(method=coop(epochs=5)), or a file: labels=labels.csv
        return ast.unparse(node)
    return ast.literal_eval(node)


def fields(plugin: type[Method] | type[Setting]) -> dict[str, dataclasses.Field[object]]:
    """The parameters of a plugin by name."""
    known = dataclasses.fields(plugin)  # type: ignore[arg-type]  # it is one: see `load`
    return {field.name: field for field in known if field.init}


@overload
def make(kind: Literal["methods"], name: str, given: Parameters, preset: str = "") -> Method: ...
@overload
def make(kind: Literal["settings"], name: str, given: Parameters, preset: str = "") -> Setting: ...
@overload
def make(kind: str, name: str, given: Parameters, preset: str = "") -> Method | Setting: ...
def make(kind: str, name: str, given: Parameters, preset: str = "") -> Method | Setting:
    """An object of the plugin. A preset (the argument, or the parameter of that name) fills in
    before what is given."""
    plugin = load(kind, name)
    known = fields(plugin)
    for parameter in given:
        if parameter not in known:
            raise ValueError(
                f"{name} has no parameter {parameter!r}. {nearest(parameter, sorted(known))}"
            )
    presets = plugin.PRESETS
    preset = given.get("preset", preset)
    if not isinstance(preset, str):
        raise ValueError(f"{name}: preset={preset!r} is no name of a preset")
    if preset and preset not in presets:
        raise ValueError(f"{name} has no preset {preset!r}. {nearest(preset, sorted(presets))}")
    values = {**presets.get(preset, {}), **given}
    if preset and "preset" in known:
        values["preset"] = preset
    for parameter, value in values.items():
        values[parameter] = _checked(name, known[parameter], value)
    return plugin(**values)


def _checked(name: str, field: dataclasses.Field[object], value: object) -> object:
    """The value in the type of the default (an int may stand for a float, a list from JSON for a
    tuple), inside the range of the field."""
    parameter, default = field.name, field.default
    if isinstance(default, tuple) and isinstance(value, list):
        value = tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    known_type = isinstance(default, bool | int | float | str | tuple)
    if known_type and (
        not isinstance(value, type(default)) or isinstance(value, bool) != isinstance(default, bool)
    ):
        wanted = type(default).__name__
        raise ValueError(
            f"{name}: {parameter}={value!r} should be {wanted} (as in the default {default!r})."
        )
    parameters.check(name, field, value)
    return value


def describe(name: str, plugin: Method | Setting) -> Choice:
    """The plugin by name with every parameter filled in; `rebuild` is its inverse."""
    return Choice(name, {field: getattr(plugin, field) for field in fields(type(plugin))})


@overload
def rebuild(kind: Literal["methods"], choice: Choice) -> Method: ...
@overload
def rebuild(kind: Literal["settings"], choice: Choice) -> Setting: ...
def rebuild(kind: str, choice: Choice) -> Method | Setting:
    """The object of a choice. Presets are already part of it and are not applied again."""
    plugin = load(kind, choice.name)
    known = fields(plugin)
    unknown = sorted(set(choice.parameters) - set(known))
    if unknown:
        raise ValueError(
            f"{choice.name} no longer has the parameter {unknown[0]!r} of this record."
        )
    values = choice.parameters.items()
    return plugin(**{key: _checked(choice.name, known[key], v) for key, v in values})


def expand(
    kind: str, text: str, sweep: Mapping[str, Sequence[Value]] | None = None
) -> list[tuple[str, Parameters]]:
    """Every (name, parameters) that a text means: a list in a parameter is several runs, a tuple is
    a value.

    `sweep` holds lists for parameters that the text leaves open.
    """
    name, given = parse(text)
    if is_path(name):
        name = register_file(kind, name)
    load(kind, name)  # an unknown name is an error before anything else
    axes = {**(sweep or {}), **given}
    for parameter, value in axes.items():
        if value == []:
            raise ValueError(f"{name}: {parameter}=[] lists no value; write e.g. [1, 2]")
    values = [value if isinstance(value, list) else [value] for value in axes.values()]
    return [
        (name, dict(zip(axes, combination, strict=True)))
        for combination in itertools.product(*values)
    ]
