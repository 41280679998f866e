"""The command line. Each verb is a file of this folder with a function `prepare`.

`prepare(arguments, suite)` finds every mistake of the user and returns the work; a `ValueError` or
`FileNotFoundError` from it is one line on stderr and exit code 2. An error in the work itself is a
fault and keeps its traceback. A verb's file is imported when it is asked for: some need torch, and
`--help` or the answer to a misspelt name must come at once.
"""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from benchmark.commands import names
from benchmark.commands.parser import VERBS, parse, program
from benchmark.commands.suite import Suite

__all__ = ["VERBS", "Suite", "main"]


def main(argv: list[str], quick: Suite, full: Suite) -> int:
    """Exit code 0 when every selected run ended done, 1 when any did not, 2 for a usage error."""
    try:
        arguments = parse(argv)
        if getattr(arguments, "data", None):
            os.environ["LOWLABEL_DATA"] = str(Path(arguments.data).resolve())
        if getattr(arguments, "allow_subset", False):
            os.environ["LOWLABEL_ALLOW_SUBSET"] = "1"
        names.check(arguments)
        suite = full if getattr(arguments, "settings", None) else quick
        verb = importlib.import_module(f"benchmark.commands.{arguments.verb}")
        work: Callable[[], int] = verb.prepare(arguments, suite)
    except (ValueError, FileNotFoundError) as error:
        print(f"{program()}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return work()
