"""Spreads the runs of a sweep over the slots of one machine or of a cluster, and survives what the
runs do.

joblib, or Dask, spreads *supervisors* (`supervisor.py`), not runs: when a loky worker dies, its
siblings are killed and the queue is dropped, so no work may live in one. Supervisors that die are
started again and find by themselves what is left.
"""

import contextlib
import importlib
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import joblib
import psutil
from joblib.externals.loky import get_reusable_executor

from benchmark.files import share
from benchmark.spec import Job
from benchmark.store import Record, Store, empty_record, headline
from benchmark.sweep.dask import NoScheduler, parse_address, spread_over_dask
from benchmark.sweep.leases import wait_for_slot
from benchmark.sweep.manifest import Sweep, sweep_folder
from benchmark.sweep.order import order
from benchmark.sweep.progress import Progress
from benchmark.sweep.slots import Slot, machine_slots
from benchmark.sweep.supervisor import supervise
from benchmark.sweep.worker import TICK

BACKENDS = ("loky", "threading", "dask", "inline")
PATIENCE = 0.8  # seconds that supervisors have to stop by themselves after Ctrl-C
# of all supervisors, without a single run ending in between, before the sweep is given up
RESTARTS = 5


@dataclass
class Summary:
    """How the runs of a sweep ended, by their records."""

    done: int = 0
    failed: int = 0
    crashed: int = 0
    timeout: int = 0
    skipped: int = 0  # done before the sweep began
    left: int = 0  # without a record: interrupted, or the record could not be written
    interrupted: bool = False

    def __str__(self) -> str:
        parts = {
            "done": self.done,
            "failed": self.failed,
            "crashed": self.crashed,
            "timeout": self.timeout,
        }
        parts |= {"without a record (they stay todo)": self.left, "done before": self.skipped}
        return ", ".join(f"{number} {end}" for end, number in parts.items() if number)


