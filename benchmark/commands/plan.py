"""`plan`: every run with its state, and the hours; runs nothing."""

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmark.commands.suite import Suite, parse_seeds
from benchmark.estimate import OPERATIONS_A_SECOND
from benchmark.plan import NOT_APPLICABLE, Axes, Row, make_plan, selected, shard
from benchmark.store import Store


def prepare(arguments: argparse.Namespace, suite: Suite) -> Callable[[], int]:
    rows = planned(arguments, suite)
    return lambda: show(rows, selected(rows, arguments.fresh))


def planned(arguments: argparse.Namespace, suite: Suite) -> list[Row]:
    """The rows that the flags mean. Raises `ValueError` and `FileNotFoundError` for mistakes."""
    axes = Axes(
        methods=tuple(arguments.methods or suite.methods),
        settings=tuple(arguments.settings or suite.settings),
        datasets=tuple(arguments.datasets),
        candidates=suite.datasets,
        encoders=tuple(arguments.encoders),
        seeds=parse_seeds(arguments.seeds or suite.seeds),
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
            f"at {OPERATIONS_A_SECOND / 1e9:.0f} GFLOPS, right to a factor of about three; one run "
            f"of each makes it a measurement."
        )
    return 0


def _configuration(row: Row) -> str:
    """Method, setting and encoder of a run with all parameters, but for the seed."""
    spec = row.spec
    return (
        f"  {spec.method.name}({spec.method.parameter_text})\n"
        f"    in {spec.setting.name}({spec.setting.parameter_text}) with {spec.encoder.text}"
    )
