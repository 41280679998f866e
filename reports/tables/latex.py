"""A table as LaTeX, one text a row, so that a page can drop rows and keep the format."""

import unicodedata

from reports.labels import LONGEST_NOTE, cut, plain
from reports.tables.cells import BLOCKS, Cell, Measured, Missing, Number, Row, Table

LONGEST_LABEL = 40

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "[": "{[}",  # after \\ a bare [ or * would be an argument
    "]": "{]}",
    "*": "{*}",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    '"': r"''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\to$",
    "’": "'",
    "†": r"$\dagger$",
    "≠": r"$\neq$",
    "↓": r"$\downarrow$",
}


def escape(text: str, longest: int = 200) -> str:
    """A text as LaTeX that every engine compiles: letters it cannot set appear as their code
    points, [U+05D0]."""
    pieces = []
    for c in plain(text, longest):
        if c in _SPECIAL:
            pieces.append(_SPECIAL[c])
        elif c.isascii():
            pieces.append(c)
        else:
            base = unicodedata.normalize("NFKD", c)
            accented = (
                len(base) == 2
                and base[0].isascii()
                and base[1] in "\u0300\u0301\u0302\u0303\u0308\u0327"
            )
            pieces.append(c if accented else f"{{[}}U+{ord(c):04X}{{]}}")
    return "".join(pieces)


def head(table: Table) -> str:
    """Everything above the rows, for `\\input`; it needs \\usepackage{booktabs}."""
    width = len(table.columns)
    # Both columns of a two-column paper for many columns; in a one-column paper table* is an
    # ordinary table.
    environment, size = ("table*", "scriptsize") if width > 6 else ("table", "footnotesize")
    upper = _spans([column.top for column in table.columns])
    lines = [
        f"% {escape(table.caption)}. Needs \\usepackage{{booktabs}}; use with "
        f"\\input{{{table.name}.tex}}",
        rf"\begin{{{environment}}}[t]",
        rf"\centering\{size}\setlength{{\tabcolsep}}{{3pt}}",
        rf"\caption{{{escape(table.caption)}. {_note(table.notes[0]) if table.notes else ''}}}",
        rf"\label{{tab:{table.name.replace('_', '-')}}}",
        rf"\begin{{tabular}}{{l{'c' * width}}}",
        r"\toprule",
    ]
    if any(top for top, _, _ in upper):
        cells = [rf"\multicolumn{{{n}}}{{c}}{{{escape(top)}}}" for top, _, n in upper]
        rules = [rf"\cmidrule(lr){{{start + 2}-{start + n + 1}}}" for top, start, n in upper if top]
        lines += [" & ".join(["", *cells]) + r" \\", " ".join(rules)]
    labels = [table.first, *(column.label for column in table.columns)]
    return "\n".join([*lines, " & ".join(map(escape, labels)) + r" \\"])


def foot(table: Table) -> str:
    """Everything below the rows. The first note stands in the caption."""
    environment = "table*" if len(table.columns) > 6 else "table"
    lines = [r"\bottomrule", r"\end{tabular}"]
    notes = r"\newline ".join(map(_note, table.all_notes[bool(table.notes) :]))
    if notes:
        lines.append(rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize\raggedright {notes}}}")
    return "\n".join([*lines, rf"\end{{{environment}}}"])


def _note(text: str) -> str:
    return escape(text, LONGEST_NOTE)


def row(row: Row) -> str:
    """One line. A row without any number says why once, across its cells."""
    if row.everywhere:
        whole = escape(cut(row.everywhere, 90))
        return rf"{label(row)} & \multicolumn{{{len(row.cells)}}}{{l}}{{{whole}}} \\"
    return " & ".join([label(row), *map(cell, row.cells)]) + r" \\"


def label(row: Row) -> str:
    return escape(cut(row.label, LONGEST_LABEL) if row.block != "published" else row.label)


def cell(cell: Cell) -> str:
    if isinstance(cell, Missing):
        return escape(cell.short)
    text = escape(cell.text)
    if isinstance(cell, Measured):
        text = rf"\underline{{{text}}}" if cell.second else text
        text = rf"\textbf{{{text}}}" if cell.best else text
        text += rf"{{\tiny$\pm${cell.sd}}}" if cell.sd else ""
    if isinstance(cell, Measured | Number) and cell.marks:
        text += rf"\textsuperscript{{{escape(','.join(cell.marks))}}}"
    return text


def _spans(labels: list[str]) -> list[tuple[str, int, int]]:
    """Runs of equal labels as (label, start, length); empty ones stay single."""
    spans: list[tuple[str, int, int]] = []
    for position, text in enumerate(labels):
        if spans and text and spans[-1][0] == text:
            spans[-1] = (text, spans[-1][1], spans[-1][2] + 1)
        else:
            spans.append((text, position, 1))
    return spans


def rule(block: str, width: int) -> str:
    """The line that opens a block of rows."""
    title = BLOCKS.get(block, block)
    line = rf"\multicolumn{{{width + 1}}}{{l}}{{\textit{{{escape(title)}}}}} \\" if title else ""
    return "\\midrule" + ("\n" + line if line else "")
