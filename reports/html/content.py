"""What the page shows, as plain data: runs, tables, failures, protocol, provenance; nothing here is
HTML."""

import csv
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reports.figures.style import Look
from reports.groups import SELECTIONS, Entry, Group
from reports.html.examples import examples
from reports.significance import Significance
from reports.tables.formats import (
    BLOCKS,
    Table,
    csv_parts,
    latex_block,
    latex_parts,
    markdown_parts,
)
from reports.tables.main import GENERAL, family_title

HISTORY_ROWS = 40
LOG_CHARACTERS = 600  # of a run that went well; a failed one keeps the record's 2,000
SMALL_FIELDS = (
    "fit_s",
    "predict_s",
    "feature_s",
    "peak_ram_mb",
    "peak_gpu_mb",
    "trainable_parameters",
    "device",
)


class Pool:
    """Values that many runs share, stored once; a run holds the position."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._positions: dict[str, int] = {}

    def add(self, value: Any) -> int:
        key = json.dumps(value, sort_keys=True, default=str)
        if key not in self._positions:
            self._positions[key] = len(self.values)
            self.values.append(value)
        return self._positions[key]


def content(
    entries: list[Entry],
    groups: list[Group],
    tables: list[Table],
    significance: Significance,
    looks: dict[str, Look],
    first_out: Path,
) -> dict[str, Any]:
    """Everything that the page's script reads."""
    pool = Pool()
    return {
        "methods": [
            {"label": m, "index": k.index, "colour": k.colour} for m, k in sorted(looks.items())
        ],
        "blocks": BLOCKS,
        "tables": [table_data(table, looks) for table in tables],
        "runs": {entry.id: run_data(entry, looks, pool, first_out) for entry in entries},
        "failures": [entry.id for entry in entries if entry.state == "failed"],
        "protocol": [protocol(group) for group in groups if group.usable()],
        "provenance": provenance(entries),
        "examples": [found for group in groups if (found := examples(group, significance, looks))],
        "shared": pool.values,
    }


# ---- tables --------------------------------------------------------------------------------------


def table_data(table: Table, looks: dict[str, Look]) -> dict[str, Any]:
    """A table with its texts for the clipboard, row by row."""
    parts = {"tex": latex_parts(table), "md": markdown_parts(table), "csv": csv_parts(table)}
    rows = []
    for k, row in enumerate(table.rows):
        cells = [
            [
                c.text,
                c.sd,
                int(c.best) + 2 * int(c.second),
                c.hole,
                list(c.marks),
                list(c.runs),
                c.exact,
            ]
            for c in row.cells
        ]
        rows.append(
            {
                "label": row.label,
                "block": row.block,
                "m": looks[row.method].index if row.method in looks else None,
                "note": row.note,
                "cells": cells,
                **{form: texts[1][k] for form, texts in parts.items()},
            }
        )
    return {
        "name": table.name,
        "title": table.title,
        "place": table.place,
        "columns": table.columns,
        "rows": rows,
        "notes": [note for note in table.notes if note not in GENERAL.values()],
        "rules": {
            block: latex_block(block, len(table.columns))
            for block in {row.block for row in table.rows}
        },
        "ends": {form: [texts[0], texts[2]] for form, texts in parts.items()},
    }


# ---- runs ----------------------------------------------------------------------------------------


def run_data(entry: Entry, looks: dict[str, Look], pool: Pool, first_out: Path) -> dict[str, Any]:
    """What the drawer shows of a run."""
    spec = entry.spec
    out = entry.store.out if entry.store else first_out
    data = {
        "m": looks[entry.method].index,
        "state": entry.state,
        "reason": entry.reason,
        "seed": spec.seed,
        "selection": SELECTIONS.get(spec.selection, spec.selection),
        "method": pool.add(spec.method.to_json()),
        "setting": pool.add(spec.setting.to_json()),
        "encoder": pool.add(spec.encoder.label),
        "command": command(entry, out),
    }
    record = entry.record
    if record is None:
        return data
    if record["error"]:
        data["log"] = str(record["error"].get("log", ""))[-2000:]
        data["error"] = {
            k: v
            for k, v in record["error"].items()
            if k != "log" and not isinstance(v, dict | list)
        }
    else:
        data["log"] = _tail(entry.store.folder(entry.id) / "log.txt")
    task = record["task"]
    if entry.usable:
        names = pool.add([[view, list(values)] for view, values in record["metrics"].items()])
        data |= {
            "metrics": [
                names,
                [[_short(v) for v in values.values()] for values in record["metrics"].values()],
            ],
            "ap": [_short(v, 1) for v in record["per_class"].get("AP", [])],
            "classes": pool.add(task.get("classes", [])),
            "positives": pool.add(task.get("known_positives", [])),
            "history": _history(entry.store.folder(entry.id) / "history.csv", pool),
            "known": _short(100 * task.get("known_rate", math.nan), 2),
        }
    data |= {
        "cost": {
            key: _short(value, 2) for key, value in record["cost"].items() if key in SMALL_FIELDS
        },
        "chosen": record["chosen"],
        "trials": record["trials"],
        "attempt": record["attempt"],
        "provenance": pool.add(
            {k: v for k, v in record["provenance"].items() if k not in ("start", "end", "argv")}
        ),
        "times": [record["provenance"].get("start", ""), record["provenance"].get("end", "")],
    }
    return data


