"""The figures of a group, as SVG and PDF."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.columns import Column, columns_of, headline_column, seed_values
from reports.figures.comparisons import critical_difference, matrix
from reports.figures.style import INK, STYLE, Artist, Look, Mark, canvas, plain_log, save
from reports.groups import Group, Line
from reports.significance import Significance
from reports.statistics import Comparison, Interval, Ranks, interval
from reports.tables.side import mean_seconds

DOTS = 200  # of single classes for each method


@dataclass(frozen=True)
class Drawing:
    """A finished figure: a file name, a caption and the SVG; `marks` are what the pointer is told
    over its marks."""

    name: str
    caption: str
    svg: str
    group: str  # name of the group's table, "" for a figure over all of them
    marks: dict[str, list[Mark]] = field(default_factory=dict)


# ---- figures -------------------------------------------------------------------------------------


def curve(group: Group, artist: Artist) -> Figure:
    """mAP against the fraction of known labels: mean, t interval over seeds as bars, every seed as
    a dot. One artist draws all dots of a line: each of its own would take ten times as long."""
    figure, axes = canvas(group.lines)
    everything: list[float] = []
    for line in group.lines:
        dots: list[tuple[float, float]] = []
        marks: list[Mark] = []
        points = []
        for level in group.levels:
            values = seed_values(group, line, Column("", level, group.headline))
            at = 100 * (level or 0)
            if values and level is not None:
                points.append((at, interval(list(values.values()))))
                everything += values.values()
            for seed, value in values.items() if len(values) > 1 else ():
                dots.append((at, value))
                tip = f"{line.text}, {at:g} %, seed {seed}: {value:.2f}"
                marks.append(Mark(tip, group.entries(line, level)[seed].id))
        if points:
            _draw_seeds(axes, artist, line, dots, marks)
            _draw_means(axes, artist, line, points)
    if everything:  # intervals of two seeds may be wider than the picture
        margin = 0.08 * (max(everything) - min(everything)) + 0.5
        axes.set_ylim(min(everything) - margin, min(max(everything) + margin, 100.5))
    axes.set(xlabel="known labels (%)", ylabel="mAP (%)")
    artist.legend(axes, group.lines)
    return figure


def _draw_seeds(
    axes: Axes, artist: Artist, line: Line, dots: list[tuple[float, float]], marks: list[Mark]
) -> None:
    if dots:
        gid = artist.tag(line.method, marks)
        style: dict[str, Any] = {"color": artist.colour(line), "alpha": 0.5, "markeredgewidth": 0}
        axes.plot(*zip(*dots, strict=True), ".", markersize=4, gid=gid, **style)


def _draw_means(
    axes: Axes, artist: Artist, line: Line, points: list[tuple[float, Interval]]
) -> None:
    x, found = zip(*points, strict=True)
    marks = []
    for at, one in points:
        tip = f"{line.text}, {at:g} %: mean {one.mean:.2f}"
        tip += f", 95 % interval {one.low:.2f} to {one.high:.2f}" * (one.n > 1)
        marks.append(Mark(tip))
    gid = artist.tag(line.method, marks)
    axes.plot(x, [one.mean for one in found], gid=gid, **artist.style(line))
    low, high = [one.low for one in found], [one.high for one in found]
    whiskers = axes.vlines(x, low, high, color=artist.colour(line), linewidth=0.9, alpha=0.6)
    whiskers.set_gid(artist.tag(line.method))


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
                tip = f"{line.text}, {column.label}: {np.mean(values):.2f}"
                bar = axes.bar(
                    x, np.mean(values), width * 0.92, color=artist.colour(line), alpha=0.85
                )[0]
                bar.set_gid(artist.tag(line.method, [Mark(tip)]))
                gid = artist.tag(line.method)
                axes.plot([x] * len(values), values, ".", color=INK, markersize=2.5, gid=gid)
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
        dots, marks = [], []
        for seed, result in group.done(line, None).items():
            x, y = result.value("seen"), result.value("unseen")
            if math.isfinite(x + y):
                dots.append((x, y))
                tip = f"{line.text}, seed {seed}: seen {x:.2f}, unseen {y:.2f}"
                marks.append(Mark(tip, result.id))
                limits = [min(limits[0], x, y), max(limits[1], x, y)]
        if dots:
            face = "none" if line.selection == "oracle" else artist.colour(line)
            style = {**artist.style(line), "markersize": 6, "markerfacecolor": face}
            style |= {"linestyle": "none", "alpha": 0.85, "gid": artist.tag(line.method, marks)}
            axes.plot(*zip(*dots, strict=True), **style)
    if limits[0] < limits[1]:
        axes.plot(limits, limits, color=INK, linewidth=0.7, linestyle=":")
    axes.set(xlabel="mAP of seen classes (%)", ylabel="mAP of unseen classes (%)")
    artist.legend(axes, group.lines)
    return figure


def gains(group: Group, line: Line) -> tuple[np.ndarray, np.ndarray]:
    """Known positives and the gain in AP over zero-shot CLIP of the same class on the same test
    images, of every class of every run of a line. What a class has in AP for being easy, zero-shot
    CLIP has as well."""
    base: dict[str, list[np.ndarray]] = {}
    for result in group.usable:
        if result.method == group.zero_shot:
            at = result.record["task"]["fingerprint"]
            base.setdefault(at, []).append(result.average_precision)
    positives, gain = [np.zeros(0)], [np.zeros(0)]
    for result in group.of_line(line):
        task = result.record["task"]
        known = np.asarray(task.get("known_positives", []), float)
        if task["fingerprint"] in base and len(known) == len(result.average_precision):
            zero = np.mean(base[task["fingerprint"]], axis=0)
            positives.append(known)
            gain.append(result.average_precision - zero)
    x, y = np.concatenate(positives), np.concatenate(gain)
    return x[np.isfinite(y)], y[np.isfinite(y)]


def draw_dots(axes: Axes, artist: Artist, line: Line, x: np.ndarray, y: np.ndarray) -> None:
    """Dots as one path of lines without length, whose round ends show: a page bears no thousands
    of marks."""
    there_and_back = [np.column_stack([v, v, np.full(len(v), np.nan)]).ravel() for v in (x, y)]
    style: dict[str, Any] = {"color": artist.colour(line), "alpha": 0.3, "linewidth": 2}
    axes.plot(*there_and_back, solid_capstyle="round", gid=artist.tag(line.method), **style)


def class_gains(group: Group, artist: Artist) -> Figure:
    """Gain in AP over zero-shot CLIP of the same class, against the positives known in training:
    dots are classes, lines are means over bins of powers of two."""
    lines = [line for line in group.lines if line.method != group.zero_shot]
    lines = [line for line in lines if line.selection != "oracle"] or lines
    figure, axes = canvas(lines)
    fewest = math.inf
    for line in lines:
        x, y = gains(group, line)
        if not len(x):
            continue
        fewest = min([fewest, *x])
        thin = slice(None, None, max(1, len(x) // DOTS))
        draw_dots(axes, artist, line, x[thin], y[thin])
        bins = np.floor(np.log2(np.maximum(x, 0.5)))
        middles = [(x[bins == b].mean(), y[bins == b].mean()) for b in np.unique(bins)]
        marks = [
            Mark(f"{line.text}, about {at:.0f} known positives: {mean:+.2f} points")
            for at, mean in middles
        ]
        gid = artist.tag(line.method, marks)
        axes.plot(*zip(*middles, strict=True), gid=gid, **artist.style(line))
    axes.axhline(0, color=INK, linewidth=0.7)
    plain_log(axes, zero=fewest < 1)
    axes.set(xlabel="known positives of the class", ylabel="AP − zero-shot AP (points)")
    artist.legend(axes, lines)
    return figure


def cost(group: Group, artist: Artist) -> Figure:
    """Headline mAP against the seconds of one run from pixels to predictions (filled) and with
    cached features (light), means over seeds and label rates."""
    figure, axes = canvas(group.lines)
    column = headline_column(group)
    for line in group.lines:
        values = list(seed_values(group, line, column).values())
        cold, cached = mean_seconds(group, line)
        if not values or not math.isfinite(cached):
            continue
        y = float(np.mean(values))
        style = {**artist.style(line), "linestyle": "none", "markersize": 8}
        both = [x for x in (cached, cold) if x > 0]
        axes.plot(both, [y] * len(both), color=artist.colour(line), linewidth=1, alpha=0.5,
                  gid=artist.tag(line.method))  # fmt: skip
        for x, alpha, what in ((cached, 0.4, "with cached features"), (cold, 1.0, "from pixels")):
            if x > 0:
                tip = f"{line.text}: {y:.2f} at {x:.3g} s {what}"
                gid = artist.tag(line.method, [Mark(tip)])
                axes.plot([x], [y], gid=gid, alpha=alpha, **style)
    plain_log(axes)
    axes.grid(axis="x", linewidth=0.6)
    average = ", average over rates" if column.level == "avg" else ""
    axes.set(xlabel="seconds of one run", ylabel=f"{column.top} mAP (%){average}".strip())
    artist.legend(axes, group.lines)
    return figure


# ---- all of them ---------------------------------------------------------------------------------


def draw_all(
    groups: Sequence[Group],
    significance: Significance,
    looks: Mapping[str, Look],
    folder: Path,
    ranks: tuple[Ranks | None, str] = (None, ""),
) -> list[Drawing]:
    """Writes every figure to `folder` as SVG and PDF and returns the SVGs."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings = []
    for group in groups:
        if group.usable:
            compared = significance.column(group, group.honest, headline_column(group))
            drawings += _draw_group(group, compared, looks, folder)
    found, caption = ranks
    if found is not None:
        artist = Artist(looks)
        with sns.axes_style("ticks"), matplotlib.rc_context(STYLE):
            svg = save(critical_difference(found, artist), folder / "ranks")
        drawings.append(Drawing("ranks", caption, svg, "", artist.marks))
    return drawings


