"""`plan`: every run with its state, and the hours; runs nothing."""

import argparse
import functools
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmark import registry
from benchmark.commands.suite import Suite, parse_seeds
from benchmark.estimate import OPERATIONS_A_SECOND, Estimator
from benchmark.plan import NOT_APPLICABLE, Axes, Row, make_plan, selected, shard
from benchmark.spec import Spec
from benchmark.store import Store
from benchmark.sweep.leases import wait_for_slot
from benchmark.sweep.slots import machine_slots


def prepare(arguments: argparse.Namespace, suite: Suite) -> Callable[[], int]:
    rows = planned(arguments, suite)
    if arguments.measure:
        return lambda: measured(rows, arguments, suite)
    return lambda: show(rows, selected(rows, arguments.fresh))


def measured(rows: list[Row], arguments: argparse.Namespace, suite: Suite) -> int:
    """Measures, on a slot of this machine, a step of each method of which there is no record and an
    image of each tower whose features are missing; then shows the plan."""
    import torch  # here: these take seconds

    from benchmark.run import measure

    features = Path(arguments.out) / "features"
    estimator = Estimator(Store(Path(arguments.out)).records(), features)
    methods: dict[tuple[str, str], Spec] = {}
    towers: dict[tuple[str, str], Spec] = {}
    for row in selected(rows, arguments.fresh):
        spec, needs = row.spec, registry.rebuild("methods", row.spec.method).needs
        if not estimator.has_record(spec):
            methods.setdefault((spec.method.name, spec.encoder.text), spec)
        if needs != "pixels" and not estimator.has_pace(spec.encoder):
            towers.setdefault((needs, spec.encoder.text), spec)
    with wait_for_slot(machine_slots(), print) as slot:
        device = torch.device(slot.device)
        torch.set_num_threads(slot.threads)
        for (needs, text), spec in towers.items():
            took = functools.partial(measure.measure_images, spec, needs, device, features)
            _say(f"{needs} features with {text}", took)
        for (name, text), spec in methods.items():
            classes = estimator.size(spec).classes
            took = functools.partial(measure.measure_method, spec, classes, device, features)
            _say(f"{name} with {text}", took)
    rows = planned(arguments, suite)
    return show(rows, selected(rows, arguments.fresh))


def _say(what: str, measure: Callable[[], str]) -> None:
    """A line for each measurement; one that cannot be made stops no other."""
    start = time.perf_counter()
    try:
        said = measure()
    except Exception as error:  # whatever a method raises on made-up images
        said = f"cannot be measured ({type(error).__name__}: {' '.join(str(error).split())})"
    print(f"{what}: {said}  [{time.perf_counter() - start:.0f} s]", flush=True)


def planned(arguments: argparse.Namespace, suite: Suite) -> list[Row]:
    """The rows that the flags mean. Raises `ValueError` and `FileNotFoundError` for mistakes."""
    axes = Axes(
        methods=tuple(arguments.methods or suite.methods),
        settings=tuple(arguments.settings or suite.settings),
        datasets=tuple(arguments.datasets),
        candidates=suite.datasets,
        encoders=tuple(arguments.encoders),
        seeds=parse_seeds(",".join(arguments.seeds or [suite.seeds])),
        selection=arguments.selection,
        limit=arguments.limit,
        sweeps=suite.sweeps,
    )
    rows = make_plan(axes, Store(Path(arguments.out)))
    return shard(rows, arguments.shard) if arguments.shard else rows


def show(rows: list[Row], chosen: list[Row]) -> int:
    """One line a run, then every configuration, the counts, and the hours of the chosen ones."""
    for row in rows:
        reason = f"  ({row.reason})" if row.reason else ""
        print(f"{row.id}  {row.state:6} {row.spec.label}{reason}")
    configurations = dict.fromkeys(_configuration(row) for row in rows if not row.reason)
    if configurations:
        print("\nConfigurations (`list methods` says where presets were read):")
        print("\n".join(configurations) + "\n")
    counts = Counter(row.state for row in rows)
    hours = sum(row.seconds for row in chosen) / 3600
    print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no runs")
    print(
        f"To do: {len(chosen)} of {len(rows) - counts[NOT_APPLICABLE]} runs, about {hours:.2f} "
        f"hours on one slot."
    )
    unmeasured = sorted({row.spec.method.name for row in chosen if not row.measured})
    if unmeasured:
        print(
            f"There is no record of {', '.join(unmeasured)} yet: their part is counted operations "
            f"at {OPERATIONS_A_SECOND / 1e9:.0f} GFLOPS, right to a factor of about three; `plan "
            f"--measure` takes a minute to measure them here."
        )
    return 0


def _configuration(row: Row) -> str:
    """Method, setting and encoder of a run with all parameters, but for the seed."""
    spec = row.spec
    return (
        f"  {spec.method.name}({spec.method.parameter_text})\n"
        f"    in {spec.setting.name}({spec.setting.parameter_text}) with {spec.encoder.text}"
    )
