"""The figures of a group, as SVG and PDF."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import joblib
import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from reports.figures.comparisons import critical_difference, matrix
from reports.figures.style import INK, STYLE, Artist, Look, canvas, dash, plain_log, save
from reports.groups import Group
from reports.significance import Significance
from reports.statistics import Comparison, Ranks, interval
from reports.tables.main import Column, columns_of, seed_values

PARALLEL_FROM = 4  # groups, from which worker processes are worth their start
DOTS = 200  # of single classes for each method


@dataclass(frozen=True)
class Drawing:
    """A finished figure: a file name, a caption and the SVG."""

    name: str
    caption: str
    svg: str
    family: str
    group: str  # name of the group's table, "" for a figure of the whole family


# ---- figures -------------------------------------------------------------------------------------


def curve(group: Group, artist: Artist) -> Figure:
    """mAP against the fraction of known labels: mean, t interval over seeds as bars, every seed as
    a dot."""
    figure, axes = canvas(group.lines)
    everything = []
    for line in group.lines:
        points = []
        for level in group.levels:
            values = seed_values(group, line, Column("", level, group.headline))
            if values:
                points.append((100 * level, interval(list(values.values()))))
                everything += values.values()
            for seed, value in values.items() if len(values) > 1 else ():
                run = group.entries(line, level)[seed].id
                style = {"color": artist.colour(line), "alpha": 0.5, "markeredgewidth": 0}
                axes.plot(
                    [100 * level], [value], ".", markersize=4, gid=artist.tag(line[1], run), **style
                )
        if points:
            x, means = [p[0] for p in points], [p[1].mean for p in points]
            style = {
                "color": artist.colour(line),
                "marker": artist.looks[line[1]].marker,
                "markersize": 3.5,
            }
            axes.plot(x, means, gid=artist.tag(line[1]), **style, **dash(line))
            low, high = [p[1].low for p in points], [p[1].high for p in points]
            whiskers = axes.vlines(
                x, low, high, color=artist.colour(line), linewidth=0.9, alpha=0.6
            )
            whiskers.set_gid(artist.tag(line[1]))
    if everything:  # intervals of two seeds may be wider than the picture
        margin = 0.08 * (max(everything) - min(everything)) + 0.5
        axes.set_ylim(min(everything) - margin, min(max(everything) + margin, 100.5))
    axes.set(xlabel="known labels (%)", ylabel="mAP (%)")
    artist.legend(axes, group.lines)
    return figure


def bars(group: Group, artist: Artist) -> Figure:
    """mAP of total, head, medium and tail classes per method, seeds as dots."""
    columns, lines = columns_of(group), group.lines
    figure, axes = canvas(lines)
    width = 0.8 / max(len(lines), 1)
    for k, line in enumerate(lines):
        for position, column in enumerate(columns):
            values = list(seed_values(group, line, column).values())
            if values:
                x = position + (k - (len(lines) - 1) / 2) * width
                colour = artist.colour(line)
                bar = axes.bar(x, np.mean(values), width * 0.92, color=colour, alpha=0.85)[0]
                bar.set_gid(artist.tag(line[1]))
                dots = {"color": INK, "markersize": 2.5, "gid": artist.tag(line[1])}
                axes.plot([x] * len(values), values, ".", **dots)
    axes.set_xticks(range(len(columns)), [column.label for column in columns])
    axes.set(ylabel="mAP (%)", ylim=(0, 100))
    artist.legend(axes, lines)
    return figure


def seen_unseen(group: Group, artist: Artist) -> Figure:
    """mAP of unseen against seen classes, one mark per seed; the diagonal is no loss on unseen
    classes."""
    figure, axes = canvas(group.lines)
    axes.grid(axis="x", linewidth=0.6)
    limits = [100.0, 0.0]
    for line in group.lines:
        for entry in group.done(line, None).values():
            x, y = entry.value("seen"), entry.value("unseen")
            if math.isfinite(x + y):
                face = "none" if line[0] == "oracle" else artist.colour(line)
                style = {
                    "color": artist.colour(line),
                    "marker": artist.looks[line[1]].marker,
                    "markersize": 6,
                }
                axes.plot(
                    [x],
                    [y],
                    gid=artist.tag(line[1], entry.id),
                    markerfacecolor=face,
                    alpha=0.85,
                    **style,
                )
                limits = [min(limits[0], x, y), max(limits[1], x, y)]
    if limits[0] < limits[1]:
        axes.plot(limits, limits, color=INK, linewidth=0.7, linestyle=":")
    axes.set(xlabel="mAP of seen classes (%)", ylabel="mAP of unseen classes (%)")
    artist.legend(axes, group.lines)
    return figure


def class_precision(group: Group, artist: Artist) -> Figure:
    """AP of a class against the positives known in training: dots are classes, lines are means over
    bins of powers of two."""
    lines = [line for line in group.lines if line[0] != "oracle"] or group.lines
    figure, axes = canvas(lines)
    fewest = math.inf
    for line in lines:
        entries = [
            e
            for (found, _), seeds in group.runs.items()
            if found == line
            for e in seeds.values()
            if e.usable
        ]
        pairs = [
            (e.record["task"].get("known_positives", []), e.average_precision()) for e in entries
        ]
        pairs = [(p, ap) for p, ap in pairs if len(p) == len(ap) > 0]
        if not pairs:
            continue
        x = np.concatenate([np.asarray(p, float) for p, _ in pairs])
        y = np.concatenate([ap for _, ap in pairs])
        x, y = x[np.isfinite(y)], y[np.isfinite(y)]
        fewest = min([fewest, *x])
        thin = slice(None, None, max(1, len(x) // DOTS))
        style = {"color": artist.colour(line), "alpha": 0.3, "markeredgewidth": 0}
        axes.plot(x[thin], y[thin], ".", markersize=4, gid=artist.tag(line[1]), **style)
        bins = np.floor(np.log2(np.maximum(x, 0.5)))
        middles = [(x[bins == b].mean(), y[bins == b].mean()) for b in np.unique(bins)]
        style = {
            "color": artist.colour(line),
            "marker": artist.looks[line[1]].marker,
            "markersize": 3.5,
        }
        axes.plot(*zip(*middles, strict=True), gid=artist.tag(line[1]), **style, **dash(line))
    plain_log(axes, zero=fewest < 1)
    axes.set(xlabel="known positives of the class", ylabel="AP of the class (%)")
    artist.legend(axes, lines)
    return figure


def cost(group: Group, artist: Artist) -> Figure:
    """Headline mAP against the seconds of one fit, means over seeds and label rates."""
    figure, axes = canvas(group.lines)
    column = next(
        (c for c in columns_of(group) if c.level == "avg"),
        Column("", group.levels[0], group.headline),
    )
    for line in group.lines:
        values = seed_values(group, line, column)
        entries = [
            e
            for (found, _), seeds in group.runs.items()
            if found == line
            for e in seeds.values()
            if e.usable
        ]
        seconds = [e.record["cost"].get("fit_s") or 0.0 for e in entries]
        if values and seconds:
            face = "none" if line[0] == "oracle" else artist.colour(line)
            style = {
                "color": artist.colour(line),
                "marker": artist.looks[line[1]].marker,
                "markersize": 8,
            }
            x, y = max(float(np.mean(seconds)), 0.01), float(np.mean(list(values.values())))
            axes.plot(
                [x], [y], gid=artist.tag(line[1]), markerfacecolor=face, linestyle="none", **style
            )
    plain_log(axes)
    axes.grid(axis="x", linewidth=0.6)
    axes.set(
        xlabel="seconds of one fit",
        ylabel=f"mAP (%){', average over rates' if column.level == 'avg' else ''}",
    )
    artist.legend(axes, group.lines)
    return figure


# ---- all of them ---------------------------------------------------------------------------------


def draw_all(
    groups: list[Group], significance: Significance, looks: dict[str, Look], folder: Path
) -> list[Drawing]:
    """Writes every figure to `folder` as SVG and PDF and returns the SVGs."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for index, group in enumerate(groups):
        if group.usable():
            level = "avg" if len(group.levels) > 1 else group.levels[0]
            jobs.append(
                (
                    group,
                    significance.cell(index, group.lines[0][0], level, group.headline),
                    looks,
                    folder,
                )
            )
    ranks = [
        (family, significance.ranks(family, "last"))
        for family in dict.fromkeys(group.family for group in groups)
    ]
    parallel = joblib.Parallel(n_jobs=-1 if len(jobs) >= PARALLEL_FROM else 1)
    drawn = parallel(joblib.delayed(_draw_group)(*job) for job in jobs)
    drawn.append(
        [_draw_ranks(family, found, looks, folder) for family, found in ranks if found is not None]
    )
    return [drawing for drawings in drawn for drawing in drawings]


