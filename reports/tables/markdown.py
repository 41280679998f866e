"""A table as GitHub's Markdown, one text a row."""

from reports.labels import LONGEST_NOTE, plain
from reports.tables.cells import Cell, Measured, Missing, Number, Row, Table


def escape(text: str, longest: int = 200) -> str:
    """Text that neither Markdown nor HTML in it interprets."""
    escaped = plain(text, longest)
    for character in "\\`*_[]|":
        escaped = escaped.replace(character, "\\" + character)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def head(table: Table) -> str:
    labels = [table.first, *(column.text for column in table.columns)]
    header = "| " + " | ".join(map(escape, labels)) + " |\n" + "|---" * len(labels) + "|"
    return f"### {escape(table.caption)}\n\n{header}"


def foot(table: Table) -> str:
    return "\n" + "\n".join(f"- {escape(note, LONGEST_NOTE)}" for note in table.all_notes)


def label(row: Row) -> str:
    kind = {"last": "", "": ""}.get(row.block, f" ({row.block})")
    return escape(row.label + kind)


def row(row: Row) -> str:
    """One line. A row without any number says why once."""
    cells = [cell(c) for c in row.cells]
    if row.everywhere:
        cells = [escape(row.everywhere), *("" for _ in row.cells[1:])]
    return "| " + " | ".join([label(row), *cells]) + " |"


def cell(cell: Cell) -> str:
    if isinstance(cell, Missing):
        return escape(cell.short)
    text = escape(cell.text)
    if isinstance(cell, Measured):
        text = f"<u>{text}</u>" if cell.second else text
        text = f"**{text}**" if cell.best else text
        text += f" ± {cell.sd}" if cell.sd else ""
    if isinstance(cell, Measured | Number) and cell.marks:
        text += f" ({escape(', '.join(cell.marks))})"
    return text