def command(entry: Entry, out: Path) -> str:
    """The command that runs this run again, here, with its output on the terminal."""
    return f"python run_all.py one {entry.id}" + ("" if str(out) == "results" else f" --out {out}")


def _short(value: Any, digits: int = 2) -> Any:
    """Numbers as short as they can be read."""
    if isinstance(value, float):
        return (
            None
            if not math.isfinite(value)
            else round(value, digits)
            if abs(value) >= 0.1
            else float(f"{value:.3g}")
        )
    return value


def _tail(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - LOG_CHARACTERS))
        return file.read().decode("utf-8", "replace")


def _history(path: Path, pool: Pool) -> list[Any]:
    """[position of the column names, rows], thinned."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        lines = list(csv.reader(file))
    if len(lines) < 2:
        return []
    step = math.ceil((len(lines) - 1) / HISTORY_ROWS)
    chosen = [line for k, line in enumerate(lines[1:]) if k % step == 0 or k == len(lines) - 2]
    return [pool.add(lines[0]), [[_number(text) for text in line] for line in chosen]]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return float(f"{value:.4g}") if math.isfinite(value) else None


# ---- protocol, provenance, summary ---------------------------------------------------------------


def protocol(group: Group) -> dict[str, Any]:
    """What was asked in a group, with the label rates that were realised and how often its test
    labels were read."""
    rows = []
    for level in group.levels:
        found = [
            e
            for (_, v), seeds in group.runs.items()
            if v == level
            for e in seeds.values()
            if e.usable
        ]
        if not found:
            continue
        tasks = [entry.record["task"] for entry in found]
        rates = sorted({round(100 * task.get("known_rate", 0), 2) for task in tasks})
        rows.append(
            {
                "level": "" if level is None else f"{100 * level:g} %",
                "realised": f"{rates[0]:g}–{rates[-1]:g} %"
                if len(rates) > 1
                else f"{rates[0]:g} %",
                "positives": _range(sum(task.get("known_positives", [])) for task in tasks),
                "negatives": _range(sum(task.get("known_negatives", [])) for task in tasks),
                "empty": _range(task.get("images_without_known_label", 0) for task in tasks),
                "labels": len({task.get("labels") for task in tasks}),
            }
        )
    task = group.usable()[0].record["task"]
    return {
        "title": f"{family_title(group.family)}: {group.title}",
        "family": group.family,
        "dataset": group.dataset,
        "setting": {k: v for k, v in group.setting.to_json().items() if k != "name" and v != ""},
        "sizes": {k: task.get(k) for k in ("n_train", "n_val", "n_test", "n_classes")},
        "views": task.get("views", {}),
        "prevalence": _short(task.get("prevalence")),
        "notes": task.get("notes", {}),
        "rows": rows,
    }


def _range(values: Iterable[float]) -> str:
    found = sorted(set(values))
    return f"{found[0]:,}–{found[-1]:,}" if len(found) > 1 else f"{found[0]:,}"


def provenance(entries: list[Entry]) -> list[list[Any]]:
    """[[name, value, number of runs], …] of what the runs were made with."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for entry in entries:
        for key, value in (entry.record or {"provenance": {}})["provenance"].items():
            if key in ("start", "end", "argv") or value in ("", None, {}):
                continue
            items = value.items() if isinstance(value, dict) else [("", value)]
            for name, item in items:
                counts[f"{key} {name}".strip()][str(item)] += 1
    return [
        [name, value, n]
        for name, found in sorted(counts.items())
        for value, n in found.most_common(8)
    ]


def summary(entries: list[Entry], groups: list[Group], significance: Significance) -> list[str]:
    """Two sentences: who wins how often, and how much of the plan is there."""
    wins, cells = Counter(), 0
    for index, group in enumerate(groups):
        for level in group.levels:
            for selection in dict.fromkeys(line[0] for line in group.lines):
                comparison = significance.cell(index, selection, level, group.headline)
                if selection != "oracle" and comparison is not None and len(comparison.methods) > 1:
                    cells += 1
                    wins.update(comparison.tied)
    states = Counter(entry.state for entry in entries)
    done = states["done"] + states["stale"]
    missing = [
        f"{states[s]} {word}"
        for s, word in (("failed", "failed"), ("todo", "not run"))
        if states[s]
    ]
    rest = f"; {' and '.join(missing)}" if missing else ""
    stale = f", {states['stale']} of them by older code," if states["stale"] else ""
    skipped = f", and {states['n/a']} combinations do not apply" if states["n/a"] else ""
    count = (
        f"{done} of {done + states['failed'] + states['todo']} runs are done{stale}{rest}{skipped}."
    )
    if not cells:
        return ["No two methods can be compared yet.", count]
    best = [f"{method} in {n}" for method, n in wins.most_common(3)]
    listed = best[0] if len(best) == 1 else f"{', '.join(best[:-1])} and {best[-1]}"
    cell_word = "cell" if cells == 1 else "cells"
    return [
        f"Best, or not significantly below the best, in {cells} {cell_word} compared: {listed}.",
        count,
    ]


def as_json(data: Any) -> str:
    """JSON for a <script> element: it cannot end the element, and holds no address that a scanner
    would find."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=str)
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return re.sub(
        "http", lambda match: f"\\u{ord(match[0][0]):04x}{match[0][1:]}", text, flags=re.I
    )
