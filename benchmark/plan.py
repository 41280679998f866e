"""The plan: the product of the axes, reasons to skip, the state of every run, its cost, and the
order."""

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark import data, registry
from benchmark.clip.encoder_name import parse_encoder
from benchmark.spec import nearest
from benchmark.staleness import code_digest
from benchmark.store import Record, Store

TODO, DONE, STALE, FAILED, NOT_APPLICABLE = "todo", "done", "stale", "failed", "n/a"
SELECTIONS = ("last", "val", "oracle")
UNKNOWN_SECONDS = 30.0  # what a run is thought to cost before anything like it was measured


@dataclass(frozen=True)
class Axes:
    """What to compare. Texts are as on the command line; see `registry.expand` for lists in
    parameters."""

    methods: tuple[str, ...]
    settings: tuple[str, ...]
    # () = the setting's real candidates that are found under --data, else embedded ones
    datasets: tuple[str, ...] = ()
    candidates: dict[str, tuple[str, ...]] = field(default_factory=dict)  # setting -> data sets
    # () = the setting's own, or the pocket encoder for embedded data
    encoders: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    selection: str = "last"
    # setting -> parameter -> values left open
    sweeps: dict[str, dict[str, list]] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One run of the plan. `state` is todo, done, stale, failed or n/a; `reason` says why for
    failed and n/a."""

    id: str
    spec: dict[str, Any]
    state: str
    reason: str = ""
    seconds: float = UNKNOWN_SECONDS
    bank: str = ""  # rows with the same text share a feature bank

    def job(self, tensorboard: bool = False) -> dict[str, Any]:
        """The picklable, path-free-of-identity dictionary that `execute` takes."""
        return {
            "id": self.id,
            "description": self.spec,
            "seconds": self.seconds,
            "bank": self.bank,
            "plugins": registry.plugin_files(),
            "data": str(data.root().resolve()),
            "tensorboard": tensorboard,
        }


def make_plan(axes: Axes, store: Store) -> list[Row]:
    """Every run of the product, in the order settings × data sets × encoders × methods × seeds,
    each id once.

    Raises `ValueError` for unknown names or parameters, `FileNotFoundError` for missing data.
    """
    if axes.selection not in SELECTIONS:
        hint = nearest(axes.selection, list(SELECTIONS))
        raise ValueError(f"There is no selection {axes.selection!r}. {hint}")
    methods = list(
        itertools.chain.from_iterable(registry.expand("methods", text) for text in axes.methods)
    )
    records = {record["id"]: record for record in store.records()}
    rows: dict[str, Row] = {}
    for setting_name, dataset, setting_parameters in _settings(axes):
        setting = registry.make(
            "settings", setting_name, {**setting_parameters, "dataset": dataset}
        )
        for encoder, (method_name, parameters) in itertools.product(
            _encoders(axes, setting, dataset), methods
        ):
            preset = _preset(method_name, setting_name, dataset, encoder)
            method = registry.make("methods", method_name, parameters, preset)
            for seed in axes.seeds:
                spec = {
                    "method": registry.describe(method_name, method),
                    "setting": registry.describe(setting_name, setting),
                    "encoder": encoder,
                    "selection": axes.selection,
                    "seed": seed,
                }
                row = _row(spec, setting.skip(method), records, method.needs)
                rows[row.id] = row
    return _with_costs(list(rows.values()), list(records.values()))


def _settings(axes: Axes) -> list[tuple[str, str, dict[str, Any]]]:
    """(setting, data set, parameters) of the plan, with the data sets checked to be there."""
    found = []
    for text in axes.settings:
        name, given = registry.parse(text)
        sweep = {
            key: values for key, values in axes.sweeps.get(name, {}).items() if key not in given
        }
        for resolved, parameters in registry.expand("settings", text, sweep):
            if "dataset" in parameters:
                datasets = (parameters.pop("dataset"),)
            else:
                datasets = axes.datasets or _found_datasets(resolved, axes.candidates)
            for dataset in datasets:
                _require(dataset)
                found.append((resolved, dataset, dict(parameters)))
    return found


def _found_datasets(setting: str, candidates: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The real data sets among a setting's candidates that are there, else the embedded ones."""
    named = candidates.get(setting) or (registry.load("settings", setting).dataset,)
    real = tuple(name for name in named if not data.embedded(name) and not data.available(name))
    return real or tuple(name for name in named if data.embedded(name))


def _require(dataset: str) -> None:
    missing = data.available(dataset)
    if missing:
        raise FileNotFoundError(missing)


def _encoders(axes: Axes, setting: Any, dataset: str) -> list[dict[str, Any]]:
    default = "pocket-RN" if data.embedded(dataset) else setting.encoder
    return [parse_encoder(text) for text in axes.encoders or (default,)]


