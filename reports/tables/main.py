"""Tables in the layouts of the papers: methods × label rates, ZSL and GZSL,
total/head/medium/tail."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.groups import SWEPT, Entry, Group
from reports.published import Published, published
from reports.significance import Significance
from reports.statistics import Comparison, interval
from reports.tables.formats import Cell, Row, Table

FAMILY_TITLES = {
    "partial": "Partial labels",
    "zero_shot": "Zero-shot classes",
    "long_tail": "Long tail",
}
GENERAL = {  # footnotes that say how to read any table
    "bold": "Bold: not significantly below the best of its block (paired bootstrap over test "
    "images and seeds, Holm, "
    "5 %); underlined: second.",
    "detectable": "Detectable difference: what two methods must differ by to be told apart four "
    "times in five.",
    "oracle": "Oracle: the epoch was chosen on the test labels, as the official repositories do; "
    "not ranked.",
    "published": "Published numbers are from papers under their own protocols; † second hand. "
    "Averages are recomputed.",
}


@dataclass(frozen=True)
class Column:
    """A metric of a view at a level; `published` is the name of the column in papers' tables."""

    label: str
    level: Any
    view: str
    metric: str = "mAP"
    top: str = ""
    published: str = ""


def family_title(family: str) -> str:
    """How a setting family is called in titles."""
    return FAMILY_TITLES.get(family, family.replace("_", " ").capitalize())


def columns_of(group: Group) -> list[Column]:
    """The layout of a group's table."""
    if group.family == "zero_shot":
        at_k = [
            f"{letter}@{k}" for k in (3, 5) for letter in (("P", "R", "F1") if k == 3 else ("F1",))
        ]
        columns = [
            Column(metric, None, view, metric, view.upper(), view)
            for view in ("zsl", "gzsl")
            for metric in (*at_k, "mAP")
        ]
        return [*columns, Column("H", None, "", "harmonic", "GZSL", "gzsl")]
    if group.family == "long_tail":
        return [
            Column(label, None, view, top="mAP", published=view)
            for label, view in (
                ("total", group.headline),
                ("head", "head"),
                ("medium", "medium"),
                ("tail", "tail"),
            )
        ]
    levels = group.levels
    if levels == [None]:
        views = list(next((e.record["metrics"] for e in group.usable()), {"all": 0}))
        return [
            Column("mAP" if view == group.headline else f"mAP {view}", None, view) for view in views
        ]
    columns = [Column(f"{100 * v:g} %", v, group.headline, published=f"{v:g}") for v in levels]
    return (
        [*columns, Column("Avg.", "avg", group.headline, published="avg")]
        if len(levels) > 1
        else columns
    )


def value_of(entry: Entry, column: Column) -> float:
    """A column's number of one run; `harmonic` is the harmonic mean of seen and unseen mAP."""
    if column.metric == "harmonic":
        seen, unseen = entry.value("seen"), entry.value("unseen")
        return 2 * seen * unseen / (seen + unseen) if seen + unseen > 0 else math.nan
    return entry.value(column.view, column.metric)


def seed_values(group: Group, line: tuple[str, str], column: Column) -> dict[int, float]:
    """{seed: value}; for the average over levels only of seeds that have every level."""
    levels = group.levels if column.level == "avg" else [column.level]
    per_level = [
        {s: value_of(e, column) for s, e in group.done(line, level).items()} for level in levels
    ]
    seeds = set.intersection(*map(set, per_level))
    values = {seed: float(np.mean([found[seed] for found in per_level])) for seed in sorted(seeds)}
    return {seed: value for seed, value in values.items() if math.isfinite(value)}


def main_tables(groups: list[Group], significance: Significance) -> list[Table]:
    """The main table of every group."""
    return [main_table(index, group, significance) for index, group in enumerate(groups)]


def main_table(index: int, group: Group, significance: Significance) -> Table:
    """The table of a group; blocks of rows: selections, then published lines of the same data
    set."""
    columns = columns_of(group)
    blocks: dict[str, list[tuple[str, str]]] = {}
    for line in group.lines:
        blocks.setdefault(line[0], []).append(line)
    rows: list[Row] = []
    detectable: list[Cell] = []
    for selection, lines in blocks.items():
        comparisons = [_comparison(significance, index, selection, column) for column in columns]
        cells = {line: [_cell(group, line, column) for column in columns] for line in lines}
        cells = {line: _with_average(columns, row) for line, row in cells.items()}
        if selection != "oracle":
            cells = _marked(cells, comparisons)
            detectable = detectable or [_detectable(comparison) for comparison in comparisons]
        ordered = sorted(lines, key=lambda line: -_order(columns, cells[line]))
        rows += [Row(line[1], selection, tuple(cells[line]), method=line[1]) for line in ordered]
    if any(cell.text for cell in detectable):
        rows.append(Row("Detectable difference", "", tuple(detectable)))
    rows += _published_rows(group, columns)
    return Table(
        name=group.name,
        title=f"{family_title(group.family)}: {group.title}",
        place=group.name,
        columns=tuple((column.top, column.label) for column in columns),
        rows=tuple(rows),
        notes=tuple(_notes(group, rows)),
    )


# ---- cells ---------------------------------------------------------------------------------------


