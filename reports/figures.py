"""Figures of a group as SVG and PDF, the same bytes for the same records; groups of shapes carry their method's name.

Every shape that belongs to a method has the gid `method-<k>-…` (k = place in the palette), and `…-run-<id>` when it is
one run, so that the page can hide a method and open a run.
"""

import io
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.statistics import Ranks, interval
from reports.results import Group
from reports.significance import Significance
from reports.tables import Column, columns_of, family_title, seed_values

INK, RULE = "#333333", "#d9d9d9"  # the page replaces both by its own, so figures follow light and dark
ORACLE = "#aa3377"
FIXED = {  # Okabe and Ito's palette, distinguishable with colour-blind eyes
    "dualcoop": "#0072b2",
    "lm_clip": "#d55e00",
    "coop": "#009e73",
    "linear_probe": "#e69f00",
    "zero_shot_clip": "#7f7f7f",
}
OTHERS = ("#56b4e9", "#cc79a7", "#8c6d31", "#7b6bd6", "#b5a900", "#3b8686")
MARKERS = "osD^vPX*<>"
WIDE, HIGH = 4.7, 3.2  # inches
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lowlabel",
    "pdf.fonttype": 42,
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": RULE,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Look:
    """How a method is drawn, everywhere."""

    index: int
    colour: str
    marker: str


@dataclass(frozen=True)
class Drawing:
    """A finished figure: a file name, a caption and the SVG."""

    name: str
    caption: str
    svg: str
    family: str
    dataset: str


def palette(labels: list[str]) -> dict[str, Look]:
    """A look for every method label: known methods keep their colour, variants and newcomers take the next free one."""
    free = itertools.cycle(OTHERS)
    looks, taken = {}, set()
    for index, label in enumerate(sorted(labels)):
        colour = FIXED.get(label.split("(")[0])
        if colour is None or colour in taken:
            colour = next(free)
        taken.add(colour)
        looks[label] = Look(index, colour, MARKERS[index % len(MARKERS)])
    return looks


class Artist:
    """Draws methods with their looks and tags what it draws."""

    def __init__(self, looks: dict[str, Look]):
        self.looks = looks
        self.numbers = itertools.count()

    def tag(self, method: str, run: str = "") -> str:
        suffix = f"-run-{run}" if run else ""
        return f"method-{self.looks[method].index}-{next(self.numbers)}{suffix}"

    def colour(self, line: tuple[str, str]) -> str:
        return ORACLE if line[0] == "oracle" else self.looks[line[1]].colour

    def legend(self, axes: Axes, lines: list[tuple[str, str]], **options) -> None:
        """A legend whose entries are tagged as well."""
        handles = [
            plt.Line2D([], [], color=self.colour(line), marker=self.looks[line[1]].marker, markersize=4, **_dash(line))
            for line in lines
        ]
        labels = [line[1] if line[0] == "last" else f"{line[1]} ({line[0]})" for line in lines]
        labels = [label if len(label) <= 34 else label[:33] + "…" for label in labels]
        legend = axes.legend(handles, [_literal(label) for label in labels], **options)
        for line, handle, text in zip(lines, legend.legend_handles, legend.get_texts(), strict=True):
            handle.set_gid(self.tag(line[1]))
            text.set_gid(self.tag(line[1]))


def _literal(text: str) -> str:
    return text.replace("$", r"\$")


def _dash(line: tuple[str, str]) -> dict:
    return {"linestyle": {"last": "-", "val": "-."}.get(line[0], "--"), "linewidth": 1.4}


