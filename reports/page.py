"""The report: tables, figures and one self-contained HTML page, made from whatever records
exist."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from benchmark.files import write_atomically
from benchmark.planned import Planned
from benchmark.store import Store
from reports import export, significance, summary
from reports.columns import family_title
from reports.figures import style
from reports.figures.groups import draw_all
from reports.groups import arrange, collect
from reports.html.content import content, packed
from reports.significance import Significance
from reports.tables.cells import Table
from reports.tables.formats import FORMS, render
from reports.tables.main import GENERAL, main_table
from reports.tables.side import cost_table, gap_table, query_table

TEMPLATES = Path(__file__).parent / "html" / "templates"


@dataclass(frozen=True)
class Report:
    """Where the report lies, and its first screen as text."""

    path: Path
    text: str


def build(
    outs: Sequence[Path],
    plan: Iterable[Planned] = (),
    titles: Mapping[str, str] | None = None,
    embedded: Collection[str] = (),
    tables_only: bool = False,
    program: str = "python run_all.py",
) -> Report:
    """Writes `tables/`, `figures/`, `results.csv` and `report.html` into the first of `outs`.

    The rows of a plan say what is missing and why; without them only records speak. `titles` are
    how methods are called in tables ({name: title}), `embedded` the data sets that ship with the
    suite, `program` is how the reader starts it.
    """
    outs = [Path(out) for out in outs]
    out = outs[0]
    entries = collect(outs, plan, titles)
    groups = arrange(entries)
    tested = Significance(out / "cache" / "influences")
    tested.prepare(groups)
    side = [gap_table(groups), *map(cost_table, groups), *map(query_table, groups)]
    tables = [*(main_table(group, tested) for group in groups), *filter(None, side)]
    write_tables(tables, out / "tables")
    text = summary.as_text(entries, groups, tested, embedded) if entries else ""
    damaged = damaged_records(outs, {entry.id for entry in entries if entry.record})
    text = "\n".join([*filter(None, [text]), *(f"{place}: {why}" for place, why in damaged)])
    if tables_only:
        return Report(out / "tables", text)
    export.write([entry.record for entry in entries if entry.record], out)
    looks = style.palette({entry.method: entry.spec.method.name for entry in entries})
    ranks = significance.ranks(groups)
    drawings = draw_all(groups, tested, looks, out / "figures", ranks)
    first = summary.headlines(groups, tested)
    tables += [headline.table for headline in first if headline.table]
    data = content(entries, groups, tables, drawings, tested, looks, out, program)
    data["damaged"] = damaged
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    html = environment.get_template("report.html").render(
        program=program,
        counts=summary.counts(entries) if entries else "",
        headlines=first,
        made_with=summary.made_with(entries),
        banner=summary.banner(groups, embedded),
        fill=summary.to_fill(entries),
        ranks=ranks[1] if len(groups) > 1 else "",
        families=[
            (family, family_title(family)) for family in dict.fromkeys(g.family for g in groups)
        ],
        groups=groups,
        general=GENERAL,
        datasets=sorted({group.dataset for group in groups}),
        css=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        scripts=[
            Markup((TEMPLATES / name).read_text(encoding="utf-8"))
            for name in ("statistics.js", "tables.js", "report.js")
        ],
        data=Markup(packed(data)),
    )
    path = out / "report.html"
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, html.encode())
    return Report(path, text)


def damaged_records(outs: Sequence[Path], known: Collection[str]) -> list[tuple[str, str]]:
    """(folder of a run, what is wrong with it) of every record that cannot be read and that no
    other folder has."""
    return [
        (f"{out}/runs/{id}", why)
        for out in outs
        for id, why in Store(out).damaged().items()
        if id not in known
    ]


def write_tables(built: Iterable[Table], folder: Path) -> None:
    """Every table as .tex, .md and .csv."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in built:
        for form in FORMS:
            (folder / f"{table.name}.{form}").write_text(render(table, form), encoding="utf-8")