def _draw_group(
    group: Group, comparison: Comparison | None, looks: dict[str, Look], folder: Path
) -> list[Drawing]:
    drawings = []
    with sns.axes_style("ticks"), matplotlib.rc_context(STYLE):
        for kind, (caption, draw) in _kinds(group, comparison).items():
            name = f"{kind}_{group.name}"
            drawings.append(
                Drawing(
                    name,
                    caption,
                    save(draw(Artist(looks)), folder / name),
                    group.family,
                    group.name,
                )
            )
    return drawings


def _draw_ranks(family: str, ranks: Ranks, looks: dict[str, Look], folder: Path) -> Drawing:
    p = f" Friedman p = {ranks.friedman_p:.2g}." if math.isfinite(ranks.friedman_p) else ""
    caption = f"Average ranks over complete cells; bars join what does not differ.{p}"
    with sns.axes_style("ticks"), matplotlib.rc_context(STYLE):
        svg = save(critical_difference(ranks, Artist(looks)), folder / f"ranks_{family}")
    return Drawing(f"ranks_{family}", caption, svg, family, "")


def _kinds(
    group: Group, comparison: Comparison | None
) -> dict[str, tuple[str, Callable[[Artist], Figure]]]:
    """The figures that make sense for a group: {kind: (caption, function of an artist)}."""
    kinds: dict[str, tuple[str, Callable[[Artist], Figure]]] = {}
    if len(group.levels) > 1:
        caption = "mAP against known labels: means, 95 % t intervals over seeds, seeds as dots"
        kinds["curve"] = (caption, lambda artist: curve(group, artist))
    if group.family == "long_tail":
        kinds["groups"] = ("Head, medium and tail; dots: seeds", lambda artist: bars(group, artist))
    if any("unseen" in entry.record["metrics"] for entry in group.usable()):
        kinds["unseen"] = (
            "Unseen against seen classes, one mark per seed",
            lambda artist: seen_unseen(group, artist),
        )
    kinds["classes"] = (
        "AP of each class against its known positives",
        lambda artist: class_precision(group, artist),
    )
    if comparison is not None and len(comparison.methods) > 1:
        caption = "Differences in points, row minus column; coloured: significant (Holm, 5 %)"
        kinds["differences"] = (caption, lambda artist: matrix(comparison, artist))
    kinds["cost"] = ("Quality against cost", lambda artist: cost(group, artist))
    return kinds