def parse_duration(text: str) -> float:
    """Seconds of "2h", "10m", "90s" or "1h30m"."""
    match = re.fullmatch(
        r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip()
    )
    if not match or not any(match.groups()):
        raise ValueError(f"{text!r} is no duration: write it like 2h, 10m, 90s or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def _is_done(record: Record | None) -> bool:
    return record is not None and record["status"] == "done"


def run_jobs(
    jobs: Sequence[Job],
    out: Path,
    *,
    backend: str = "loky",
    address: str = "",
    slots: int = 0,
    per_gpu: int = 1,
    timeout: float | None = None,
    cohort: int = 0,
    rerun: Collection[str] = (),
    environment: dict[str, str] | None = None,
    continue_command: str = "",
    executor: str = "benchmark.run.cohort:execute",
) -> Summary:
    """Computes every job that is not done (and those in `rerun`) and returns how they ended.

    `timeout` is seconds a run. `cohort` limits how many runs are computed as one: 0 leaves it to
    the suite, 1 computes each by itself, as inline and on Dask they always are. `environment` is
    set in every child, on cluster workers too. `executor` names the function (job, out, device,
    attempt) -> Record that a child calls; beside it may stand `prepare` and `execute_cohort`.
    SIGINT and SIGTERM stop within two seconds.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    if backend == "dask" and not address:
        raise ValueError("the dask backend needs --address, e.g. --address tcp://host:8786")
    if backend == "dask":
        parse_address(address)
    out = Path(out).resolve()
    share(out)
    rerun, store = frozenset(rerun), Store(out)
    todo = [job for job in jobs if job.id in rerun or not _is_done(store.read(job.id))]
    summary = Summary(skipped=len(jobs) - len(todo))
    if not todo:
        return summary
    # on Dask each worker counts its own
    count = 1 if backend in ("inline", "dask") else len(machine_slots(slots, per_gpu))
    with sweep_folder(out) as folder:
        sweep = Sweep(folder, out, order(todo), sorted(rerun), backend, os.getpid(), executor)
        sweep.slots, sweep.per_gpu, sweep.timeout = slots, per_gpu, timeout
        # a worker of a cluster does not know how many others want their part
        sweep.cohort, sweep.environment = 1 if backend == "dask" else cohort, environment or {}
        sweep = sweep.written()
        with Progress(todo, len(jobs), count, folder) as progress:
            if backend == "inline":
                summary.interrupted, stuck = _run_here(sweep, progress), False
            else:
                summary.interrupted, stuck = _run_supervised(
                    sweep, min(count, len(todo)), address, progress
                )
            for job in todo:
                record = store.last(job.id)
                status = record["status"] if record and sweep.finished(job.id) else "left"
                setattr(summary, status, getattr(summary, status) + 1)
            progress.say(str(summary))
            if summary.interrupted:
                progress.say(
                    f"stopped; to continue: {continue_command or 'run the same command again'}"
                )
    if stuck:
        # a thread of a library waits for a cluster and would keep this process for as long
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)
    return summary


def _run_here(sweep: Sweep, progress: Progress) -> bool:
    """The inline backend: no child, no isolation, no time limit. Returns whether it was
    interrupted."""
    store = Store(sweep.out)
    module, function = sweep.executor.split(":")
    os.environ.update(sweep.environment)
    candidates = machine_slots(sweep.slots, sweep.per_gpu)
    try:
        # one for all runs: a process that has used a GPU keeps it
        with wait_for_slot(candidates, progress.say) as slot:
            execute = getattr(importlib.import_module(module), function)
            todo = sweep.jobs
            while todo:
                held: list[Job] = []  # by another sweep, which may die: looked at again
                for job in todo:
                    with store.claim(job.id) as claim:
                        if claim is None:
                            held.append(job)
                        elif not sweep.finished(job.id):
                            _run_one_here(sweep, job, execute, slot)
                            progress.update()
                todo = [job for job in held if not sweep.finished(job.id)]
                time.sleep(3 * TICK if todo else 0)
    except KeyboardInterrupt:
        return True
    return False


def _run_one_here(sweep: Sweep, job: Job, execute: Callable[..., Record], slot: Slot) -> None:
    store, start = Store(sweep.out), time.time()
    sweep.tell(slot=slot.name, ids=[job.id], status="started", attempt=1)
    try:
        execute(job, sweep.out, slot.device, 1)
    except Exception as exception:  # as in a child: one run must not end the sweep
        failed = empty_record(job.spec, "failed")
        failed["provenance"] = {"plugins": dict(job.plugins)}
        text = traceback.format_exc()[-2000:]
        failed["error"] = {
            "type": type(exception).__name__,
            "message": str(exception),
            "log": text,
        }
        store.write(failed)
    ended = store.last(job.id)
    sweep.tell(
        slot=slot.name,
        id=job.id,
        status=ended["status"] if ended else "unwritten",
        seconds=time.time() - start,
        message=(ended["error"].get("message", "") or headline(ended))
        if ended
        else "its record was removed",
    )


def _run_supervised(
    sweep: Sweep, count: int, address: str, progress: Progress
) -> tuple[bool, bool]:
    """Spreads supervisors from a thread while this one shows progress and listens to signals.

    Returns whether it was interrupted, and whether that thread could not be stopped."""
    problems: list[Exception] = []
    with _stop_on_signal(sweep) as signals:
        spreader = threading.Thread(
            target=_spread, args=(sweep, count, address, progress, problems), daemon=True
        )
        spreader.start()
        while spreader.is_alive() and not (signals and time.monotonic() - signals[0] > PATIENCE):
            spreader.join(TICK)
            progress.update()
        if spreader.is_alive():  # a supervisor that cannot stop, or a cluster that does not answer
            kill_descendants()
            spreader.join(2 * TICK)
    progress.update()
    if problems and not signals:
        raise problems[0]
    return bool(signals), spreader.is_alive()


@contextlib.contextmanager
def _stop_on_signal(sweep: Sweep) -> Iterator[list[float]]:
    """The moments at which SIGINT or SIGTERM came: the first stops all supervisors, the second ends
    everything."""
    moments: list[float] = []

    def stop(number: int, frame: FrameType | None) -> None:
        moments.append(time.monotonic())
        (sweep.folder / "sweep.json").unlink(missing_ok=True)
        if len(moments) > 1:
            kill_descendants()
            os._exit(128 + number)

    # Python lets only the main thread listen
    if threading.current_thread() is not threading.main_thread():
        yield moments
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield moments
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def kill_descendants() -> None:
    """Kills what this process started; children that lose their supervisor end their own groups.

    The trackers of shared memory are spared: they clean up after the dead, then end by themselves.
    """
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "resource_tracker" not in " ".join(process.cmdline()):
                process.kill()


def _spread(
    sweep: Sweep, count: int, address: str, progress: Progress, problems: list[Exception]
) -> None:
    """Has joblib run the supervisors, again if some were killed; an error that stays ends up in
    `problems`."""
    ended, restarts = -1, 0
    while not sweep.stopped():
        try:
            if sweep.backend == "dask":
                spread_over_dask(address, sweep.per_gpu, supervise, str(sweep.folder))
            else:
                with joblib.parallel_config(backend=sweep.backend, n_jobs=count):
                    joblib.Parallel(batch_size=1, pre_dispatch="all")(
                        joblib.delayed(supervise)(str(sweep.folder)) for _ in range(count)
                    )
            return
        except NoScheduler as problem:
            restarts += 1
            if restarts > RESTARTS or not progress.ended:  # it was never there
                problems.append(problem)
                return
            progress.say(f"{problem}; trying again")
            time.sleep(TICK * 2**restarts)
        # whatever killed supervisors: the records say what is left to do
        except Exception as problem:
            if sweep.stopped():
                return
            restarts = restarts + 1 if progress.ended == ended else 1
            ended = progress.ended
            if restarts > RESTARTS:
                problems.append(problem)
                return
            reason = f"{type(problem).__name__}: {problem}".splitlines()[0]
            progress.say(f"supervisors are started again after {reason}")
            time.sleep(TICK * 2**restarts)
        finally:
            if sweep.backend == "loky":
                get_reusable_executor().shutdown(wait=True, kill_workers=True)