def _draw_group(
    group: Group, comparison: Comparison | None, looks: Mapping[str, Look], folder: Path
) -> list[Drawing]:
    drawings = []
    with sns.axes_style("ticks"), matplotlib.rc_context(STYLE):
        for kind, (caption, draw) in _kinds(group, comparison).items():
            name, artist = f"{kind}_{group.name}", Artist(looks)
            svg = save(draw(artist), folder / name)
            drawings.append(Drawing(name, caption, svg, group.name, artist.marks))
    return drawings


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
    if any("unseen" in result.record["metrics"] for result in group.usable):
        caption = "Unseen against seen classes, one mark per seed"
        kinds["unseen"] = (caption, lambda artist: seen_unseen(group, artist))
    if any(len(gains(group, line)[0]) for line in _others(group)):
        caption = "Gain over zero-shot CLIP of each class against its known positives"
        kinds["classes"] = (caption, lambda artist: class_gains(group, artist))
    if comparison is not None and len(comparison.methods) > 1:
        caption = "Differences in points, row minus column; coloured: significant (all pairs, 5 %)"
        kinds["differences"] = (caption, lambda artist: matrix(comparison, artist))
    caption = "Quality against cost: from pixels (full colour) and with cached features (light)"
    kinds["cost"] = (caption, lambda artist: cost(group, artist))
    return kinds


def _others(group: Group) -> list[Line]:
    return [line for line in group.lines if line.method != group.zero_shot]
