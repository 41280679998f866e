"""One walk of a supervisor over the jobs of a sweep, with one slot: it claims what is free and sees
to it that every run that it claimed ends in a record."""

import contextlib
import hashlib
import socket
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from benchmark.files import lock, unlock
from benchmark.spec import Job
from benchmark.store import Failure, Store, empty_record, headline
from benchmark.sweep import cohorts
from benchmark.sweep.logs import tail
from benchmark.sweep.manifest import Sweep
from benchmark.sweep.slots import Slot
from benchmark.sweep.worker import Claimed, Outcome, Worker

# A run that a signal ended (out of memory, a segmentation fault) is tried once more; one that
# raised or ran out of time is not: it would do so again.
ATTEMPTS_AFTER_A_SIGNAL = 2


def serve(
    sweep: Sweep, todo: list[Job], tried: set[str], slot: Slot, lease: IO[bytes], slots: int
) -> bool:
    """Walks once over the jobs with one lease of the `slots` that there are; False when the GPU
    behind it cannot be used. `tried` takes in the ids of runs that were claimed."""
    worker = Worker(sweep, slot, lease)
    try:
        for job in todo:
            if sweep.stopped():
                break
            if job.id in tried or sweep.finished(job.id):
                continue
            state = _features(sweep, worker, job)
            if state == "unusable":
                return False
            if state != "made":  # another slot makes them: we do not wait for it
                continue
            with contextlib.ExitStack() as claims:
                members = _claimed(sweep, job, todo, tried, slots, claims)
                ids = {member.job.id for member in members}
                tried |= ids
                if not _complete_all(sweep, worker, members):
                    tried -= ids
                    return False
    finally:
        worker.close()
        unlock(lease)  # said aloud: a process that got away has a copy of the handle
    return True


def _claimed(
    sweep: Sweep,
    first: Job,
    todo: Sequence[Job],
    tried: set[str],
    slots: int,
    claims: contextlib.ExitStack,
) -> list[Claimed]:
    """The run and those that are computed as one with it, unless another slot is at it."""
    store, alike, wanted = Store(sweep.out), [first], 1
    if first.cohort and sweep.cohort != 1:
        left = [job for job in todo if job.id not in tried and not sweep.finished(job.id)]
        key = (first.cohort, first.plugins)
        alike += [job for job in left if (job.cohort, job.plugins) == key and job.id != first.id]
        wanted = cohorts.part(alike, left, slots, sweep.cohort)
    members: list[Claimed] = []
    for job in alike:
        claim = claims.enter_context(store.claim(job.id))
        if claim is not None and not sweep.finished(job.id):
            members.append(Claimed(job, claim))
        if not members or len(members) == wanted:
            break
    return members


def _features(sweep: Sweep, worker: Worker, job: Job) -> str:
    """Makes the features that runs share before the first of these: a job of its own, which has no
    time limit and holds up no other slot. "made" also when that failed, since the run then says
    why; "elsewhere" while another slot is at it."""
    if not job.bank:
        return "made"
    made = bank_mark(sweep, job)
    if made.exists():
        return "made"
    try:
        file = made.with_suffix(".lock").open("ab")
    except FileNotFoundError:  # the folder is gone: the sweep was stopped
        return "stopped"
    with file:
        if not lock(file):
            return "elsewhere"
        if made.exists():
            return "made"
        Store(sweep.out).folder(job.id).mkdir(parents=True, exist_ok=True)  # for the log
        status, error = worker.make_features(job, file)
        if status == "unusable":
            _tell_unusable(sweep, worker, error)
        if status in ("stopped", "unusable"):
            return status
        with contextlib.suppress(FileNotFoundError):
            made.touch()
        return "made"


def bank_mark(sweep: Sweep, job: Job) -> Path:
    """The file that says that the features of a job are there, or cannot be had."""
    return sweep.folder / f"{hashlib.sha256(job.bank.encode()).hexdigest()[:16]}.bank"


def _tell_unusable(sweep: Sweep, worker: Worker, error: Failure) -> None:
    message = f"{worker.slot.name} is left out: {error['message']}"
    sweep.tell(slot=worker.slot.name, status="unusable", message=message)


