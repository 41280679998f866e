"""`data`: which files are there, which are missing and where they come from; fetches them."""

import argparse
import functools
from collections.abc import Callable

from benchmark import data
from benchmark.commands.parser import as_called
from benchmark.commands.suite import Suite
from benchmark.data.download import fetch
from benchmark.data.download.table import table


def prepare(arguments: argparse.Namespace, suite: Suite) -> Callable[[], int]:
    if arguments.name:
        data.module(arguments.name)
    if arguments.download:
        for name in [arguments.name] if arguments.name else data.names():
            if not data.embedded(name):
                fetch.download(name, data.root())
    return functools.partial(show, arguments.name)


def show(name: str | None) -> int:
    print(as_called(table(data.root(), name)))
    return 0
