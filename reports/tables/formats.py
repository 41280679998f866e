"""A table, and its LaTeX, Markdown and CSV: one text per row, so that a page can drop rows and keep
the format."""

import csv
import io
import unicodedata
from dataclasses import dataclass

LONGEST_LATEX_LABEL = 32
LONGEST = 200  # characters of any text in a table

BLOCKS = {
    "last": "Last epoch",
    "val": "Epoch chosen on val",
    "oracle": "Oracle: epoch chosen on test, not ranked",
    "published": "Published",
}


@dataclass(frozen=True)
class Cell:
    """`text` and `sd` as printed. A cell without text is a hole and says why. `marks` qualify a
    number."""

    text: str = ""
    sd: str = ""
    best: bool = False  # not significantly below the best
    second: bool = False
    hole: str = ""
    marks: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()  # ids
    exact: float | None = None


@dataclass(frozen=True)
class Row:
    """`block` is a selection, "published" or "" (a line about the table, e.g. the detectable
    difference)."""

    label: str
    block: str
    cells: tuple[Cell, ...]
    method: str = ""  # label of a measured method, for hiding it
    note: str = ""  # where it comes from


@dataclass(frozen=True)
class Table:
    """`columns` are (upper header or "", header) pairs; `place` is the part of the page that shows
    the table."""

    name: str
    title: str
    place: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


# ---- LaTeX ---------------------------------------------------------------------------------------

_LATEX = {
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
}


def latex_text(text: str) -> str:
    """Any text as LaTeX that every engine compiles: letters it cannot set appear as their code
    points, [U+05D0]."""
    pieces = []
    for c in plain_text(text):
        if c in _LATEX:
            pieces.append(_LATEX[c])
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


def plain_text(text: str) -> str:
    """One line without control characters, at most `LONGEST` characters."""
    text = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in str(text))
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def latex_parts(table: Table) -> tuple[str, list[str], str]:
    """Head, one text per row and foot of a booktabs table for `\\input`; it needs
    \\usepackage{booktabs}."""
    width = len(table.columns)
    # Both columns of a two-column paper for many columns; in a one-column paper table* is an
    # ordinary table.
    environment, size = ("table*", "scriptsize") if width > 6 else ("table", "footnotesize")
    upper = _spans([top for top, _ in table.columns])
    lines = [
        f"% {latex_text(table.title)}. Needs \\usepackage{{booktabs}}; use with "
        f"\\input{{{table.name}.tex}}",
        rf"\begin{{{environment}}}[t]",
        rf"\centering\{size}\setlength{{\tabcolsep}}{{3pt}}",
        rf"\caption{{{latex_text(table.title)}}}",
        rf"\label{{tab:{table.name.replace('_', '-')}}}",
        rf"\begin{{tabular}}{{l{'c' * width}}}",
        r"\toprule",
    ]
    if any(top for top, _, _ in upper):
        cells = [rf"\multicolumn{{{n}}}{{c}}{{{latex_text(top)}}}" for top, _, n in upper]
        rules = [rf"\cmidrule(lr){{{start + 2}-{start + n + 1}}}" for top, start, n in upper if top]
        lines += [" & ".join(["", *cells]) + r" \\", " ".join(rules)]
    lines += [" & ".join(["Method", *(latex_text(label) for _, label in table.columns)]) + r" \\"]
    foot = [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        notes = r"\newline ".join(latex_text(note) for note in table.notes)
        foot.append(rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize\raggedright {notes}}}")
    foot.append(rf"\end{{{environment}}}")
    return "\n".join(lines), [_latex_row(row) for row in table.rows], "\n".join(foot)


def _latex_row(row: Row) -> str:
    cells = []
    for cell in row.cells:
        text = latex_text(cell.text or short_hole(cell.hole))
        if cell.second:
            text = rf"\underline{{{text}}}"
        if cell.best:
            text = rf"\textbf{{{text}}}"
        if cell.sd:
            text += rf"{{\tiny$\pm${latex_text(cell.sd)}}}"
        cells.append(text)
    mark = r"$^\dagger$" if "second hand" in row.note else ""
    label = (
        row.label
        if len(row.label) <= LONGEST_LATEX_LABEL
        else row.label[: LONGEST_LATEX_LABEL - 1] + "…"
    )
    return " & ".join([latex_text(label) + mark, *cells]) + r" \\"