def _preset(method: str, setting: str, dataset: str, encoder: dict[str, Any]) -> str:
    """The preset that a method has for the case at hand, "" for none; naming one on the command
    line overrules this.

    For the shipped small encoders: "pocket_<setting>", "pocket". For others the official
    configurations: "<data set>_<tower>" such as "voc_mlt_vitb16", then "<setting>".
    """
    presets = getattr(registry.load("methods", method), "PRESETS", {})
    if encoder["name"].startswith("pocket"):
        candidates = (f"pocket_{setting}", "pocket")
    else:
        candidates = (f"{dataset}_{encoder['name'].replace('-', '').lower()}", setting)
    return next((name for name in candidates if name in presets), "")


def _row(spec: dict[str, Any], skip: str, records: dict[str, Record], needs: str) -> Row:
    run_id = registry.run_id(spec)
    bank = f"{spec['setting']['dataset']} {needs} {sorted(spec['encoder'].items())}"
    if skip:
        return Row(run_id, spec, NOT_APPLICABLE, skip, 0.0, bank)
    record = records.get(run_id)
    if record is None:
        return Row(run_id, spec, TODO, bank=bank)
    if record["status"] != "done":
        error = record["error"]
        reason = f"{record['status']}: {error.get('type', '')} {error.get('message', '')}".strip()
        return Row(run_id, spec, FAILED, reason, bank=bank)
    return Row(run_id, spec, STALE if is_stale(record) else DONE, bank=bank)


def is_stale(record: Record) -> bool:
    """Whether the code that decides this record's numbers has changed since (comments and
    docstrings do not count)."""
    spec = record["spec"]
    current = code_digest(
        spec["method"]["name"], spec["setting"]["name"], spec["setting"]["dataset"]
    )
    return record["provenance"].get("code_digest") != current


def recorded_rows(records: list[Record]) -> list[Row]:
    """The rows of a report that is made without a plan: what is recorded, with stale ones
    marked."""
    rows = []
    for record in records:
        for kind_and_name, path in record["provenance"].get("plugins", {}).items():
            if Path(path).is_file():
                registry.register_file(kind_and_name.partition(":")[0], path)
        try:
            rows.append(_row(record["spec"], "", {record["id"]: record}, ""))
        # its plugin is gone: the number stands, but nobody can repeat it
        except ValueError as error:
            rows.append(Row(record["id"], record["spec"], STALE, str(error)))
    return rows


def _with_costs(rows: list[Row], records: list[Record]) -> list[Row]:
    """Estimates seconds from earlier records: same method × data set × encoder, else same method,
    else a constant."""

    def keys(spec: dict[str, Any]) -> list[tuple]:
        method, dataset = spec["method"]["name"], spec["setting"]["dataset"]
        return [(method, dataset, spec["encoder"]["name"]), (method,)]

    seconds: dict[tuple, list[float]] = {}
    for record in records:
        if record["status"] == "done":
            cost = sum(
                record["cost"].get(part, 0.0) for part in ("feature_s", "fit_s", "predict_s")
            )
            for key in keys(record["spec"]):
                seconds.setdefault(key, []).append(cost)
    estimated = []
    for row in rows:
        known = next((seconds[key] for key in keys(row.spec) if key in seconds), None)
        cost = sum(known) / len(known) if known else UNKNOWN_SECONDS
        estimated.append(
            Row(**{**row.__dict__, "seconds": 0.0 if row.state == NOT_APPLICABLE else cost})
        )
    return estimated


def label(spec: dict[str, Any]) -> str:
    """One line that a person recognises a run by."""
    setting = spec["setting"]
    details = [f"{key}={setting[key]}" for key in ("known",) if key in setting]
    encoder = spec["encoder"]["name"]
    parts = [
        spec["method"]["name"],
        setting["name"],
        setting["dataset"],
        *details,
        encoder,
        f"seed={spec['seed']}",
    ]
    return " ".join(parts)


def shard(rows: list[Row], text: str) -> list[Row]:
    """The rows of one shard, "3/16": id modulo 16 is 3. Shards 0 … 15 or, the same, 1 … 16 make up
    the whole."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 0 <= int(match[1]) <= int(match[2]) or match[2] == "0":
        raise ValueError(f"{text!r} is no shard: write i/n, e.g. 0/16 … 15/16")
    i, n = int(match[1]), int(match[2])
    return [row for row in rows if int(row.id, 16) % n == i % n]


def selected(rows: list[Row], fresh: str) -> list[Row]:
    """Rows to run: todo and failed ones, with `fresh` "stale" also stale ones, with "all"
    everything but n/a."""
    states = {"": {TODO, FAILED}, "failed": {TODO, FAILED}, "stale": {TODO, FAILED, STALE}}
    states["all"] = states["stale"] | {DONE}
    return [row for row in rows if row.state in states[fresh]]
