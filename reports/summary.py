"""The first screen: for every setting × data set who leads, by how much, at which cost, and what is
missing. The page and the terminal show the same."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from reports.columns import Column, family_title, headline_column, seed_values
from reports.groups import Entry, Group, Hole, Line, Result
from reports.labels import count, listed
from reports.significance import Significance
from reports.statistics import Comparison, Verdict
from reports.tables.cells import Cell, Measured, Missing, Number, Row, Table
from reports.tables.main import cell_of, marked
from reports.tables.side import mean_seconds

EMBEDDED = (
    "These data ship with the suite: their numbers show that the suite works; they do not predict "
    "the order of methods on photographs."
)


@dataclass(frozen=True)
class Headline:
    """What the first screen says of one group: a sentence and a small table."""

    group: Group
    sentence: str
    table: Table | None


def headlines(groups: Sequence[Group], significance: Significance) -> list[Headline]:
    return [_headline(group, significance) for group in groups]


def _headline(group: Group, significance: Significance) -> Headline:
    column = headline_column(group)
    comparison = significance.column(group, group.honest, column) if group.honest else None
    lines = [line for line in group.lines if line.selection == group.honest]
    means = {line: _mean(group, line, column) for line in lines}
    measured = [line for line in lines if math.isfinite(means[line])]
    where = f"{family_title(group.family)}, {group.title}"
    said = f"{where}: {_who(group, column, measured, means, comparison)}{missing_text(group)}"
    if not measured:
        return Headline(group, said, None)
    return Headline(group, said, _small_table(group, column, measured, means, comparison))


def _mean(group: Group, line: Line, column: Column) -> float:
    values = list(seed_values(group, line, column).values())
    return float(np.mean(values)) if values else math.nan


def _zero_shot(group: Group, means: dict[Line, float]) -> float:
    return next((v for line, v in means.items() if line.method == group.zero_shot), math.nan)


def metric_text(group: Group, column: Column) -> str:
    """ "mAP averaged over 9 label rates", "GZSL mAP"."""
    if column.level == "avg":
        return f"mAP averaged over {count(len(group.levels), 'label rate')}"
    if group.levels != [None]:
        return f"mAP at {column.label} of the labels"
    return f"{column.top} mAP".strip()


def _who(
    group: Group,
    column: Column,
    measured: Sequence[Line],
    means: dict[Line, float],
    comparison: Comparison | None,
) -> str:
    """The winner, its margins and its cost."""
    metric = metric_text(group, column)
    if not measured:
        return "no method has a number yet."
    if len(measured) == 1:
        return f"only {measured[0].method} was measured, {means[measured[0]]:.1f} {metric}."
    if comparison is None or not comparison.best:
        return f"no two methods can be compared ({metric}): they share no seed, or scores are gone."
    best = next(line for line in measured if line.method == comparison.best)
    text = f"{best.method} leads with {means[best]:.1f} {metric}"
    rivals = {m: v for m, v in comparison.verdicts.items() if v.comparable and m != best.method}
    if rivals:
        text += ", " + _margin(*max(rivals.items(), key=lambda item: item[1].gap))
    zero = _zero_shot(group, means)
    if math.isfinite(zero) and best.method != group.zero_shot:
        text += f"; {means[best] - zero:+.1f} against zero-shot CLIP"
    cold, cached = mean_seconds(group, best)
    if math.isfinite(cached):
        from_pixels = f"{seconds(cold)} a run from pixels, " if math.isfinite(cold) else "a run "
        text += f"; {from_pixels}{seconds(cached)} with cached features"
    apart = [m for m, v in comparison.verdicts.items() if not v.comparable]
    if apart:
        text += f". Not comparable, for want of a common seed: {listed(sorted(apart))}"
    return text + "."


def _margin(rival: str, verdict: Verdict) -> str:
    interval = f"{-verdict.high:.1f} to {-verdict.low:.1f}"
    if verdict.undecided:
        return (
            f"{-verdict.gap:.1f} above {rival}, which so few seeds leave undecided "
            f"(95 %: {interval})"
        )
    if verdict.tied:
        return (
            f"{-verdict.gap:.1f} above {rival}, which is no significant margin (95 %: {interval})"
        )
    return f"{-verdict.gap:.1f} above {rival} (95 %: {interval})"


def seconds(value: float) -> str:
    """ "0.02 s", "3.4 s", "12 s", "7 min", "2.1 h"."""
    if value < 60:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


def _small_table(
    group: Group,
    column: Column,
    measured: Sequence[Line],
    means: dict[Line, float],
    comparison: Comparison | None,
) -> Table:
    cells = marked({line.method: cell_of(group, line, column) for line in measured}, comparison)
    zero = _zero_shot(group, means)
    rows = []
    for line in sorted(measured, key=lambda line: -means[line]):
        verdict = comparison.verdicts.get(line.method) if comparison else None
        best = comparison.best if comparison else ""
        behind = verdict is not None and verdict.comparable and line.method != best
        gap: Cell = Number(verdict.gap, "+.1f") if verdict and behind else Missing("–")
        above = math.isfinite(zero) and line.method != group.zero_shot
        gain: Cell = Number(means[line] - zero, "+.1f") if above else Missing("–")
        cold, cached = (
            Number(value, ",.2g" if value < 1 else ",.1f") if math.isfinite(value) else Missing("–")
            for value in mean_seconds(group, line)
        )
        row = (cells[line.method], gap, gain, cold, cached)
        rows.append(Row(line.method, line.selection, row, method=line.method))
    headers = ("behind the best", "above zero-shot", "s from pixels", "s cached")
    label = f"{column.top} {column.label}".strip()
    first = Column("mAP" if label in ("Avg.", "total") else label, column.level, column.view)
    return Table(
        f"first_{group.name}",
        f"{family_title(group.family)}: {group.title}",
        "first",
        (first, *(Column(header) for header in headers)),
        tuple(rows),
        metric=f"{metric_text(group, column)} (%)",
    )


# ---- what is missing -----------------------------------------------------------------------------


def missing_text(group: Group) -> str:
    """ " 3 of 45 runs are missing: 1 failed, 2 todo." or ""."""
    states = Counter(entry.state for entry in group.everything)
    missing = [f"{states[s]:,} {s}" for s in ("failed", "todo") if states[s]]
    if not missing:
        return ""
    total = len(group.everything) - states["n/a"]
    lost = states["failed"] + states["todo"]
    verb = "is" if lost == 1 else "are"
    return f" {lost:,} of {count(total, 'run')} {verb} missing: {listed(missing)}."


def counts(entries: Iterable[Entry]) -> str:
    """How much of the plan is there."""
    states = Counter(entry.state for entry in entries)
    done = states["done"] + states["stale"]
    total = done + states["failed"] + states["todo"]
    parts = [f"{done:,} of {count(total, 'run')} {'is' if total == 1 else 'are'} done"]
    if states["stale"]:
        parts.append(f"{states['stale']:,} of them by older code")
    parts += [f"{states[s]:,} {s}" for s in ("failed", "todo") if states[s]]
    if states["n/a"]:
        verb = "does" if states["n/a"] == 1 else "do"
        parts.append(f"{count(states['n/a'], 'combination')} {verb} not apply")
    return ", ".join(parts) + "."


def to_fill(entries: Iterable[Entry]) -> list[tuple[str, int]]:
    """(command, number of runs) that computes what is todo or failed."""
    commands = Counter(
        entry.command for entry in entries if isinstance(entry, Hole) and entry.state != "n/a"
    )
    return [(command, n) for command, n in commands.most_common() if command]


def made_with(entries: Iterable[Entry]) -> list[tuple[str, str]]:
    """(name, value): date, commit, versions, encoders of the results."""
    results = [entry for entry in entries if isinstance(entry, Result)]
    found = [result.record["provenance"] for result in results]
    dates = sorted(filter(None, (p.get("end", "")[:10] for p in found)))
    commits = Counter(
        str(p.get("commit", ""))[:10] + (" with changes" if p.get("dirty") else "") for p in found
    )
    torch = Counter(p.get("versions", {}).get("torch", "") for p in found)
    encoders = Counter(result.spec.encoder.label for result in results)
    days = dates[0] if dates and dates[0] == dates[-1] else " to ".join(dates[:: len(dates) - 1])
    return [
        (name, text)
        for name, text in (
            ("date", days if dates else ""),
            ("commit", _most(commits)),
            ("torch", _most(torch)),
            ("encoder", _most(encoders)),
        )
        if text
    ]


def _most(counts: Counter[str]) -> str:
    names = [name for name, _ in counts.most_common() if name]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def banner(groups: Iterable[Group], embedded: Collection[str]) -> str:
    """A warning when the data is embedded, or ""."""
    names = sorted({group.dataset for group in groups if group.dataset in embedded})
    return f"{listed(names)}: {EMBEDDED}" if names else ""


def as_text(
    entries: Sequence[Entry],
    groups: Sequence[Group],
    significance: Significance,
    embedded: Collection[str],
) -> str:
    """The summary for a terminal."""
    lines = [counts(entries)]
    for headline in headlines(groups, significance):
        lines += ["", headline.sentence]
        if headline.table is not None:
            lines += _aligned(headline.table)
    for command, n in to_fill(entries):
        lines += ["", f"{count(n, 'missing run')}: {command}"]
    warning = banner(groups, embedded)
    return "\n".join([*lines, *(["", warning] if warning else [])])


def _aligned(table: Table) -> list[str]:
    """A table in columns of spaces; * marks what is not significantly below the best."""
    rows = [["", *(column.label for column in table.columns)]]
    for row in table.rows:
        cells = [_plain(cell) for cell in row.cells]
        rows.append([row.label, *cells])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in rows
    ]


def _plain(cell: Cell) -> str:
    if isinstance(cell, Missing):
        return cell.short
    star = "*" if isinstance(cell, Measured) and cell.best else ""
    marks = cell.marks if isinstance(cell, Measured | Number) else ()
    return cell.text + star + (f" ({','.join(marks)})" if marks else "")
