"""Who differs from whom: the differences in a column as a matrix, and average ranks."""

import itertools
import math
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reports.figures.style import INK, Artist, axes_of, literal
from reports.labels import cut
from reports.statistics import Comparison, Ranks


def matrix(comparison: Comparison, artist: Artist) -> Figure:
    """Differences in points, row minus column; coloured where they are significant among all
    pairs."""
    significance = comparison.all_pairs()
    means = np.nan_to_num(comparison.difference).sum(axis=1)
    order = np.argsort(-means, kind="stable")
    methods = [comparison.methods[k] for k in order]
    names = [literal(cut(m, 26)) for m in methods]
    left = 0.2 + 0.07 * max(map(len, names))
    figure, axes = axes_of(0.36 * len(methods), left, below=0.2 + 0.032 * max(map(len, names)))
    axes.grid(False)
    axes.spines[:].set_visible(False)
    strongest = max(float(np.max(np.abs(np.nan_to_num(comparison.difference)))), 1e-9)
    colours = sns.color_palette("vlag_r", as_cmap=True)
    for i, j in itertools.permutations(range(len(methods)), 2):
        difference = comparison.difference[order[i], order[j]]
        p = significance[order[i], order[j]]
        if math.isfinite(p):
            tag, ink = f"{artist.tag(methods[i])}-and-{artist.looks[methods[j]].index}", INK
            if p < 0.05:  # at least half of the colour, so that a significant cell is never pale
                shade = 0.5 + math.copysign(0.15 + 0.35 * abs(difference) / strongest, difference)
                axes.add_patch(
                    Rectangle(
                        (j - 0.48, i - 0.46),
                        0.96,
                        0.92,
                        facecolor=colours(shade),
                        linewidth=0,
                        gid=tag,
                    )
                )
                ink = "#ffffff" if abs(shade - 0.5) > 0.32 else "#222222"
            style: dict[str, Any] = {"color": ink, "fontsize": 8, "alpha": 1 if p < 0.05 else 0.6}
            axes.text(j, i, f"{difference:+.1f}", ha="center", va="center", gid=tag, **style)
    axes.set_xticks(range(len(methods)), names, rotation=20, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(methods)), names)
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        for method, label in zip(methods, ticks, strict=True):
            label.set_gid(artist.tag(method))
    axes.tick_params(length=0)
    axes.set(xlim=(-0.5, len(methods) - 0.5), ylim=(len(methods) - 0.5, -0.5))
    return figure


def critical_difference(ranks: Ranks, artist: Artist) -> Figure:
    """Average ranks; a bar joins methods that are closer than Nemenyi's critical difference
    (Demšar, JMLR 2006)."""
    order = np.argsort(ranks.average, kind="stable")
    names = [literal(cut(ranks.methods[k], 40)) for k in order]
    figure, axes = axes_of(
        0.2 * len(order) + 0.5, left=0.2 + 0.068 * max(map(len, names)), below=0.5
    )
    axes.grid(False)
    axes.grid(axis="x", linewidth=0.6)
    axes.spines[["left"]].set_visible(False)
    for row, k in enumerate(order):
        look = artist.looks[ranks.methods[k]]
        axes.plot(
            [ranks.average[k]],
            [-row],
            look.marker,
            color=look.colour,
            gid=artist.tag(ranks.methods[k]),
        )
    reach = 0
    for start, k in enumerate(order):
        close = np.flatnonzero(ranks.average[order] - ranks.average[k] < ranks.critical_difference)[
            -1
        ]
        if close > max(reach, start):
            x, y = [ranks.average[k], ranks.average[order[close]]], -(start + close) / 2
            axes.plot(x, [y, y], color=INK, linewidth=3, alpha=0.35, solid_capstyle="round")
        reach = max(reach, close)
    axes.plot([1, 1 + ranks.critical_difference], [0.9, 0.9], color=INK, linewidth=1.2)
    axes.text(
        1, 1.05, f"critical difference {ranks.critical_difference:.2f}", fontsize=7.5, va="bottom"
    )
    axes.set_yticks([-row for row in range(len(order))], names)
    for k, label in zip(order, axes.get_yticklabels(), strict=True):
        label.set_gid(artist.tag(ranks.methods[k]))
    axes.tick_params(axis="y", length=0)
    axes.set(
        xlim=(0.8, len(order) + 0.2), ylim=(-len(order) + 0.5, 1.7), xticks=range(1, len(order) + 1)
    )
    axes.set_xlabel(f"average rank over {ranks.blocks} blocks (1 = best)")
    return figure
