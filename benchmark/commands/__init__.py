"""The command line. Each verb is a file of this folder with a function `prepare`.

`prepare(arguments, suite)` finds every mistake of the user and returns the work; a `ValueError` or
`OSError` from it is one line on stderr and exit code 2, and so is an `OSError` of the work (a disk
that is full, a folder that is gone). Another error in the work itself is a fault and keeps its
traceback. A verb's file is imported when it is asked for: some need torch, and
`--help` or the answer to a misspelt name must come at once.
"""

import gc
import importlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

from benchmark.commands import names
from benchmark.commands.parser import VERBS, as_called, parse, program
from benchmark.commands.suite import Suite

__all__ = ["VERBS", "Suite", "main"]


def main(argv: list[str], quick: Suite, full: Suite) -> int:
    """Exit code 0 when every selected run ended done, 1 when any did not, 2 for a usage error."""
    work: Callable[[], int] | None = None
    # thousands of records stay until the end: looking for garbage among them costs a fifth
    gc.set_threshold(100_000)
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a dash shows "?"
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        for argument in argv:
            _require_text(argument)
        arguments = parse(argv)
        if getattr(arguments, "data", None) and Path(arguments.data).is_file():
            raise ValueError(f"--data {arguments.data} is not a folder.")
        if getattr(arguments, "data", None):
            os.environ["LOWLABEL_DATA"] = str(Path(arguments.data).resolve())
        if getattr(arguments, "allow_subset", False):
            os.environ["LOWLABEL_ALLOW_SUBSET"] = "1"
        names.check(arguments)
        suite = full if getattr(arguments, "settings", None) else quick
        verb = importlib.import_module(f"benchmark.commands.{arguments.verb}")
        work = verb.prepare(arguments, suite)
        return work()
    except BrokenPipeError:  # `… | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        print(f"{program()}: stopped; the same command goes on", file=sys.stderr)
        return 130
    # a path or a text that is nested without end is a mistake as well
    except (ValueError, OSError, RecursionError) as error:
        if work is not None and not isinstance(error, OSError):
            raise
        print(f"{program()}: {as_called(' '.join(str(error).split()))}", file=sys.stderr)
        return 2


def _require_text(argument: str) -> None:
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the argument {argument!a} is not text in UTF-8") from None
