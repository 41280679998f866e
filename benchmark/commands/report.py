"""`report`: tables, figures and the page from whatever exists, at any moment."""

import argparse
import functools
import webbrowser
from collections.abc import Callable
from pathlib import Path

from benchmark.commands.suite import Suite
from benchmark.plan import Row, recorded_rows
from benchmark.store import Store
from reports import page


def prepare(arguments: argparse.Namespace, suite: Suite) -> Callable[[], int]:
    outs = [Path(out) for out in arguments.out or ["results"]]
    for out in outs:
        if not out.is_dir():
            raise FileNotFoundError(
                f"There is no result folder {out}. Run `python run_all.py` first, or give --out."
            )
    return functools.partial(write, outs, arguments)


def write(outs: list[Path], arguments: argparse.Namespace) -> int:
    rows = [row for out in outs for row in recorded_rows(Store(out).records())]
    path = build(outs, rows, tables_only=arguments.tables_only)
    if arguments.open:
        webbrowser.open(path.resolve().as_uri())
    return 0


def build(outs: list[Path], rows: list[Row], tables_only: bool = False) -> Path:
    """Writes the report below the first folder and says where."""
    path = page.build(outs, plan=rows, tables_only=tables_only)
    print(f"Report: {path.resolve()}")
    return path