def _canvas(height: float = HIGH) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(WIDE, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


# ---- figures ------------------------------------------------------------------------------------------------------


def curve(group: Group, artist: Artist) -> Figure:
    """mAP against the fraction of known labels: mean, t interval over seeds as a band, every seed as a dot."""
    figure, axes = _canvas()
    for line in group.lines:
        points = []
        for level in group.levels:
            values = seed_values(group, line, Column("", level, group.headline))
            if values:
                points.append((100 * level, interval(list(values.values()))))
                for seed, value in values.items():
                    run = group.entries(line, level)[seed].id
                    style = {"color": artist.colour(line), "alpha": 0.55, "markeredgewidth": 0}
                    axes.plot([100 * level], [value], ".", markersize=4, gid=artist.tag(line[1], run), **style)
        if points:
            x, results = [p[0] for p in points], [p[1] for p in points]
            style = {"color": artist.colour(line), "marker": artist.looks[line[1]].marker, "markersize": 3.5}
            axes.plot(x, [r.mean for r in results], gid=artist.tag(line[1]), **style, **_dash(line))
            if len(points) > 1 and all(r.n > 1 for r in results):
                low, high = [r.low for r in results], [r.high for r in results]
                band = axes.fill_between(x, low, high, color=artist.colour(line), alpha=0.12, linewidth=0)
                band.set_gid(artist.tag(line[1]))
    axes.set(xlabel="known labels (%)", ylabel="mAP (%)")
    artist.legend(axes, group.lines, loc="best")
    return figure


def bars(group: Group, artist: Artist) -> Figure:
    """mAP of total, head, medium and tail classes per method, seeds as dots."""
    figure, axes = _canvas()
    columns, lines = columns_of(group), group.lines
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
    artist.legend(axes, lines, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3)
    return figure


def seen_unseen(group: Group, artist: Artist) -> Figure:
    """mAP of unseen against seen classes, one mark per seed; the diagonal is no loss on unseen classes."""
    figure, axes = _canvas()
    axes.grid(axis="x", linewidth=0.6)
    limits = [100.0, 0.0]
    for line in group.lines:
        for entry in group.done(line, None).values():
            x, y = entry.value("seen"), entry.value("unseen")
            if math.isfinite(x + y):
                face = "none" if line[0] == "oracle" else artist.colour(line)
                style = {"color": artist.colour(line), "marker": artist.looks[line[1]].marker, "markersize": 6}
                axes.plot([x], [y], gid=artist.tag(line[1], entry.id), markerfacecolor=face, alpha=0.85, **style)
                limits = [min(limits[0], x, y), max(limits[1], x, y)]
    if limits[0] < limits[1]:
        axes.plot(limits, limits, color=INK, linewidth=0.7, linestyle=":")
    axes.set(xlabel="mAP of seen classes (%)", ylabel="mAP of unseen classes (%)")
    artist.legend(axes, group.lines, loc="best")
    return figure


def class_precision(group: Group, artist: Artist) -> Figure:
    """AP of a class against the positives known in training: dots are classes, lines are means over bins of powers
    of two."""
    figure, axes = _canvas()
    for line in group.lines:
        if line[0] == "oracle":
            continue
        entries = [e for (found, _), seeds in group.runs.items() if found == line for e in seeds.values() if e.usable]
        pairs = [(e.record["task"]["known_positives"], e.average_precision()) for e in entries]
        if not pairs:
            continue
        x = np.concatenate([np.asarray(p, float) for p, _ in pairs])
        y = np.concatenate([ap for _, ap in pairs])
        x, y = x[np.isfinite(y)], y[np.isfinite(y)]
        thin = slice(None, None, max(1, len(x) // 250))
        style = {"color": artist.colour(line), "alpha": 0.25, "markeredgewidth": 0}
        axes.plot(x[thin], y[thin], ".", markersize=4, gid=artist.tag(line[1]), **style)
        bins = np.floor(np.log2(np.maximum(x, 1)))
        middles = [(x[bins == b].mean(), y[bins == b].mean()) for b in np.unique(bins)]
        style = {"color": artist.colour(line), "marker": artist.looks[line[1]].marker, "markersize": 3.5}
        axes.plot(*zip(*middles, strict=True), gid=artist.tag(line[1]), **style, **_dash(line))
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=0)
    axes.set(xlabel="known positives of the class", ylabel="AP of the class (%)")
    artist.legend(axes, [line for line in group.lines if line[0] != "oracle"], loc="best")
    return figure


def cost(group: Group, artist: Artist) -> Figure:
    """Headline mAP against the seconds of one fit, means over seeds and label rates."""
    figure, axes = _canvas()
    column = next((c for c in columns_of(group) if c.level == "avg"), Column("", group.levels[0], group.headline))
    for line in group.lines:
        values = seed_values(group, line, column)
        entries = [e for (found, _), seeds in group.runs.items() if found == line for e in seeds.values() if e.usable]
        seconds = [e.record["cost"].get("fit_s") or 0.0 for e in entries]
        if values and seconds:
            face = "none" if line[0] == "oracle" else artist.colour(line)
            style = {"color": artist.colour(line), "marker": artist.looks[line[1]].marker, "markersize": 8}
            x, y = max(float(np.mean(seconds)), 0.01), float(np.mean(list(values.values())))
            axes.plot([x], [y], gid=artist.tag(line[1]), markerfacecolor=face, linestyle="none", **style)
    axes.set_xscale("log")
    axes.grid(axis="x", linewidth=0.6)
    axes.set(xlabel="seconds of one fit", ylabel=f"mAP (%){', average over rates' if column.level == 'avg' else ''}")
    artist.legend(axes, group.lines, loc="best")
    return figure


def matrix(index: int, group: Group, significance: Significance, artist: Artist) -> Figure | None:
    """Differences in points, row minus column; pale where they are not significant."""
    level = "avg" if len(group.levels) > 1 else group.levels[0]
    comparison = significance.cell(index, _main_selection(group), level, group.headline)
    if comparison is None or len(comparison.methods) < 2:
        return None
    means = comparison.difference.sum(axis=1)
    order = np.argsort(-np.nan_to_num(means), kind="stable")
    methods = [comparison.methods[k] for k in order]
    figure, axes = _canvas(1.1 + 0.42 * len(methods))
    axes.grid(False)
    axes.spines[:].set_visible(False)
    strongest = max(float(np.nanmax(np.abs(comparison.difference))), 1e-9)
    colours = sns.color_palette("vlag_r", as_cmap=True)
    for i, j in itertools.permutations(range(len(methods)), 2):
        difference, p = comparison.difference[order[i], order[j]], comparison.p[order[i], order[j]]
        if math.isfinite(p):
            face = colours(0.5 + 0.5 * difference / strongest) if p < 0.05 else (0.5, 0.5, 0.5, 0.08)
            box = axes.add_patch(plt.Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, facecolor=face))
            dark = p < 0.05 and abs(difference) > 0.6 * strongest
            ink = "#ffffff" if dark else "#222222" if p < 0.05 else INK
            text = axes.text(j, i, f"{difference:+.1f}", ha="center", va="center", color=ink, fontsize=8)
            for shape in (box, text):
                shape.set_gid(f"{artist.tag(methods[i])}-and-{artist.looks[methods[j]].index}")
    names = [_literal(m if len(m) <= 24 else m[:23] + "…") for m in methods]
    axes.set_xticks(range(len(methods)), names, rotation=25, ha="right")
    axes.set_yticks(range(len(methods)), names)
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        for method, label in zip(methods, ticks, strict=True):
            label.set_gid(artist.tag(method))
    axes.tick_params(length=0)
    axes.set(xlim=(-0.5, len(methods) - 0.5), ylim=(len(methods) - 0.5, -0.5))
    return figure


def critical_difference(ranks: Ranks, artist: Artist) -> Figure:
    """Average ranks on a line; a bar of the length of Nemenyi's critical difference."""
    order = np.argsort(ranks.average, kind="stable")
    figure, axes = _canvas(0.9 + 0.24 * len(order))
    axes.spines[["left"]].set_visible(False)
    axes.set_yticks([])
    for row, k in enumerate(order):
        method, x, y = ranks.methods[k], ranks.average[k], -row
        look = artist.looks[method]
        axes.plot([x, x + ranks.critical_difference], [y, y], color=look.colour, alpha=0.35, gid=artist.tag(method))
        axes.plot([x], [y], marker=look.marker, color=look.colour, gid=artist.tag(method))
        name = method if len(method) <= 34 else method[:33] + "…"
        axes.text(x - 0.08, y, _literal(name), ha="right", va="center", fontsize=8, gid=artist.tag(method))
    axes.set_xlim(0, len(order) + ranks.critical_difference * 0.6)
    axes.set_xticks(range(1, len(order) + 1))
    axes.set_ylim(-len(order) + 0.4, 0.6)
    axes.set_xlabel(f"average rank over {ranks.cells} cells (1 = best); bars: critical difference")
    return figure


def _main_selection(group: Group) -> str:
    """The first honest selection of a group, else the oracle."""
    return group.lines[0][0]


# ---- all of them --------------------------------------------------------------------------------------------------


def draw_all(groups: list[Group], significance: Significance, looks: dict[str, Look], folder: Path) -> list[Drawing]:
    """Writes every figure to `folder` as SVG and PDF and returns the SVGs."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings = []
    with sns.axes_style("ticks"), matplotlib.rc_context(STYLE):
        for index, group in enumerate(groups):
            if not group.usable():
                continue
            kinds = _kinds(index, group, significance)
            for kind, (caption, draw) in kinds.items():
                figure = draw(Artist(looks))
                if figure is not None:
                    name = f"{kind}_{group.name}"
                    title = f"{family_title(group.family)}: {group.title}. {caption}"
                    drawings.append(Drawing(name, title, save(figure, folder / name), group.family, group.dataset))
        for family in dict.fromkeys(group.family for group in groups):
            ranks = significance.ranks(family, "last")
            if ranks is not None:
                figure = critical_difference(ranks, Artist(looks))
                name = f"ranks_{family}"
                caption = (
                    f"{family_title(family)}. Average ranks over complete cells; Friedman p = {ranks.friedman_p:.2g}"
                )
                drawings.append(Drawing(name, caption, save(figure, folder / name), family, ""))
    return drawings


def _kinds(index: int, group: Group, significance: Significance) -> dict[str, tuple[str, Callable]]:
    """The figures that make sense for a group: {kind: (caption, function of an artist)}."""
    kinds: dict[str, tuple[str, Callable]] = {}
    if len(group.levels) > 1:
        caption = "mAP against known labels; lines: mean, bands: 95 % t interval, dots: seeds"
        kinds["curve"] = (caption, lambda artist: curve(group, artist))
    if group.family == "long_tail":
        kinds["groups"] = ("Head, medium and tail; dots: seeds", lambda artist: bars(group, artist))
    if any("unseen" in entry.record["metrics"] for entry in group.usable()):
        kinds["unseen"] = ("Unseen against seen classes, one mark per seed", lambda artist: seen_unseen(group, artist))
    kinds["classes"] = ("AP of each class against its known positives", lambda artist: class_precision(group, artist))
    kinds["cost"] = ("Quality against cost", lambda artist: cost(group, artist))
    caption = "Differences in points, row minus column; grey: not significant (Holm, 5 %)"
    kinds["differences"] = (caption, lambda artist: matrix(index, group, significance, artist))
    return kinds


def save(figure: Figure, path: Path) -> str:
    """Writes path.svg and path.pdf without dates and returns the SVG."""
    figure.savefig(f"{path}.pdf", metadata={"CreationDate": None})
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    Path(f"{path}.svg").write_text(buffer.getvalue(), encoding="utf-8")
    return buffer.getvalue()


def inline(svg: str) -> str:
    """An SVG for an HTML page: no namespaces or addresses, the page's ink, tags as classes and data attributes."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", body)
    body = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", body, count=1)
    body = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", body, count=1)
    body = re.sub(r'id="method-(\d+)-\d+-and-(\d+)"', r'class="m m\1 m\2"', body)
    body = re.sub(r'id="method-(\d+)-\d+-run-(\w+)"', r'class="m m\1 run" data-run="\2"', body)
    body = re.sub(r'id="method-(\d+)-\d+"', r'class="m m\1"', body)
    body = re.sub(r' id="(figure|axes|patch|line2d|matplotlib\.axis|text|legend|xtick|ytick|Fill)\w*"', "", body)
    body = body.replace(INK, "currentColor").replace(RULE, "var(--rule)").replace("'DejaVu Sans'", "inherit")
    return re.sub(r">\s+<", "><", body)
