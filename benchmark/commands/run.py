"""`run`: what is missing is run, then the report is written."""

import argparse
import functools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmark.commands import report
from benchmark.commands.parser import command_line, program
from benchmark.commands.plan import planned
from benchmark.commands.room import require_room
from benchmark.commands.suite import Suite
from benchmark.features.limits import size_limit_of
from benchmark.files import share
from benchmark.plan import DONE, NOT_APPLICABLE, STALE, Row, selected
from benchmark.planned import Planned, keep
from benchmark.sweep.dask import NoScheduler, require_scheduler
from benchmark.sweep.schedule import parse_duration, run_jobs
from benchmark.sweep.slots import machine_slots

# to the workers of a cluster, which have an environment of their own
PASSED_ON = ("LOWLABEL_ALLOW_SUBSET", "LOWLABEL_MODEL_CONFIGS")


def prepare(arguments: argparse.Namespace, suite: Suite) -> Callable[[], int]:
    timeout = parse_duration(arguments.timeout) if arguments.timeout else None
    size_limit_of("regions")  # a limit that is no number ends here, not in every run
    rows = planned(arguments, suite)
    require_place(arguments)
    fetch_weights(selected(rows, arguments.fresh))
    notes = require_room(selected(rows, arguments.fresh), Path(arguments.out))
    return functools.partial(sweep, rows, timeout, arguments, suite, notes)


def require_place(arguments: argparse.Namespace) -> None:
    """Raises `ValueError` or `OSError` for slots, an address or a result folder with which no sweep
    could begin."""
    if arguments.backend == "dask":  # there each worker looks for its slots
        require_scheduler(arguments.address)
    else:
        machine_slots(arguments.slots, arguments.per_gpu)
    out = Path(arguments.out)
    share(out)  # the first that is written: a mistake found before leaves no empty folder
    tempfile.TemporaryFile(dir=out).close()


def fetch_weights(rows: list[Row]) -> None:
    """Downloads each encoder's weights once, here, so that what is missing is one sentence and not
    a failure a run."""
    if not rows:
        return
    from benchmark.clip.encoder import Clip  # here: it takes seconds to import

    for encoder in dict.fromkeys(row.spec.encoder for row in rows):
        _ = Clip(encoder).weights_sha256


def passed_on(rows: list[Row]) -> dict[str, str]:
    """What the children's environment says beyond that of their machine."""
    from benchmark.clip import weights  # as above

    known = {
        row.spec.encoder.weights.partition("sha256:")[2]: row.spec.encoder.name for row in rows
    }
    known.pop("", None)
    paths = [str(weights.find(digest, name)) for digest, name in known.items()]
    return {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        weights.CHECKPOINTS: os.pathsep.join(paths),
    }


def sweep(
    rows: list[Row],
    timeout: float | None,
    arguments: argparse.Namespace,
    suite: Suite,
    notes: list[str],
) -> int:
    chosen, ok = selected(rows, arguments.fresh), True
    command = command_line()
    keep(Path(arguments.out), command, [Planned(r.spec, r.state, r.reason) for r in rows])
    not_applicable = sum(row.state == NOT_APPLICABLE for row in rows)
    done = len(rows) - not_applicable - len(chosen)
    if chosen:
        print("\n".join([*notes, ""]) if notes else "", end="")
        print(f"{len(chosen)} runs to do, {done} done before, {not_applicable} not applicable.")
        try:
            summary = run_jobs(
                [row.job(arguments.tensorboard) for row in chosen],
                Path(arguments.out),
                backend=arguments.backend,
                address=arguments.address,
                slots=arguments.slots,
                per_gpu=arguments.per_gpu,
                timeout=timeout,
                cohort=arguments.cohort,
                environment=passed_on(chosen),
                rerun={row.id for row in chosen if row.state in (DONE, STALE)},
                continue_command=command,
            )
        except NoScheduler as error:
            print(f"{program()}: {error}", file=sys.stderr)
            return 1
        if summary.interrupted:
            return 130
        ok = not (summary.failed or summary.crashed or summary.timeout or summary.left)
        rows = planned(arguments, suite)
    else:
        stale = sum(row.state == STALE for row in rows)
        hint = "(--fresh all runs them again.)"
        if stale:
            hint = (
                f"{stale} of them by code that has changed since: --fresh stale runs those again."
            )
        print(f"All {done} runs are done; nothing to compute. {hint}")
    report.build_if_changed(Path(arguments.out))
    return 0 if ok and not selected(rows, "") else 1
