"""A table as CSV in full precision: one line a row × column."""

import csv
import io
import math
from collections.abc import Sequence

from reports.labels import plain
from reports.tables.cells import BLOCKS, Cell, Measured, Missing, Number, Row, Table

HEADER = (
    *("method", "kind", "column", "metric", "value", "sd", "seeds", "planned seeds", "low", "high"),
    *("p against the best", "tied with the best", "marks", "why empty", "source"),
)


def head(table: Table) -> str:
    return line(HEADER)


def rows(table: Table, row: Row) -> list[str]:
    """A line for each cell."""
    found = []
    for column, cell in zip(table.columns, row.cells, strict=True):
        named = table.metric and row.block in BLOCKS
        metric = column.metric if named else ""
        found.append(line([row.label, row.block, column.text, metric, *_cell(cell), row.note]))
    return found


def _cell(cell: Cell) -> list[str]:
    if isinstance(cell, Missing):
        return [*[""] * 9, cell.reason]
    if isinstance(cell, Measured):
        i, verdict = cell.interval, cell.verdict
        known = verdict is not None and verdict.comparable
        p, tied = "", ""
        if verdict and known:
            p = number(verdict.p)
            tied = "undecided" if verdict.undecided else str(verdict.tied)
        numbers = [number(i.mean), number(i.sd), str(i.n), str(cell.planned)]
        return [*numbers, number(i.low), number(i.high), p, tied, " ".join(cell.marks), ""]
    if isinstance(cell, Number):
        return [number(cell.value), *[""] * 7, " ".join(cell.marks), ""]
    return [cell.text, *[""] * 9]


def number(value: float) -> str:
    """Shortest text that reads back as the same number, "" for nan."""
    return repr(float(value)) if math.isfinite(value) else ""


def line(values: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([_no_formula(plain(value)) for value in values])
    return buffer.getvalue()


def _no_formula(text: str) -> str:
    """A spreadsheet must not run a name as a formula."""
    return "'" + text if text.startswith(("=", "+", "@")) else text
