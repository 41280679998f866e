"""How methods look in every figure, axes that need no layout, and SVG and PDF with the same bytes
for the same records.

Every shape that belongs to a method has the gid `method-<k>-…` (k = place in the palette), so that
the page can hide a method; what its marks say and which runs they open goes beside the SVG.
"""

import html
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from reports.figures import fonts
from reports.groups import Line
from reports.labels import cut

# the page replaces both by its own, so figures follow light and dark
INK, RULE = "#333333", "#d9d9d9"
ORACLE = "#aa3377"
FIXED = {  # Okabe and Ito's palette, distinguishable with colour-blind eyes
    "dualcoop": "#0072b2",
    "lm_clip": "#d55e00",
    "coop": "#009e73",
    "linear_probe": "#e69f00",
    "zero_shot_clip": "#a6a6a6",
}
# Each next one is the farthest from all before it, for ordinary and for red- or green-blind eyes
# (the least of 0.6 ΔE and of ΔE under Machado, Oliveira and Fernandes, IEEE TVCG 2009).
OTHERS = (
    *("#1010f0", "#704010", "#4070f0", "#f0a0f0", "#10d070", "#d04040"),
    *("#704040", "#f0a0a0", "#f070f0", "#4040a0", "#7010d0", "#a0a040"),
)
MARKERS = {  # and the sign that looks like it, for tables
    **{"o": "●", "s": "■", "D": "◆", "^": "▲", "v": "▼", "P": "✚", "X": "✖", "*": "★"},
    **{"<": "◀", ">": "▶", "p": "⬟", "h": "⬢", "d": "♦", "8": "⯃", "H": "⬣"},
}
DASHES: tuple[Any, ...] = ("-", (0, (1.2, 1.2)), (0, (7, 1.5)))  # one for each run of six methods
WIDE, HIGH = 4.7, 2.5  # inches, the figure and the axes in it
STYLE: Any = {  # matplotlib types every key of it by name
    "svg.fonttype": "none",
    "svg.hashsalt": "lowlabel",
    "pdf.fonttype": 42,  # Type 3 fonts are refused by conferences
    "path.simplify": False,  # dots are lines without length
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
    dash: Any = "-"

    @property
    def sign(self) -> str:
        """The marker as a letter."""
        return MARKERS[self.marker]


def palette(methods: Mapping[str, str]) -> dict[str, Look]:
    """A look for every method, {label: name}: known methods keep their colour, variants and
    newcomers take the next free one. Colours of the first dozen are unlike for every eye; colour,
    marker and dash together are unlike for hundreds of methods."""
    free = itertools.cycle(OTHERS)
    looks: dict[str, Look] = {}
    taken: set[str] = set()
    for index, label in enumerate(sorted(methods)):
        colour = FIXED.get(methods[label])
        if colour is None or colour in taken:
            colour = next(free)
        taken.add(colour)
        marker = list(MARKERS)[index % len(MARKERS)]
        looks[label] = Look(index, colour, marker, DASHES[index // 6 % len(DASHES)])
    return looks


class Mark(NamedTuple):
    """A dot of a figure: what the pointer is told over it, and the run that it opens, or ""."""

    tip: str
    run: str = ""


class Artist:
    """Draws methods with their looks, tags what it draws and remembers what its marks say."""

    def __init__(self, looks: Mapping[str, Look]):
        self.looks = looks
        self.numbers = itertools.count()
        self.marks: dict[str, list[Mark]] = {}

    def tag(self, method: str, marks: Sequence[Mark] = ()) -> str:
        """The gid of a shape; `marks` in the order of its points."""
        name = f"method-{self.looks[method].index}-{next(self.numbers)}"
        if marks:
            self.marks[name] = list(marks)
        return name

    def style(self, line: Line) -> dict[str, Any]:
        """Colour, marker and dash of a line."""
        look = {"color": self.colour(line), "marker": self.looks[line.method].marker}
        return {**look, "markersize": 3.5, **self.dash(line)}

    def dash(self, line: Line) -> dict[str, Any]:
        """A method's own dash for its last epoch; the others are told apart by theirs."""
        own = self.looks[line.method].dash
        return {"linestyle": {"last": own, "val": "-."}.get(line.selection, "--"), "linewidth": 1.4}

    def colour(self, line: Line) -> str:
        return ORACLE if line.selection == "oracle" else self.looks[line.method].colour

    def legend(self, axes: Axes, lines: list[Line]) -> None:
        """A legend below the axes whose entries are tagged as well."""
        handles = [
            Line2D(
                [],
                [],
                color=self.colour(line),
                marker=self.looks[line.method].marker,
                markersize=4,
                **self.dash(line),
            )
            for line in lines
        ]
        labels = [literal(text) for text in _labels(lines)]
        options: dict[str, Any] = {
            "loc": "upper left",
            "borderaxespad": 0,
            "borderpad": 0,
            "columnspacing": 1.2,
            "handlelength": 2.2,
        }
        figure = axes.get_figure(root=True)
        assert figure is not None
        drop = -0.5 / (axes.get_position().height * figure.get_figheight())
        legend = axes.legend(
            handles, labels, ncols=_legend_columns(lines), bbox_to_anchor=(0, drop), **options
        )
        for line, handle, text in zip(
            lines, legend.legend_handles, legend.get_texts(), strict=True
        ):
            assert handle is not None
            handle.set_gid(self.tag(line.method))
            text.set_gid(self.tag(line.method))


def _labels(lines: list[Line]) -> list[str]:
    return [cut(line.text, 40) for line in lines]


def _legend_columns(lines: list[Line]) -> int:
    return max(1, min(len(lines), int(64 / (8 + max(map(len, _labels(lines)), default=0)))))


def literal(text: str) -> str:
    return text.replace("$", r"\$")


def canvas(lines: list[Line]) -> tuple[Figure, Axes]:
    """Axes of a fixed size with room below for a legend of these lines."""
    below = 0.55 + 0.18 * -(-len(lines) // _legend_columns(lines))  # inches
    return axes_of(HIGH, left=0.55, below=below)


def axes_of(height: float, left: float, below: float) -> tuple[Figure, Axes]:
    """Axes `height` inches high. Fixed margins: laying out text automatically takes longer than
    drawing it."""
    total = height + below + 0.1
    figure = plt.figure(figsize=(WIDE, total))
    axes = figure.add_axes((left / WIDE, below / total, (WIDE - left - 0.1) / WIDE, height / total))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def plain_log(axes: Axes, zero: bool = False) -> None:
    """A logarithmic x axis with plain numbers (1, 10, 100), linear below 1 where zeros must be
    shown."""
    if zero:
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=-0.1)
    else:
        axes.set_xscale("log")
    low, high = axes.get_xlim()
    steps = (1,) if high > 300 * max(low, 0.01) else (1, 2, 5)
    ticks = [m * 10.0**e for e in range(-3, 8) for m in steps]
    axes.set_xticks(
        [*([0] if zero else []), *(t for t in ticks if low <= t <= high and (t >= 1 or not zero))]
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def save(figure: Figure, path: Path) -> str:
    """Writes path.svg and path.pdf without dates and returns the SVG. The PDF, whose fonts take
    most of the time, is only written when the figure has changed."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg, target = buffer.getvalue(), Path(f"{path}.svg")
    pdf = Path(f"{path}.pdf")
    if not (pdf.is_file() and target.is_file() and target.read_text(encoding="utf-8") == svg):
        # so that an SVG always has its PDF, also when this is interrupted
        target.unlink(missing_ok=True)
        with matplotlib.rc_context({"font.sans-serif": fonts.family(svg)}):
            figure.savefig(pdf, metadata={"CreationDate": None})
        target.write_text(svg, encoding="utf-8")
    plt.close(figure)
    return svg


def inline(svg: str, caption: str, marks: Mapping[str, Sequence[Mark]]) -> str:
    """An SVG for an HTML page: a name for those who cannot see it, no namespaces or addresses, the
    page's ink, tags as classes, marks with a title and the run that they open."""
    body = svg[svg.index("<svg") :]
    body = body.replace("<svg", f'<svg role="img" aria-label="{html.escape(caption)}"', 1)
    body = re.sub("<metadata>.*?</metadata>", "", body, flags=re.S)
    pieces = re.split('(<g id="method-[^"]*">)', body)
    for k in range(1, len(pieces), 2):
        told = marks.get(pieces[k].split('"')[1])
        if told:
            pieces[k + 1] = _told(pieces[k + 1], told)
    body = "".join(pieces)
    body = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", body)
    body = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", body, count=1)
    body = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", body, count=1)
    body = re.sub(r'id="method-(\d+)-\d+-and-(\d+)"', r'class="m m\1 m\2"', body)
    body = re.sub(r'id="method-(\d+)-\d+"', r'class="m m\1"', body)
    body = re.sub(
        r' id="(figure|axes|patch|line2d|matplotlib\.axis|text|legend|xtick|ytick|Fill)\w*"',
        "",
        body,
    )
    body = (
        body.replace(INK, "currentColor")
        .replace(RULE, "var(--rule)")
        .replace(ORACLE, "var(--oracle)")
    )
    body = re.sub(r"font-family: [^;\"]*;?", "", body)
    return re.sub(r">\s+<", "><", body)


def _told(shape: str, marks: Sequence[Mark]) -> str:
    """The marks of a shape (or the shape itself, if it has none) with their titles and runs."""
    titles = [f"<title>{html.escape(mark.tip)}</title>" for mark in marks]
    drawn = re.findall("<use [^>]*/>", shape[: shape.find("</g>", shape.find("<use "))])
    if len(drawn) != len(marks):  # a bar, or points outside the picture
        return titles[0] + shape if len(marks) == 1 else shape
    for use, title, mark in zip(drawn, titles, marks, strict=True):
        run = f'<use class="run" data-run="{mark.run}"' if mark.run else "<use"
        shape = shape.replace(use, use.replace("<use", run)[:-2] + f">{title}</use>", 1)
    return shape
