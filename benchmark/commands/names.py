"""Misspelt names are found before anything heavy is imported, so that the answer comes at once."""

import argparse
from pathlib import Path

from benchmark import catalogue, data, registry
from benchmark.commands.suite import parse_seeds
from benchmark.spec import nearest
from benchmark.store import Record, Store


def check(arguments: argparse.Namespace) -> None:
    """Raises `ValueError` naming the nearest match for a method, setting, data set or parameter
    that does not exist; what needs the plugin itself is checked when the plan is made."""
    for kind in ("methods", "settings"):
        for text in getattr(arguments, kind, None) or ():
            name, parameters = registry.parse(text)
            if registry.is_path(name):
                name = registry.register_file(kind, name)
            catalogue.check_parameters(kind, name, parameters)
    for text in getattr(arguments, "datasets", ()):
        name, _ = registry.parse(text)
        if not registry.is_path(name) and name not in data.names():
            raise ValueError(f"There is no data set {name!r}. {nearest(name, data.names())}")
    if getattr(arguments, "seeds", None):
        parse_seeds(",".join(arguments.seeds))
    if arguments.verb == "check":
        name, parameters = registry.parse(arguments.name)
        known = [each for kind in registry.FOLDERS for each in registry.names(kind)]
        if not registry.is_path(name) and name not in known:
            raise ValueError(
                f"There is no method, setting or data set {name!r}. {nearest(name, known)}"
            )
        if parameters and name not in registry.names("datasets"):
            raise ValueError(f"check goes by the presets of {name}: write it without parameters")
    for prefix in {"one": ["id"], "diff": ["a", "b"]}.get(arguments.verb, []):
        find(Store(Path(arguments.out)), getattr(arguments, prefix))


def find(store: Store, prefix: str) -> Record:
    """The record whose id starts with `prefix`. Raises `ValueError` when there is none or more than
    one."""
    matches = [record for record in store.records() if record["id"].startswith(prefix)]
    if len(matches) != 1:
        what = "no record" if not matches else f"{len(matches)} records"
        raise ValueError(
            f"There is {what} with id {prefix!r} in {store.out}; `run_all.py plan` lists the ids."
        )
    return matches[0]
