"""Tables as data for the page: numbers that its script compares and writes again when methods are
hidden or another metric is chosen."""

import math
from collections.abc import Mapping

import numpy as np

from benchmark.spec import JsonObject
from reports.figures.style import Look
from reports.groups import Group
from reports.labels import LONGEST_NOTE
from reports.significance import Significance
from reports.statistics import Comparison
from reports.tables import latex, markdown, tidy
from reports.tables.cells import MARKS, Cell, Measured, Missing, Number, Row, Table
from reports.tables.main import GENERAL


def marks_data() -> JsonObject:
    return {
        mark: {"text": text, "tex": latex.escape(mark), "md": markdown.escape(mark)}
        for mark, text in MARKS.items()
    }


def table_data(
    table: Table, looks: Mapping[str, Look], group: Group | None, significance: Significance
) -> JsonObject:
    """A table; `tests[block][column]` says how the differences of its methods vary over test
    images."""
    general = list(GENERAL.values())
    blocks = dict.fromkeys(row.block for row in table.rows)
    tests: dict[str, list[JsonObject | None]] = {}
    for block in blocks if group else ():
        if group and block not in ("oracle", "published", ""):
            compared = [significance.column(group, block, column) for column in table.columns]
            tests[block] = [_noise(one, looks) for one in compared]
    return {
        "name": table.name,
        "title": table.title,
        "metric": table.metric,
        "place": table.place,
        "first": table.first,
        "columns": [
            {"top": c.top, "label": c.label, "view": c.view, "metric": c.metric,
             "avg": c.level == "avg", "tested": bool(c.key) and table.place != "first"}
            for c in table.columns
        ],
        "rows": [_row(row, looks) for row in table.rows],
        "tests": tests,
        "notes": [
            {"text": note, "tex": latex.escape(note, LONGEST_NOTE),
             "md": markdown.escape(note, LONGEST_NOTE),
             "general": note in general}
            for note in table.notes
        ],
        "rules": {block: latex.rule(block, len(table.columns)) for block in blocks},
        "head": {"tex": latex.head(table), "md": markdown.head(table), "csv": tidy.head(table)},
        "metric_tex": latex.escape(table.metric),
        "metric_md": markdown.escape(table.metric),
    }  # fmt: skip


def _noise(comparison: Comparison | None, looks: Mapping[str, Look]) -> JsonObject | None:
    """Squared errors over test images and their degrees of freedom, pairs i > j in order."""
    if comparison is None or len(comparison.methods) < 2:
        return None
    lower = np.tril_indices(len(comparison.methods), -1)
    return {
        "m": [looks[method].index for method in comparison.methods],
        "images": [_digits(v) for v in comparison.noise.images[lower]],
        "dof": [_digits(v) for v in comparison.noise.images_dof[lower]],
    }


def _digits(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None


def _row(row: Row, looks: Mapping[str, Look]) -> JsonObject:
    whole = row.everywhere
    return {
        "label": row.label,
        "block": row.block,
        "m": looks[row.method].index if row.method in looks else None,
        "note": row.note,
        "tex": latex.label(row),
        "md": markdown.label(row),
        "whole": [latex.row(row), markdown.row(row)] if whole else None,
        "cells": [_cell(cell) for cell in row.cells],
    }


def _cell(cell: Cell) -> JsonObject:
    if isinstance(cell, Missing):
        return {"hole": cell.reason, "short": cell.short, "runs": list(cell.runs)}
    if not isinstance(cell, Measured):
        number = cell.value if isinstance(cell, Number) else None
        marks = list(cell.marks) if isinstance(cell, Number) else []
        return {"text": cell.text, "value": number, "marks": marks, "runs": []}
    i, verdict = cell.interval, cell.verdict
    numbers: list[object] = []
    if verdict is not None and verdict.comparable:
        shown = (verdict.gap, verdict.low, verdict.high, verdict.p, verdict.detectable)
        numbers = [*(v if math.isfinite(v) else None for v in shown), int(verdict.tied)]
        numbers.append(int(verdict.undecided))
    return {
        "seeds": list(cell.values),
        "interval": [i.low, i.high] if math.isfinite(i.low) else None,
        "planned": cell.planned,
        "runs": list(cell.runs),
        "marks": list(cell.flags),
        "verdict": numbers,
        "look": int(cell.best) + 2 * int(cell.second),
    }
