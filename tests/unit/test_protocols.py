"""docs/protocols.csv against the plan, and docs/protocols.md against docs/protocols.csv.

`python -m tests.unit.test_protocols` writes the tables of docs/protocols.md anew.
"""

import csv
import itertools
from collections import defaultdict
from pathlib import Path

import pytest

from benchmark.spec import Spec
from tests.fixtures.official import planned_spec

DOCS = Path(__file__).resolve().parents[2] / "docs"
START = "<!-- tables: written by python -m tests.unit.test_protocols -->\n"
COLUMNS = ("field", "published", "ours", "read_at", "why")
Case = tuple[str, str, str, str]  # method, setting, data set, encoder


def cases() -> dict[Case, list[dict[str, str]]]:
    """The rows of docs/protocols.csv by configuration."""
    found = defaultdict(list)
    with (DOCS / "protocols.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["method"], row["setting"], row["dataset"], row["encoder"]].append(row)
    return dict(found)


def value(spec: Spec, field: str) -> str:
    """What the plan has for a field such as "encoder" or "method.epochs"."""
    room, _, name = field.partition(".")
    if field == "encoder":
        return spec.encoder.text
    if not name:
        return str(getattr(spec, room))
    chosen = getattr(spec, room)
    assert name in chosen.parameters, field
    return str(chosen.get(name))


@pytest.mark.parametrize("case", cases(), ids=" ".join)
def test_the_plan_has_what_the_table_says(case: Case, tmp_path: Path) -> None:
    method, setting, dataset, encoder = case
    spec = planned_spec(tmp_path, method, setting, dataset, encoder)
    rows = cases()[case]
    assert {row["field"]: value(spec, row["field"]) for row in rows} == {
        row["field"]: row["ours"] for row in rows
    }


def test_a_difference_has_a_reason_and_a_value_a_source() -> None:
    for row in itertools.chain.from_iterable(cases().values()):
        assert row["read_at"], row
        assert (row["published"] == row["ours"]) == (not row["why"]), row


WHOLE = [case for case, rows in cases().items() if any(r["field"] == "selection" for r in rows)]


@pytest.mark.parametrize("case", WHOLE, ids=" ".join)
def test_nothing_is_left_to_a_default_in_silence(case: Case, tmp_path: Path) -> None:
    spec = planned_spec(tmp_path, *case)
    fields = set(spec.method.parameters) - {"preset", "init_positive", "init_negative"}
    assert fields <= {row["field"].removeprefix("method.") for row in cases()[case]}


def tables() -> str:
    lines = []
    for case, rows in cases().items():
        method, setting, dataset, encoder = case
        on = f", {encoder}" if encoder else ""
        lines += [f"### `{method}` in `{setting}` on {dataset}{on}", ""]
        lines += [
            "| field | published | ours | read at | why it differs |",
            "|---|---|---|---|---|",
        ]
        for row in rows:
            cells = (row["field"], row["published"], row["ours"], row["read_at"], row["why"])
            lines.append(
                "| " + " | ".join(cell.replace("|", "\\|") or "–" for cell in cells) + " |"
            )
        lines.append("")
    return "\n".join(lines)


def test_the_document_shows_the_tables() -> None:
    text = (DOCS / "protocols.md").read_text()
    assert text.partition(START)[2] == tables()


if __name__ == "__main__":
    path = DOCS / "protocols.md"
    path.write_text(path.read_text().partition(START)[0] + START + tables())
