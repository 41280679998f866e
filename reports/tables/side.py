"""Tables beside the main ones: the gap to published numbers, and what every method costs."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from reports.columns import Column, columns_of, family_title, seed_values
from reports.groups import Group, Line, Result
from reports.published import Published, published, same_backbone
from reports.statistics import interval
from reports.tables.cells import Cell, Measured, Missing, Number, Row, Table, Words
from reports.tables.main import source

# ---- published beside measured -------------------------------------------------------------------


def gap_table(groups: Sequence[Group]) -> Table | None:
    """Our number, the published one of the same method, data set and encoder, the gap, and whether
    ours covers it."""
    rows = []
    for group in (group for group in groups if not group.limited):
        lines = [line for line in published(group.published, group.dataset) if line.ours]
        for column in columns_of(group):
            for measured in group.lines:
                made = [_gap_row(group, column, measured, line) for line in lines]
                rows += [row for row in made if row is not None]
    headers = ("Measured", "Published", "Gap", "Interval covers it")
    keys = dict.fromkeys(row.note for row in rows)
    notes = (
        "Gap = measured − published, in points. Papers mostly chose the epoch on test labels: "
        "compare with oracle.",
        "The interval is Student's t over seeds (95 %).",
        *keys,
    )
    columns = tuple(Column(header) for header in headers)
    title = "Published beside measured"
    return (
        Table("published_gap", title, "published", columns, tuple(rows), notes, "In %")
        if rows
        else None
    )


def _gap_row(group: Group, column: Column, measured: Line, line: Published) -> Row | None:
    text = line.values.get((column.published, column.metric), "")
    values = seed_values(group, measured, column)
    if not text or not values:
        return None
    spec = next(result.spec for result in group.of_line(measured))
    if spec.method.name != line.ours or not same_backbone(line.backbone, spec.encoder.name):
        return None
    result = interval(list(values.values()))
    paper = float(text)
    covered = "one seed" if result.n < 2 else "yes" if result.low <= paper <= result.high else "no"
    cells = (
        Measured(result, planned=len(group.seeds(measured)), values=tuple(values.items())),
        Number(paper, ".1f", ("†",) if line.second_hand else ()),
        Number(result.mean - paper, "+.1f"),
        Words(covered),
    )
    where = (
        f"{measured.method}, {group.dataset}, {column.text}, {column.metric}; "
        f"{line.label} [{line.key}]"
    )
    return Row(where, measured.selection, cells, method=measured.method, note=source(line))


# ---- cost ----------------------------------------------------------------------------------------

COSTS: tuple[tuple[str, str, Callable[[Result], float | None]], ...] = (
    ("pixels to predictions (s)", ",.1f", lambda r: _sum(r, field(r, "extraction_s"))),
    ("with cached features (s)", ",.1f", lambda r: _sum(r, 0.0)),
    ("features (s)", ",.1f", lambda r: field(r, "extraction_s")),
    ("fit (s)", ",.1f", lambda r: field(r, "fit_s")),
    ("predict (s)", ",.1f", lambda r: field(r, "predict_s")),
    ("trainable parameters", ",.0f", lambda r: field(r, "trainable_parameters")),
    ("RAM, increase (MB)", ",.0f", lambda r: field(r, "peak_ram_mb")),
    ("GPU (MB)", ",.0f", lambda r: field(r, "peak_gpu_mb")),
)


def field(result: Result, name: str) -> float | None:
    """A number of the record's cost."""
    found = result.record["cost"].get(name)
    return float(found) if isinstance(found, int | float) else None


def _sum(result: Result, features: float | None) -> float | None:
    fit, predict = field(result, "fit_s"), field(result, "predict_s")
    if features is None or fit is None or predict is None:
        return None
    return features + fit + predict


def cost_table(group: Group) -> Table | None:
    """What a run of every method cost on average."""
    rows, shared = [], set()
    for line in group.lines:
        found = group.of_line(line)
        if found:
            cells: list[Cell] = []
            for _, form, read in COSTS:
                values = [read(result) for result in found]
                known = [value for value in values if value is not None]
                cells.append(Number(float(np.mean(known)), form) if known else Missing("–"))
            shared |= {field(result, "shared_by") or 1 for result in found}
            rows.append(Row(line.method, line.selection, tuple(cells), method=line.method))
    notes = (
        "Means over runs. From pixels to predictions = features + fit + predict with nothing "
        "cached; features are computed once for each encoder and data set, so a sweep pays them "
        "once and every further run costs what stands under cached features. A method that needs "
        "pixels runs the image encoder inside its fit.",
        "RAM is what a run needed on top of what its process held before. Seconds depend on the "
        f"machine and on what ran beside{_sharing(shared)}.",
    )
    columns = tuple(Column(header) for header, _, _ in COSTS)
    title = f"Cost, {family_title(group.family).lower()}: {group.title}"
    return (
        Table(f"cost_{group.name}", title, f"cost-{group.name}", columns, tuple(rows), notes)
        if rows
        else None
    )


def _sharing(shared: set[float]) -> str:
    if not shared or max(shared) <= 1:
        return "; no run shared its device with another of the sweep"
    low, high = min(shared), max(shared)
    runs = f"{high:.0f}" if low == high else f"{low:.0f}–{high:.0f}"
    return f"; {runs} runs of the sweep shared a device"


def query_table(group: Group) -> Table | None:
    """How often a method looked: candidates on validation, and records scored on test."""
    rows = []
    for line in group.lines:
        found = group.of_line(line)
        if found:
            tried = sum(result.record["trials"] for result in found)
            cells = (Number(tried, ",.0f"), Number(len(found), ",.0f"))
            rows.append(Row(line.method, line.selection, cells, method=line.method))
    columns = (Column("candidates tried"), Column("test queries"))
    notes = ("Sums over runs; every record scored on the test labels is one test query.",)
    title = f"Looks at labels, {family_title(group.family).lower()}: {group.title}"
    return (
        Table(f"queries_{group.name}", title, f"cost-{group.name}", columns, tuple(rows), notes)
        if rows
        else None
    )


def mean_seconds(group: Group, line: Line) -> tuple[float, float]:
    """(from pixels, with cached features) seconds of a run of a line, nan where unknown."""
    found = group.of_line(line)
    cold = [_sum(result, field(result, "extraction_s")) for result in found]
    cached = [_sum(result, 0.0) for result in found]
    return _mean(cold), _mean(cached)


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else math.nan
