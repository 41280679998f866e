"""`report`: tables, figures, the data frame and the page from whatever exists, at any moment."""

import argparse
import functools
import sys
import webbrowser
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark import data, registry
from benchmark.commands import own_metrics, unchanged
from benchmark.commands.parser import command, program
from benchmark.commands.suite import Suite
from benchmark.planned import Planned, kept
from benchmark.staleness import is_stale, look_again
from benchmark.store import Record, Store

if TYPE_CHECKING:
    from reports.page import Report  # imported where a report is made: that takes seconds


def prepare(arguments: argparse.Namespace, suite: Suite) -> Callable[[], int]:
    outs = [Path(out) for out in arguments.out or ["results"]]
    for out in outs:
        if not out.is_dir():
            raise FileNotFoundError(
                f"There is no result folder {out}. Run `python run_all.py` first, or give --out."
            )
    for path in arguments.metric:
        own_metrics.read(Path(path))
    return functools.partial(write, outs, arguments)


def write(outs: list[Path], arguments: argparse.Namespace) -> int:
    path = build(outs, tables_only=arguments.tables_only)
    try:
        for table in own_metrics.write(outs, list(map(Path, arguments.metric))):
            print(f"Metric: {table.resolve()}")
    except own_metrics.Unusable as error:
        print(f"{program()}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    if arguments.open:
        webbrowser.open(path.resolve().as_uri())
    return 0


def build_if_changed(out: Path) -> None:
    """As `build`; a report that would come out as it stands is left, and its summary shown."""
    text = unchanged.summary(out)
    if text is None:
        build([out])
    else:
        print("\n".join(filter(None, [text, "", f"Report: {_place(out)} (unchanged)"])))


def build(outs: list[Path], tables_only: bool = False) -> Path:
    """Writes the report below the first folder, prints its summary and says where it lies."""
    records = {out: Store(out).records() for out in outs}
    inputs = unchanged.before(outs[0], records[outs[0]])
    report = _made(outs, records, tables_only)
    if len(outs) == 1 and not tables_only:
        inputs.keep(report.text)
    print("\n".join(filter(None, [report.text, "", f"Report: {report.path.resolve()}"])))
    return report.path


def _place(out: Path) -> Path:
    return (out / "report.html").resolve()


def _made(outs: list[Path], records: Mapping[Path, list[Record]], tables_only: bool) -> "Report":
    from reports import page

    rows = list(planned_or_recorded(records))
    return page.build(
        outs,
        plan=rows,
        titles={name: registry.title(name) for name in {row.spec.method.name for row in rows}},
        embedded=[name for name in data.names() if data.embedded(name)],
        tables_only=tables_only,
        program=command(),
    )


def planned_or_recorded(records: Mapping[Path, list[Record]]) -> Iterable[Planned]:
    """What the plans kept in these folders asked for, and every record; of a run that both know the
    record's state and the plan's command."""
    look_again()
    plans = {row.spec.id: row for out in records for row in kept(out)}
    for record in (record for found in records.values() for record in found):
        plan = plans.pop(record["id"], None)
        yield _recorded(record, plan.command if plan else "")
    yield from plans.values()


def _recorded(record: Record, command: str) -> Planned:
    """The row of a record: done, failed, or stale (its code has changed, or its plugin is gone, so
    that the number stands but nobody can repeat it)."""
    spec, reason = record["spec"], ""
    state = "done" if record["status"] == "done" else "failed"
    try:
        state = "stale" if state == "done" and is_stale(record) else state
    except ValueError as error:
        state, reason = "stale", str(error)
    return Planned(spec, state, reason, command)