def _spans(labels: list[str]) -> list[tuple[str, int, int]]:
    """Runs of equal labels as (label, start, length); empty ones stay single."""
    spans: list[tuple[str, int, int]] = []
    for position, label in enumerate(labels):
        if spans and label and spans[-1][0] == label:
            spans[-1] = (label, spans[-1][1], spans[-1][2] + 1)
        else:
            spans.append((label, position, 1))
    return spans


def latex_block(block: str, width: int) -> str:
    """The line that opens a block of rows."""
    title = BLOCKS.get(block, block)
    line = (
        rf"\multicolumn{{{width + 1}}}{{l}}{{\textit{{{latex_text(title)}}}}} \\" if title else ""
    )
    return "\\midrule" + ("\n" + line if line else "")


def short_hole(reason: str) -> str:
    """What fits where a number would stand: n/a, failed, or a dash."""
    for start in ("n/a", "failed", "crashed", "timeout"):
        if reason.startswith(start):
            return start
    return "–"


# ---- Markdown and CSV ----------------------------------------------------------------------------


def markdown_text(text: str) -> str:
    """Text that neither Markdown nor HTML in it interprets."""
    escaped = plain_text(text)
    for character in "\\`*_[]|":
        escaped = escaped.replace(character, "\\" + character)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown_parts(table: Table) -> tuple[str, list[str], str]:
    """Head, one text per row and foot of a GitHub table."""
    labels = [" ".join(filter(None, pair)) for pair in table.columns]
    head = "| " + " | ".join(["Method", *map(markdown_text, labels)]) + " |\n"
    head = f"### {markdown_text(table.title)}\n\n" + head + "|---" * (len(labels) + 1) + "|"
    rows = []
    for row in table.rows:
        cells = []
        for cell in row.cells:
            text = markdown_text(cell.text or cell.hole or "–")
            text = f"<u>{text}</u>" if cell.second else text
            text = f"**{text}**" if cell.best else text
            cells.append(f"{text} ± {cell.sd}" if cell.sd else text)
        kind = {"last": "", "": ""}.get(row.block, f" ({row.block})")
        rows.append("| " + " | ".join([markdown_text(row.label + kind), *cells]) + " |")
    return head, rows, "\n" + "\n".join(f"- {markdown_text(note)}" for note in table.notes)


def csv_parts(table: Table) -> tuple[str, list[str], str]:
    """Head, one text per row and an empty foot; each column as value and standard deviation, exact
    where known."""
    labels = [" ".join(filter(None, pair)) for pair in table.columns]
    head = ["method", "kind", *(text for label in labels for text in (label, f"{label} sd"))]
    rows = []
    for row in table.rows:
        values = [row.label, row.block]
        for cell in row.cells:
            values += [
                f"{cell.exact:.4f}" if cell.exact is not None else cell.text or cell.hole,
                cell.sd,
            ]
        rows.append(_csv_line(values))
    return _csv_line(head), rows, ""


def _csv_line(values: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(
        [_no_formula(plain_text(value)) for value in values]
    )
    return buffer.getvalue()


def _no_formula(text: str) -> str:
    """A spreadsheet must not run a name as a formula."""
    return "'" + text if text.startswith(("=", "+", "@")) else text


def render(table: Table, form: str) -> str:
    """The whole table as "tex", "md" or "csv"."""
    head, rows, foot = {"tex": latex_parts, "md": markdown_parts, "csv": csv_parts}[form](table)
    lines, block = [head], None
    for row, text in zip(table.rows, rows, strict=True):
        if form == "tex" and row.block != block:
            lines.append(latex_block(row.block, len(table.columns)))
        block = row.block
        lines.append(text)
    return "\n".join([*lines, foot]).rstrip("\n") + "\n"