def _complete_all(sweep: Sweep, worker: Worker, members: Sequence[Claimed]) -> bool:
    """The runs as one, then each that has no record by itself. False, and nothing happened to those
    without a record, when the GPU cannot be used."""
    left, together = list(members), len(members) > 1
    if together:
        status, error = _run_together(sweep, worker, members)
        if status == "unusable":
            _tell_unusable(sweep, worker, error)
            return False
        if status == "stopped":
            return True
        left = [member for member in members if not sweep.finished(member.job.id)]
        if left:
            reason = error.get("message") or "nothing was raised"
            message = (
                f"{len(left)} of {len(members)} runs that were computed as one have no record "
                f"({reason}): each by itself"
            )
            sweep.tell(slot=worker.slot.name, status="alone", message=message)
    return all(_complete(sweep, worker, member, append=together) for member in left)


def _run_together(sweep: Sweep, worker: Worker, members: Sequence[Claimed]) -> Outcome:
    """As one; tells of each run that has its record."""
    store, slot = Store(sweep.out), worker.slot.name
    ids = [member.job.id for member in members]
    for id in ids[1:]:
        note = f"computed as one of {len(ids)} runs, whose log is ../{ids[0]}/log.txt\n"
        with contextlib.suppress(OSError):
            (store.folder(id) / "log.txt").write_text(note)
    sweep.tell(slot=slot, ids=ids, status="started", attempt=1)

    def recorded(id: str) -> None:
        if id in ids and sweep.finished(id):
            ids.remove(id)  # told
            ended = store.last(id)
            cost = ended["cost"] if ended is not None else {}
            seconds = cost.get("feature_s", 0.0) + cost.get("fit_s", 0.0)
            _tell_ended(sweep, worker, id, seconds + cost.get("predict_s", 0.0))

    outcome = worker.run_together(members, recorded)
    for id in list(ids):  # that died before it could say so
        recorded(id)
    return outcome


def _complete(sweep: Sweep, worker: Worker, member: Claimed, append: bool = False) -> bool:
    """One run with its second chance; leaves a record, unless the sweep was stopped or the disk is
    full. False, and nothing happened to the run, when the GPU cannot be used."""
    store, start, (job, _) = Store(sweep.out), time.time(), member
    error: Failure = {}
    status = "failed"
    for attempt in range(1, ATTEMPTS_AFTER_A_SIGNAL + 1):
        if sweep.stopped():
            return True
        sweep.tell(slot=worker.slot.name, ids=[job.id], status="started", attempt=attempt)
        status, error = worker.run(member, attempt, append or attempt > 1)
        if status == "stopped":
            return True
        if status == "unusable":
            _tell_unusable(sweep, worker, error)
            return False
        if status != "crashed" or sweep.finished(job.id):
            break
    seconds = time.time() - start
    if not sweep.finished(job.id):
        error = error or {
            "type": "NoRecord",
            "message": "the run ended without writing a record",
        }
        record = empty_record(job.spec, "failed" if status == "ended" else status, attempt)
        record["error"] = {**error, "log": tail(store.folder(job.id) / "log.txt")}
        record["provenance"] = {
            "host": socket.gethostname(),
            "plugins": dict(job.plugins),  # so that the run can be repeated
            "start": _iso(start),
            "end": _iso(time.time()),
        }
        try:
            store.write(record)
        except OSError as problem:
            sweep.tell(
                slot=worker.slot.name,
                id=job.id,
                status="unwritten",
                seconds=seconds,
                message=f"its record could not be written, it stays todo: {problem}",
            )
            return True
    _tell_ended(sweep, worker, job.id, seconds)
    return True


def _tell_ended(sweep: Sweep, worker: Worker, id: str, seconds: float) -> None:
    ended = Store(sweep.out).last(id)
    if ended is None:
        status, message = "unwritten", "its record was removed, it stays todo"
    else:
        status, found = ended["status"], ended["error"]
        message = ": ".join(filter(None, [found.get("type"), found.get("message")]))
        message = message or headline(ended)
    sweep.tell(slot=worker.slot.name, id=id, status=status, seconds=seconds, message=message)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat()
