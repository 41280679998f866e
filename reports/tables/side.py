"""Tables beside the main ones: the gap to published numbers, and what every method costs."""

import math

import numpy as np

from reports.groups import Entry, Group
from reports.published import Published, published, same_backbone
from reports.statistics import interval
from reports.tables.formats import Cell, Row, Table
from reports.tables.main import Column, columns_of, family_title, seed_values, source

COSTS = (  # header, field of the record's cost, printed format
    ("fit (s)", "fit_s", ",.1f"),
    ("predict (s)", "predict_s", ",.1f"),
    ("trainable parameters", "trainable_parameters", ",.0f"),
    ("peak RAM (MB)", "peak_ram_mb", ",.0f"),
    ("peak GPU (MB)", "peak_gpu_mb", ",.0f"),
)


def gap_table(groups: list[Group]) -> Table | None:
    """Our number, the published one of the same method, data set and encoder, the gap, and whether
    ours covers it."""
    rows = []
    for group in groups:
        lines = [line for line in published(group.family, group.dataset) if line.ours]
        for column in columns_of(group):
            for measured in group.lines:
                rows += [
                    row
                    for line in lines
                    if (row := _gap_row(group, column, measured, line)) is not None
                ]
    columns = ("Measured", "Published", "Gap", "Interval covers it")
    title = "Published beside measured"
    notes = (
        "Gap = measured − published, in points. Papers mostly chose the epoch on test labels: "
        "compare with oracle.",
        "The interval is Student's t over seeds (95 %).",
    )
    return (
        Table(
            "published_gap", title, "published", tuple(("", c) for c in columns), tuple(rows), notes
        )
        if rows
        else None
    )


def _gap_row(
    group: Group, column: Column, measured: tuple[str, str], line: Published
) -> Row | None:
    selection, label = measured
    text = line.values.get((column.published, column.metric), "")
    entries = [
        entry
        for (found, _), seeds in group.runs.items()
        if found == measured
        for entry in seeds.values()
    ]
    values = seed_values(group, measured, column)
    spec = entries[0].spec
    if not text or not values or spec.method.name != line.ours:
        return None
    if not same_backbone(line.backbone, spec.encoder.name):
        return None
    result = interval(list(values.values()))
    gap = result.mean - float(text)
    covered = (
        "one seed" if result.n < 2 else "yes" if result.low <= float(text) <= result.high else "no"
    )
    sd = "" if math.isnan(result.sd) else f"{result.sd:.1f}"
    cells = (
        Cell(f"{result.mean:.1f}", sd, exact=result.mean),
        Cell(text, exact=float(text), marks=("†",) if line.second_hand else ()),
        Cell(f"{gap:+.1f}", exact=gap),
        Cell(covered),
    )
    where = (
        f"{label}, {group.dataset}, {' '.join(filter(None, [column.top, column.label]))}, "
        f"{column.metric}"
    )
    return Row(where, selection, cells, method=label, note=f"{line.label}: {source(line)}")


# ---- cost ----------------------------------------------------------------------------------------


def cost_table(group: Group) -> Table | None:
    """What a run of every method cost on average, how many candidates it tried and how often test
    labels were read."""
    rows = []
    for line in group.lines:
        found = [
            e
            for (own, _), seeds in group.runs.items()
            if own == line
            for e in seeds.values()
            if e.usable
        ]
        if found:
            cells = [_mean_cost(found, field, form) for _, field, form in COSTS]
            tried = sum(entry.record["trials"] for entry in found)
            cells += [
                Cell(f"{tried:,}", exact=float(tried)),
                Cell(f"{len(found):,}", exact=float(len(found))),
            ]
            rows.append(Row(line[1], line[0], tuple(cells), method=line[1]))
    headers = [*(header for header, _, _ in COSTS), "candidates tried", "test queries"]
    notes = (
        "Means over runs; every record scored on the test labels is one test query.",
        "Seconds depend on the machine and on what ran beside.",
    )
    title = f"Cost, {family_title(group.family).lower()}: {group.title}"
    columns = tuple(("", header) for header in headers)
    return (
        Table(f"cost_{group.name}", title, f"cost-{group.name}", columns, tuple(rows), notes)
        if rows
        else None
    )


def _mean_cost(entries: list[Entry], field: str, form: str) -> Cell:
    values = [entry.record["cost"].get(field) for entry in entries]
    values = [float(value) for value in values if isinstance(value, int | float)]
    return (
        Cell(format(np.mean(values), form), exact=float(np.mean(values)))
        if values
        else Cell(hole="–")
    )