def _cell(group: Group, line: tuple[str, str], column: Column) -> Cell:
    levels = group.levels if column.level == "avg" else [column.level]
    entries = [entry for level in levels for entry in group.entries(line, level).values()]
    values = seed_values(group, line, column)
    runs = tuple(entry.id for entry in entries)
    if not values:
        return Cell(hole=_hole(entries, column), runs=runs)
    result = interval(list(values.values()))
    marks = []
    planned = (
        {seed for (_, _), seeds in group.runs.items() for seed in seeds}
        if line[0] != "oracle"
        else set(values)
    )
    if len(values) < len(planned):
        marks.append(f"{len(values)} of {len(planned)} seeds")
    if any(entry.state == "stale" for entry in entries):
        marks.append("stale")
    sd = "" if math.isnan(result.sd) else f"{result.sd:.1f}"
    return Cell(f"{result.mean:.1f}", sd, marks=tuple(marks), runs=runs, exact=result.mean)


def _hole(entries: list[Entry], column: Column) -> str:
    """Why there is no number."""
    for state in ("n/a", "failed"):
        for entry in entries:
            if entry.state == state:
                return f"n/a: {entry.reason}" if state == "n/a" else entry.reason
    if any(entry.usable for entry in entries):
        return (
            "needs every label rate"
            if column.level == "avg"
            else f"no {column.metric} in the record"
        )
    return "not run"


def _with_average(columns: list[Column], cells: list[Cell]) -> list[Cell]:
    """The average as a reader would compute it: from the printed cells."""
    if not columns or columns[-1].level != "avg" or not all(cell.text for cell in cells[:-1]):
        return cells
    printed = [float(cell.text) for cell in cells[:-1]]
    return [
        *cells[:-1],
        _replace(cells[-1], text=f"{np.mean(printed):.1f}", exact=float(np.mean(printed)), hole=""),
    ]


def _replace(cell: Cell, **changes: Any) -> Cell:
    return Cell(**{**cell.__dict__, **changes})


def _comparison(
    significance: Significance, index: int, selection: str, column: Column
) -> Comparison | None:
    return (
        significance.cell(index, selection, column.level, column.view)
        if column.metric == "mAP"
        else None
    )


def _marked(
    cells: dict[tuple, list[Cell]], comparisons: list[Comparison | None]
) -> dict[tuple, list[Cell]]:
    """Bold for the best and what ties with it, underline for the second best; nothing in a block of
    one method."""
    for position, comparison in enumerate(comparisons):
        found = sorted(
            {float(row[position].text) for row in cells.values() if row[position].text},
            reverse=True,
        )
        if sum(bool(row[position].text) for row in cells.values()) < 2:
            continue
        for line, row in cells.items():
            cell = row[position]
            if cell.text:
                tied = (
                    comparison is not None
                    and line[1] in comparison.methods
                    and line[1] in comparison.tied
                )
                best = tied or float(cell.text) == found[0]
                second = len(found) > 1 and float(cell.text) == found[1]
                row[position] = _replace(cell, best=best, second=second)
    return cells


def _detectable(comparison: Comparison | None) -> Cell:
    known = comparison is not None and math.isfinite(comparison.detectable)
    return (
        Cell(f"{comparison.detectable:.1f}", exact=comparison.detectable)
        if known
        else Cell(hole="–")
    )


def _order(columns: list[Column], cells: list[Cell]) -> float:
    """Rows are sorted by the average, else by the first mAP, else by any number they have."""
    mains = [c for c, k in zip(cells, columns, strict=True) if k.level == "avg"]
    mains += [c for c, k in zip(cells, columns, strict=True) if k.metric == "mAP"]
    return next((cell.exact for cell in mains if cell.exact is not None), -math.inf)


# ---- published lines and notes -------------------------------------------------------------------


def _published_rows(group: Group, columns: list[Column]) -> list[Row]:
    rows = []
    for line in published(group.family, group.dataset):
        cells = []
        for column in columns:
            text = line.values.get((column.published, column.metric), "")
            cells.append(Cell(text, exact=float(text)) if text else Cell(hole="–"))
        filled = sum(bool(cell.text) for cell in cells)
        if filled > (1 if group.levels != [None] else 0):  # single rates are in the table of gaps
            cells = _with_average(columns, cells)
            rows.append(Row(line.label, "published", tuple(cells), note=source(line)))
    return sorted(rows, key=lambda row: -_order(columns, list(row.cells)))


def source(line: Published) -> str:
    """Where a published line was read."""
    mark = "second hand; " if line.second_hand else ""
    return f"{mark}{line.paper}. {line.source}"


def _notes(group: Group, rows: list[Row]) -> list[str]:
    """Footnotes: protocol, how to read the marks, and why cells are empty."""
    usable = group.usable()
    blocks = {row.block for row in rows}
    notes = []
    if usable:
        seeds = sorted({entry.spec.seed for entry in usable})
        task = usable[0].record["task"]
        plural = (
            f"mean ± sample standard deviation over {len(seeds)} seeds"
            if len(seeds) > 1
            else "one seed"
        )
        hidden = {"dataset", *([SWEPT] if group.levels != [None] else [])}
        protocol = ", ".join(
            f"{k}={v}" for k, v in group.setting.parameters.items() if k not in hidden and v != ""
        )
        notes.append(
            f"{task['n_test']} test images, {task['n_classes']} classes; {plural}; percent. "
            f"Protocol: {protocol}."
        )
    if {"last", "val"} & blocks:
        notes.append(GENERAL["bold"])
    if "Detectable difference" in {row.label for row in rows}:
        notes.append(GENERAL["detectable"])
    notes += [GENERAL[block] for block in ("oracle", "published") if block in blocks]
    holes = {}
    for row in rows:
        if row.block not in ("", "published"):
            for cell in row.cells:
                if cell.hole and cell.hole != "not run":
                    holes.setdefault(f"{row.label}: {cell.hole}", None)
    return [*notes, *list(holes)[:6]]
