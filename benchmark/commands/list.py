"""`run_all.py list`: what can be compared."""

import argparse
import functools
import inspect
import textwrap
from collections.abc import Callable, Sequence

from benchmark import catalogue, data, registry
from benchmark.commands.parser import KINDS
from benchmark.commands.suite import Suite


def prepare(arguments: argparse.Namespace, suite: Suite) -> Callable[[], int]:
    return functools.partial(show, [arguments.kind] if arguments.kind else KINDS)


def show(kinds: Sequence[str]) -> int:
    for kind in kinds:
        print(table(kind))
    return 0


def table(kind: str) -> str:
    """Plain text: one name a line with what it is; for plugins also their parameters and
    defaults."""
    lines = [f"{kind}:"]
    if kind == "datasets":
        for name in data.names():
            missing = data.available(name)
            state = "embedded" if data.embedded(name) else ("missing" if missing else "found")
            lines.append(f"  {name:16} {state:9} {_first_line(data.module(name))}")
        return "\n".join(lines) + "\n"
    if kind == "encoders":
        lines += ["  pocket-RN, pocket-ViT        ship with the suite"]
        lines += [
            "  NAME/WEIGHTS@SIZE            any open_clip model, e.g. RN101/openai@448, "
            "ViT-B-16/openai@224"
        ]
        lines += [
            "  NAME//path/to/file.pt@SIZE   a local checkpoint; +quickgelu or +gelu where "
            "published weights differ",
            "  …+crop, …+imagenet           change the preprocessing",
        ]
        return "\n".join(lines) + "\n"
    for name in registry.names(kind):
        found = catalogue.entry(kind, name)
        parameters = ", ".join(f"{key}={value}" for key, value in found.parameters.items())
        lines.append(f"  {name:16} {found.summary}")
        lines += [f"  {'':16} {parameters}"] * bool(parameters)
        for preset, said in found.preset_texts.items():
            text = f"preset {preset}: {said}"
            lines += textwrap.wrap(text, 96, initial_indent=19 * " ", subsequent_indent=21 * " ")
    return "\n".join(lines) + "\n"


def _first_line(documented: object) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]
