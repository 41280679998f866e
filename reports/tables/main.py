"""Tables in the layouts of the papers: methods × label rates, ZSL and GZSL,
total/head/medium/tail."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reports.columns import (
    Column,
    columns_of,
    family_title,
    headline_column,
    levels_of,
    seed_results,
    value_of,
)
from reports.groups import SWEPT, Entry, Group, Hole, Line, Result
from reports.labels import count
from reports.published import Published, published
from reports.significance import Significance
from reports.statistics import Comparison, interval
from reports.tables.cells import Cell, Measured, Missing, Number, Row, Table, value

GENERAL = {  # footnotes that say how to read any table
    "bold": "Bold: the best of its block and what is not significantly below it (paired over test "
    "images and seeds, step-down among the methods that may be the best, family-wise 5 %); ~: "
    "below it on these test images, but its seeds scatter too much to call that certain; "
    "underlined: second.",
    "oracle": "Oracle: the epoch was chosen on the test labels, as the official repositories do; "
    "not ranked.",
    "softmax": "Rows 'softmax': the scores of the row above by the rule of the published lines "
    "(LM-CLIP, test.py): AP of the softmax over all classes, a class without a positive counts as "
    "0; in the records mAP_softmax_official. The other rows are mAP of the scores themselves over "
    "classes that have a positive.",
    "published": "Published numbers are from papers under their own protocols. Averages are "
    "recomputed.",
}

# How LM-CLIP's test script scores: softmax over all classes, an empty class counts as 0.
SOFTMAX_RULE, SOFTMAX = "mAP_softmax_official", ", softmax"


def main_table(group: Group, significance: Significance) -> Table:
    """The table of a group; blocks of rows: selections, then published lines of the same data
    set."""
    columns = columns_of(group)
    blocks: dict[str, list[Line]] = {}
    for line in group.lines:
        blocks.setdefault(line.selection, []).append(line)
    rows: list[Row] = []
    for selection, lines in blocks.items():
        cells = {line: [cell_of(group, line, column) for column in columns] for line in lines}
        if selection != "oracle":
            for place, column in enumerate(columns):
                comparison = significance.column(group, selection, column)
                found = {line.method: row[place] for line, row in cells.items()}
                for line, row in cells.items():
                    row[place] = marked(found, comparison)[line.method]
        for line in sorted(lines, key=lambda line: -_order(group, columns, cells[line])):
            rows.append(Row(line.method, selection, tuple(cells[line]), method=line.method))
            rows += _as_published(group, line, columns)
    rows += _published_rows(group, columns)
    metrics = {column.metric for column in columns}
    return Table(
        name=group.name,
        title=f"{family_title(group.family)}: {group.title}",
        place=group.name,
        columns=tuple(columns),
        rows=tuple(rows),
        notes=tuple(_notes(group, rows)),
        metric="mAP (%)" if metrics == {"mAP"} else "P, R, F1 at k, mAP and H, in %",
    )


def _as_published(group: Group, line: Line, columns: Sequence[Column]) -> list[Row]:
    """A second row of a long-tailed table, by the rule of the published lines below it; nothing
    for records from before that rule was measured."""
    if group.family != "long_tail":
        return []
    by_rule = [replace(column, metric=SOFTMAX_RULE) for column in columns]
    cells = tuple(cell_of(group, line, column) for column in by_rule)
    if not any(isinstance(cell, Measured) for cell in cells):
        return []
    return [Row(line.method + SOFTMAX, line.selection, cells, method=line.method)]


# ---- cells ---------------------------------------------------------------------------------------


def cell_of(group: Group, line: Line, column: Column) -> Cell:
    """The mean over the seeds of a line, or why there is none."""
    entries = [e for v in levels_of(group, column) for e in group.entries(line, v).values()]
    runs = tuple(entry.id for entry in entries)
    found = seed_results(group, line, column)
    values = {s: float(np.mean([value_of(r, column) for r in rs])) for s, rs in found.items()}
    if not values:
        return _missing(entries, column, runs)
    stale = any(result.stale for results in found.values() for result in results)
    below = _below_zero_shot(group, line, column, float(np.mean(list(values.values()))))
    return Measured(
        interval(list(values.values())),
        planned=len(group.seeds(line)),
        runs=runs,
        values=tuple(values.items()),
        flags=("s",) * stale + ("↓",) * below,
    )


def _below_zero_shot(group: Group, line: Line, column: Column, mean: float) -> bool:
    """Whether a method that trains ends below zero-shot CLIP of the same column."""
    if not group.zero_shot or line.method == group.zero_shot:
        return False
    zero = [
        value_of(result, column)
        for other in group.lines
        if other.method == group.zero_shot
        for results in seed_results(group, other, column).values()
        for result in results
    ]
    return bool(zero) and mean < float(np.mean(zero))


def _missing(entries: Sequence[Entry], column: Column, runs: tuple[str, ...]) -> Missing:
    holes = [entry for entry in entries if isinstance(entry, Hole)]
    for state in ("n/a", "failed", "todo"):
        for hole in holes:
            if hole.state == state:
                return Missing(hole.text, runs, hole.command)
    if any(isinstance(entry, Result) for entry in entries):
        average = column.level == "avg"
        reason = "needs every label rate" if average else f"no {column.metric} in the record"
        return Missing(reason, runs)
    return Missing("not planned", runs)


def marked(cells: dict[str, Cell], comparison: Comparison | None) -> dict[str, Cell]:
    """Bold for the best and what cannot be told from it on the test images, ~ where too few seeds
    leave it open, underline for the second best; nothing where no two methods can be compared."""
    if comparison is None or len(comparison.methods) < 2:
        return cells
    result = dict(cells)
    compared = [m for m in comparison.methods if comparison.verdicts[m].comparable]
    order = sorted(compared, key=lambda m: (m != comparison.best, -value(cells[m])))
    for method, cell in cells.items():
        if not isinstance(cell, Measured):
            continue
        verdict = comparison.verdicts.get(method)
        if verdict is None:
            result[method] = replace(cell, flags=(*cell.flags, "?"))
        elif not verdict.comparable:
            result[method] = replace(cell, verdict=verdict, flags=(*cell.flags, "≠"))
        else:
            second = len(order) > 1 and method == order[1]
            several = len(compared) > 1
            best = verdict.tied and several and not verdict.undecided
            flags = cell.flags + ("~",) * verdict.undecided
            result[method] = replace(cell, verdict=verdict, best=best, second=second, flags=flags)
    return result


def _order(group: Group, columns: Sequence[Column], cells: Sequence[Cell]) -> float:
    """Rows are sorted by the headline column, else by any number they have."""
    numbers = {column: value(cell) for column, cell in zip(columns, cells, strict=True)}
    candidates = [numbers[headline_column(group)], *numbers.values()]
    return next((number for number in candidates if math.isfinite(number)), -math.inf)


# ---- published lines and notes -------------------------------------------------------------------


def _published_rows(group: Group, columns: Sequence[Column]) -> list[Row]:
    rows = []
    for line in published(group.published, group.dataset) if not group.limited else ():
        cells: list[Cell] = []
        flags = ("†",) if line.second_hand else ()
        for column in columns:
            text = line.values.get((column.published, column.metric), "")
            cells.append(Number(float(text), ".1f", flags) if text else Missing("–"))
        numbers = [cell.value for cell in cells if isinstance(cell, Number)]
        if columns[-1].level == "avg":
            whole = all(isinstance(cell, Number) for cell in cells[:-1])
            first = [value(cell) for cell in cells[:-1]]
            cells[-1] = Number(float(np.mean(first)), ".1f", flags) if whole else Missing("–")
        if len(numbers) > (1 if group.levels != [None] else 0):  # single rates: in the gap table
            label = f"{line.label} [{line.key}]"
            rows.append(Row(label, "published", tuple(cells), note=source(line)))
    return sorted(rows, key=lambda row: -_order(group, columns, row.cells))


def source(line: Published) -> str:
    """Where a published line was read."""
    mark = "second hand; " if line.second_hand else ""
    return f"[{line.key}] {mark}{line.paper}. {line.source}"


def protocol_text(group: Group) -> str:
    """ "dataset rules and masks, as parameters: mask=nested, val_fraction=0.1"."""
    swept = {SWEPT} if group.levels != [None] else set()
    hidden = {"dataset", *swept}
    return ", ".join(
        f"{k}={v}" for k, v in group.setting.parameters.items() if k not in hidden and v != ""
    )


def _notes(group: Group, rows: Sequence[Row]) -> list[str]:
    """Footnotes: what was measured on what, how to read the marks."""
    blocks = {row.block for row in rows}
    notes = []
    if group.usable:
        seeds = {result.spec.seed for result in group.usable}
        task = group.usable[0].record["task"]
        mean = f"mean ± sample standard deviation over {len(seeds)} seeds"
        notes.append(
            f"{count(task['n_test'], 'test image')}, "
            f"{count(task['n_classes'], 'class', 'classes')}; "
            f"{mean if len(seeds) > 1 else 'one seed'}; encoder {group.encoder}. "
            f"Protocol: {protocol_text(group)}."
        )
        apart = task["notes"].get("protocol")
        notes += [f"{apart[0].upper()}{apart[1:]}."] if apart else []
    if {"last", "val"} & blocks:
        notes.append(GENERAL["bold"])
    if any(row.label.endswith(SOFTMAX) for row in rows):
        notes.append(GENERAL["softmax"])
    notes += [GENERAL[block] for block in ("oracle", "published") if block in blocks]
    if "published" in blocks:
        keys: dict[str, str] = {}
        for line in published(group.published, group.dataset):
            keys.setdefault(line.key, line.paper)
        notes.append("Sources: " + "; ".join(f"[{key}] {paper}" for key, paper in keys.items()))
    return notes
