"""What the page shows, as plain data: runs, tables, failures, protocol, provenance; nothing here is
HTML but the drawings."""

import base64
import csv
import gzip
import json
import math
import shlex
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from benchmark.spec import JsonObject
from reports.columns import family_title
from reports.figures.groups import Drawing
from reports.figures.style import Look, inline
from reports.groups import SELECTIONS, Entry, Group, Hole, Result
from reports.html.examples import examples
from reports.html.tables import marks_data, table_data
from reports.significance import Significance
from reports.summary import to_fill
from reports.tables.cells import BLOCKS, Table

HISTORY_ROWS = 40
LOG_CHARACTERS = 600  # of a run that went well; a failed one keeps the record's 2,000
SMALL_FIELDS = (
    *("fit_s", "predict_s", "feature_s", "peak_ram_mb", "peak_gpu_mb", "trainable_parameters"),
    *("device", "shared_by"),
)


class Pool:
    """Values that many runs share, stored once; a run holds the position."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self._positions: dict[str, int] = {}

    def add(self, value: object) -> int:
        key = json.dumps(value, sort_keys=True, default=str)
        if key not in self._positions:
            self._positions[key] = len(self.values)
            self.values.append(value)
        return self._positions[key]


def content(
    entries: Sequence[Entry],
    groups: Sequence[Group],
    tables: Sequence[Table],
    drawings: Sequence[Drawing],
    significance: Significance,
    looks: Mapping[str, Look],
    first_out: Path,
    program: str,
) -> JsonObject:
    """Everything that the page's script reads; `program` is how its reader starts the suite."""
    pool = Pool()
    shown = [found for group in groups if (found := examples(group, significance, looks))]
    by_name = {group.name: group for group in groups}
    return {
        "methods": [
            {"label": m, "index": k.index, "colour": k.colour, "sign": k.sign}
            for m, k in sorted(looks.items())
        ],
        "blocks": BLOCKS,
        "marks": marks_data(),
        "metrics": metrics_of(groups),
        "tables": [table_data(t, looks, by_name.get(t.name), significance) for t in tables],
        "figures": [
            {"name": d.name, "place": d.group, "caption": d.caption,
             "svg": inline(d.svg, d.caption, d.marks)}
            for d in drawings
        ],
        "runs": {e.id: run_data(e, looks, pool, first_out, program) for e in entries},
        "failures": [entry.id for entry in entries if entry.state == "failed"],
        "fill": to_fill(entries),
        "protocol": [protocol(group) for group in groups if group.usable],
        "provenance": provenance(entries),
        "examples": shown,
        "shared": pool.values,
    }  # fmt: skip


def metrics_of(groups: Iterable[Group]) -> list[str]:
    """Every metric of the records, mAP first."""
    found: dict[str, None] = {"mAP": None}
    for group in groups:
        for result in group.usable:
            for values in result.record["metrics"].values():
                found |= dict.fromkeys(name for name in values if name != "classes")
    return list(found)


# ---- runs ----------------------------------------------------------------------------------------


def run_data(
    entry: Entry, looks: Mapping[str, Look], pool: Pool, first_out: Path, program: str
) -> JsonObject:
    """What the drawer shows of a run."""
    spec = entry.spec
    out = entry.store.out if entry.store else first_out
    data: JsonObject = {
        "m": looks[entry.method].index,
        "state": entry.state,
        "reason": entry.reason,
        "seed": spec.seed,
        "selection": SELECTIONS.get(spec.selection, spec.selection),
        "method": pool.add(spec.method.to_json()),
        "setting": pool.add(spec.setting.to_json()),
        "encoder": pool.add(spec.encoder.label),
        "command": command(entry, out, program),
    }
    record = entry.record
    if record is None:
        return data
    if isinstance(entry, Hole):
        data["log"] = str(record["error"].get("log", ""))[-2000:]
        data["error"] = {
            k: v
            for k, v in record["error"].items()
            if k != "log" and not isinstance(v, dict | list)
        }
    else:
        data |= _numbers(entry, pool)
    return data | {
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


def _numbers(result: Result, pool: Pool) -> JsonObject:
    record, task = result.record, result.record["task"]
    names = pool.add([[view, list(values)] for view, values in record["metrics"].items()])
    metrics = [[_short(v, 3) for v in values.values()] for values in record["metrics"].values()]
    return {
        "log": _tail(result.folder / "log.txt"),
        "metrics": [names, metrics],
        "ap": [_short(v, 1) for v in record["per_class"].get("AP", [])],
        "classes": pool.add(task.get("classes", [])),
        "positives": pool.add(task.get("known_positives", [])),
        "history": _history(result.folder / "history.csv", pool),
        "known": _short(100 * task.get("known_rate", math.nan), 2),
    }


def command(entry: Entry, out: Path, program: str) -> str:
    """The command that runs this run again, here; what was never run is computed by its sweep."""
    if entry.record is None:
        return entry.command if isinstance(entry, Hole) else ""
    words = ["one", entry.id] + ([] if str(out) == "results" else ["--out", str(out)])
    for path in entry.record["provenance"].get("plugins", {}).values():
        words += ["--plugin", path]  # `one` runs no file that its user does not name
    return f"{program} {shlex.join(words)}"


def _short(value: object, digits: int = 2) -> object:
    """Numbers as short as they can be read."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return round(value, digits) if abs(value) >= 0.1 else float(f"{value:.3g}")
    return value


def _tail(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - LOG_CHARACTERS))
        return file.read().decode("utf-8", "replace")


def _history(path: Path, pool: Pool) -> list[object]:
    """[position of the column names, rows], thinned."""
    if not path.is_file():
        return []
    try:
        with path.open(newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, ValueError, csv.Error):  # damaged: the run is shown without its curve
        return []
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


# ---- protocol and provenance ---------------------------------------------------------------------


def protocol(group: Group) -> JsonObject:
    """What was asked in a group, with the label rates that were realised and how often its test
    labels were read."""
    rows = []
    for level in group.levels:
        found = [e for line in group.lines for e in group.done(line, level).values()]
        if not found:
            continue
        tasks = [result.record["task"] for result in found]
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
    task = group.usable[0].record["task"]
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


def provenance(entries: Collection[Entry]) -> list[list[object]]:
    """[[name, value, number of runs], …] of what the runs were made with."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        found = entry.record["provenance"] if entry.record else {}
        for key, value in found.items():
            if key in ("start", "end", "argv") or value in ("", None, {}):
                continue
            items = value.items() if isinstance(value, dict) else [("", value)]
            for name, item in items:
                counts[f"{key} {name}".strip()][str(item)] += 1
    return [
        [name, value, n]
        for name, found_values in sorted(counts.items())
        for value, n in found_values.most_common(8)
    ]


def packed(data: JsonObject) -> str:
    """JSON, gzipped, as base64: a fifth of the size, and no text in it can end a <script> or look
    like an address."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=str, allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()
