"""A whole table as text: LaTeX, Markdown or CSV."""

from reports.tables import latex, markdown, tidy
from reports.tables.cells import Table

FORMS = ("tex", "md", "csv")


def render(table: Table, form: str) -> str:
    """The whole table as "tex", "md" or "csv"."""
    if form == "csv":
        texts = [text for row in table.rows for text in tidy.rows(table, row)]
        return "\n".join([tidy.head(table), *texts]) + "\n"
    module = latex if form == "tex" else markdown
    lines, block = [module.head(table)], None
    for row in table.rows:
        if form == "tex" and row.block != block:
            lines.append(latex.rule(row.block, len(table.columns)))
        block = row.block
        lines.append(module.row(row))
    return "\n".join([*lines, module.foot(table)]).rstrip("\n") + "\n"
