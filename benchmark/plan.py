"""The plan: the product of the axes, reasons to skip, the state of every run, its cost, and the
order."""

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmark import data, registry
from benchmark.clip.encoder_name import parse_encoder
from benchmark.estimate import Estimator
from benchmark.presets import method_for
from benchmark.spec import Encoder, Job, Spec, Value, nearest
from benchmark.staleness import is_stale, look_again
from benchmark.store import Record, Store
from benchmark.task import Method, Setting

TODO, DONE, STALE, FAILED, NOT_APPLICABLE = "todo", "done", "stale", "failed", "n/a"
SELECTIONS = ("last", "val", "oracle")


@dataclass(frozen=True)
class Axes:
    """What to compare. Texts are as on the command line; see `registry.expand` for lists in
    parameters."""

    methods: tuple[str, ...]
    settings: tuple[str, ...]
    # () = the setting's real candidates that are found under --data, else embedded ones
    datasets: tuple[str, ...] = ()
    candidates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # setting -> data sets
    # () = the setting's own, or the pocket encoder for embedded data
    encoders: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    selection: str = "last"
    limit: int = 0  # images a split, for a smoke run
    # setting -> parameter -> values left open
    sweeps: Mapping[str, Mapping[str, Sequence[Value]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One run of the plan. `state` is todo, done, stale, failed or n/a; `reason` says why for
    failed and n/a."""

    spec: Spec
    state: str
    reason: str = ""
    seconds: float = 0.0  # estimate
    measured: bool = True  # the estimate rests on records of the method
    bank: str = ""  # rows with the same text share a feature bank

    @property
    def id(self) -> str:
        return self.spec.id

    def job(self, tensorboard: bool = False) -> Job:
        """What a child process needs to compute this row."""
        return Job(
            self.spec,
            cohort=cohort_of(self.spec),
            data=str(data.root().resolve()),
            plugins=registry.plugin_files(),
            seconds=self.seconds,
            bank=self.bank,
            tensorboard=tensorboard,
        )


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
    look_again()
    records = {record["id"]: record for record in store.records()}
    rows: dict[str, Row] = {}
    needed: dict[str, Method] = {}  # bank -> a method that asks for it
    for setting_name, dataset, setting_parameters in _settings(axes):
        setting = registry.make(
            "settings", setting_name, {**setting_parameters, "dataset": dataset}
        )
        for encoder, (method_name, parameters) in itertools.product(
            _encoders(axes, setting, dataset), methods
        ):
            method = method_for(method_name, parameters, setting_name, setting, encoder)
            choices = (
                registry.describe(method_name, method),
                registry.describe(setting_name, setting),
            )
            skip = setting.skip(method) or _without_captions(method, dataset)
            for seed in axes.seeds:
                spec = Spec(*choices, encoder, axes.selection, seed, axes.limit)
                row = _row(spec, skip, records, method)
                rows[row.id] = row
                needed.setdefault(row.bank, method)
    return _with_costs(list(rows.values()), needed, list(records.values()), store)


def _settings(axes: Axes) -> list[tuple[str, str, registry.Parameters]]:
    """(setting, data set, parameters) of the plan, with the data sets checked to be there."""
    found = []
    for text in axes.settings:
        name, given = registry.parse(text)
        sweep = {
            key: values for key, values in axes.sweeps.get(name, {}).items() if key not in given
        }
        for resolved, parameters in registry.expand("settings", text, sweep):
            if "dataset" in parameters:
                datasets: tuple[str, ...] = (parameters.pop("dataset"),)
            else:
                datasets = axes.datasets or _found_datasets(resolved, axes.candidates)
            for dataset in map(data.resolve, datasets):
                _require(dataset)
                found.append((resolved, dataset, dict(parameters)))
    return found


def _found_datasets(setting: str, candidates: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The real data sets among a setting's candidates that are there, else the embedded ones."""
    named = candidates.get(setting) or (registry.load("settings", setting).dataset,)
    real = tuple(name for name in named if not data.embedded(name) and not data.available(name))
    return real or tuple(name for name in named if data.embedded(name))


def _without_captions(method: Method, dataset: str) -> str:
    """Why a method that reads captions is not applicable, or ""."""
    if not method.needs_captions or data.has_captions(dataset):
        return ""
    return f"no captions: {dataset} has no sentences to learn from"


def _require(dataset: str) -> None:
    missing = data.available(dataset)
    if missing:
        raise FileNotFoundError(missing)


def _encoders(axes: Axes, setting: Setting, dataset: str) -> list[Encoder]:
    default = "pocket-RN" if data.embedded(dataset) else setting.encoder
    encoders = [parse_encoder(text) for text in axes.encoders or (default,)]
    if setting.statistics == "imagenet":
        encoders = [dataclasses.replace(encoder, statistics="imagenet") for encoder in encoders]
    return encoders


def _row(spec: Spec, skip: str, records: Mapping[str, Record], method: Method | None = None) -> Row:
    bank = ""
    if method is not None:
        copies = f" {method.copies} × {method.augment}" if method.augment else ""
        bank = f"{spec.dataset} {method.needs} {spec.encoder.text}{copies}"
    if skip:
        return Row(spec, NOT_APPLICABLE, skip, bank=bank)
    record = records.get(spec.id)
    if record is None:
        return Row(spec, TODO, bank=bank)
    if record["status"] != "done":
        error = record["error"]
        reason = f"{record['status']}: {error.get('type', '')} {error.get('message', '')}".strip()
        return Row(spec, FAILED, reason, bank=bank)
    return Row(spec, STALE if is_stale(record) else DONE, bank=bank)


def _with_costs(
    rows: list[Row], needed: Mapping[str, Method], records: list[Record], store: Store
) -> list[Row]:
    """The rows with their estimated seconds; the first that has to be computed makes the bank."""
    estimator, banks = Estimator(records, store.out / "features"), set()
    estimated = []
    for row in rows:
        if row.state == NOT_APPLICABLE:
            estimated.append(row)
            continue
        seconds, measured = estimator.run(row.spec)
        if row.state != DONE and row.bank not in banks:
            banks.add(row.bank)
            seconds += estimator.bank(row.spec, needed[row.bank])
        estimated.append(dataclasses.replace(row, seconds=seconds, measured=measured))
    return estimated


def cohort_of(spec: Spec) -> str:
    """The same text for runs that `benchmark.run.cohort` may compute as one: they differ in seed,
    label rate and what their method says; "" where it does not."""
    method = registry.load("methods", spec.method.name)
    may_differ = method.may_differ
    if may_differ is None or not _fits_many(method):
        return ""
    state = spec.to_json() | {"seed": 0}
    for part, names in (("method", may_differ), ("setting", ("known",))):
        state[part] = {name: value for name, value in state[part].items() if name not in names}
    return json.dumps(state, sort_keys=True)


def _fits_many(method: type[Method]) -> bool:
    """Whether `fit_many` is of the same class as `fit`, or of a later one: a class that only has
    another `fit` must not be computed by the `fit_many` of its base."""
    fit = next(i for i, cls in enumerate(method.__mro__) if "fit" in vars(cls))
    return any("fit_many" in vars(cls) for cls in method.__mro__[: fit + 1])


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
