"""A supervisor: leases a slot, drives a child process through the runs, sees to it that every run
ends in a record.

It imports no torch and does no work of its own, so nothing that a run does can take it down. There
is no queue: each supervisor walks the same list of jobs and claims what is neither finished nor
claimed. That holds across processes, machines and invocations, and what a dead one leaves behind is
picked up by the next that walks past.
"""

import contextlib
import hashlib
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, NamedTuple

from benchmark.files import ROOT, lock, share, unlock
from benchmark.spec import Job, JsonObject
from benchmark.store import Failure, Store, empty_record, headline
from benchmark.sweep.leases import holders, lease
from benchmark.sweep.manifest import Sweep
from benchmark.sweep.slots import Slot, machine_slots

# Nothing in the user's working folder may take the place of a module of ours.
START = (
    "import sys; sys.path[:] = [sys.argv.pop(), *filter(None, sys.path)]; "
    "from benchmark.sweep.child import main; main(*sys.argv[1:])"
)
LARGEST_LOG, KEPT_LOG = 32_000_000, 4_000_000  # bytes
# A run that a signal ended (out of memory, a segmentation fault) is tried once more; one that
# raised or ran out of time is not: it would do so again.
ATTEMPTS_AFTER_A_SIGNAL = 2
TICK = 0.1  # seconds between two looks at the child and at the order to stop
# seconds a child may need for its imports before a time limit applies: file systems can be slow
STARTUP = 600
WAKE = 60  # seconds that a GPU has to answer a child for the first time
SILENCE = 2.0  # seconds without a lease or a run to claim before the user hears why


def supervise(folder: str) -> None:
    """Works on the sweep in this folder until all of its runs are finished or it is stopped."""
    try:
        sweep = Sweep.load(Path(folder))
    except FileNotFoundError:
        if not Path(folder).parent.is_dir():
            raise FileNotFoundError(
                f"{socket.gethostname()} sees no {folder}: --out must be shared by all workers"
            ) from None
        return  # stopped before we began
    # joblib runs a single task in the main process
    if sweep.backend == "loky" and os.getpid() != sweep.main:
        # Ctrl-C reaches the whole terminal; the main process decides
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with_main, args=(sweep.main,), daemon=True).start()
    share(sweep.out)
    candidates = machine_slots(sweep.slots, sweep.per_gpu)
    todo = sweep.jobs
    # never a second time by us, even if no record could be written (disk full)
    tried: set[str] = set()
    worked = time.monotonic()
    while candidates and not sweep.stopped():
        todo = [job for job in todo if job.id not in tried and not sweep.finished(job.id)]
        if not todo:
            return
        before = len(tried)
        with lease(candidates) as leased:
            if leased is None:
                others = holders(candidates, sweep.main)
                reason = f"waiting for a slot: taken by {others}" if others else ""
            else:
                reason = "waiting for runs that another sweep computes"
                if not _serve(sweep, todo, tried, *leased):
                    broken = leased[0].visible
                    candidates = [slot for slot in candidates if slot.visible != broken]
        # no free slot, or others hold all that is left: they may die, so look again
        if len(tried) > before:
            worked = time.monotonic()
        else:
            if time.monotonic() - worked > SILENCE and reason:
                left = [
                    job.id
                    for job in todo
                    if job.id not in tried and (not job.bank or _mark(sweep, job).exists())
                ]
                sweep.tell(slot="", status="waiting", message=reason, left=left[:100])
                worked = time.monotonic() + 60  # and again after a minute
            time.sleep(3 * TICK)


def _end_with_main(main: int) -> None:
    while os.getppid() == main:
        time.sleep(TICK)
    os._exit(1)  # closes the socket to the child, whose guard then ends its group


def _serve(sweep: Sweep, todo: list[Job], tried: set[str], slot: Slot, lease: IO[bytes]) -> bool:
    """Walks once over the jobs with one lease; False when the GPU behind it cannot be used."""
    store = Store(sweep.out)
    worker = Worker(sweep, slot, lease)
    try:
        for job in todo:
            if sweep.stopped():
                break
            if sweep.finished(job.id):
                continue
            state = _features(sweep, worker, job)
            if state == "unusable":
                return False
            if state != "made":  # another slot makes them: we do not wait for it
                continue
            with store.claim(job.id) as claim:
                if claim is not None and not sweep.finished(job.id):
                    tried.add(job.id)
                    if not _complete(sweep, worker, job, claim):
                        tried.remove(job.id)
                        return False
    finally:
        worker.close()
        unlock(lease)  # said aloud: a process that got away has a copy of the handle
    return True


def _features(sweep: Sweep, worker: "Worker", job: Job) -> str:
    """Makes the features that runs share before the first of these: a job of its own, which has no
    time limit and holds up no other slot. "made" also when that failed, since the run then says
    why; "elsewhere" while another slot is at it."""
    if not job.bank:
        return "made"
    made = _mark(sweep, job)
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
        status, error = worker.run(job, file, 1, features=True)
        if status == "unusable":
            message = f"{worker.slot.name} is left out: {error['message']}"
            sweep.tell(slot=worker.slot.name, status="unusable", message=message)
        if status in ("stopped", "unusable"):
            return status
        with contextlib.suppress(FileNotFoundError):
            made.touch()
        return "made"


def _mark(sweep: Sweep, job: Job) -> Path:
    """The file that says that the features of a job are there, or cannot be had."""
    return sweep.folder / f"{hashlib.sha256(job.bank.encode()).hexdigest()[:16]}.bank"


def _complete(sweep: Sweep, worker: "Worker", job: Job, claim: IO[bytes]) -> bool:
    """One run with its second chance; leaves a record, unless the sweep was stopped or the disk is
    full. False, and nothing happened to the run, when the GPU cannot be used."""
    store, start = Store(sweep.out), time.time()
    error: Failure = {}
    status = "failed"
    for attempt in range(1, ATTEMPTS_AFTER_A_SIGNAL + 1):
        sweep.tell(slot=worker.slot.name, id=job.id, status="started", attempt=attempt)
        status, error = worker.run(job, claim, attempt)
        if status == "stopped":
            return True
        if status == "unusable":
            message = f"{worker.slot.name} is left out: {error['message']}"
            sweep.tell(slot=worker.slot.name, status="unusable", message=message)
            return False
        if status != "crashed" or sweep.finished(job.id):
            break
    seconds = time.time() - start
    if not sweep.finished(job.id):
        record = empty_record(job.spec, "failed" if status == "ended" else status, attempt)
        record["error"] = {**error, "log": _tail(store.folder(job.id) / "log.txt")}
        record["provenance"] = {
            "host": socket.gethostname(),
            "plugins": dict(job.plugins),  # so that the run can be repeated
            "start": _iso(start),
            "end": _iso(time.time()),
        }
        try:
            store.write(record)
        except OSError as problem:
            message = f"its record could not be written, it stays todo: {problem}"
            sweep.tell(
                slot=worker.slot.name,
                id=job.id,
                status="unwritten",
                seconds=seconds,
                message=message,
            )
            return True
    ended = store.last(job.id)
    if ended is None:
        status, message = "unwritten", "its record was removed, it stays todo"
    else:
        status, found = ended["status"], ended["error"]
        message = ": ".join(filter(None, [found.get("type"), found.get("message")]))
        message = message or headline(ended)
    sweep.tell(
        slot=worker.slot.name,
        id=job.id,
        status=status,
        seconds=seconds,
        message=message,
    )
    return True


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat()


def _tail(path: Path, characters: int = 2000) -> str:
    """The end of a log, which may be of any size."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 4 * characters))
        return file.read(4 * characters).decode(errors="replace")[-characters:]
    return ""


def limit_log(path: Path) -> None:
    """Cuts a log that grew too large and keeps its end; whoever writes on appends to that."""
    with contextlib.suppress(OSError):
        size = path.stat().st_size
        if size > LARGEST_LOG:
            left_out = f"[{size - KEPT_LOG:,} bytes before this were left out]\n"
            with path.open("a+b") as file:  # appends, so that it overwrites nobody's line
                file.seek(size - KEPT_LOG)
                kept = file.read()  # to the end, which may have moved since
                file.truncate(0)
                file.write(left_out.encode() + kept)


def code_identity(job: Job) -> str:
    """Runs of one identity may share a process: their method, and files outside the suite, are the
    same."""
    inner = str(job.spec.method.get("method")).partition("(")[0]  # of a method around a method
    return json.dumps([job.spec.method.name, inner, sorted(job.plugins.items())])


class Child(NamedTuple):
    """A process, and our end of the socket to it."""

    process: subprocess.Popen[bytes]
    connection: socket.socket


class Worker:
    """The supervisor's side of a child: started when there is a run for it, replaced when it is not
    to be trusted."""

    def __init__(self, sweep: Sweep, slot: Slot, lease: IO[bytes]) -> None:
        self.sweep, self.slot, self.lease = sweep, slot, lease
        self.child: Child | None = None
        self.received = b""

    def run(
        self, job: Job, claim: IO[bytes], attempt: int, features: bool = False
    ) -> tuple[str, Failure]:
        """Has the child do one run, or make the `features` for it. Returns ("ended", error), or how
        it did not end by itself:

        "crashed" (by a signal), "failed" (exit without an answer), "timeout", "stopped" (the sweep
        was), "unusable" (the GPU; the run did not begin).
        """
        log = Store(self.sweep.out).folder(job.id) / "log.txt"
        # died after its last answer
        if self.child is not None and self.child.process.poll() is not None:
            self.close()
        child = self.child or self._start(log, mode="wb" if attempt == 1 else "ab")
        request = {
            "job": job.to_json(),
            "job_id": job.id,
            "identity": code_identity(job),
            "out": str(self.sweep.out),
            "device": self.slot.device,
            "attempt": attempt,
            "features": features,
            "log": str(log),
        }
        data = json.dumps(request).encode() + b"\n"
        with contextlib.suppress(ConnectionError):  # a child that is gone is noticed below
            sent = socket.send_fds(child.connection, [data], [claim.fileno()])
            child.connection.sendall(data[sent:])
        limited = self.sweep.timeout is not None and not features
        limit = self.sweep.timeout if limited and self.sweep.timeout else math.inf
        deadline, waking = time.monotonic() + max(limit, STARTUP), False
        while True:
            answer = self._answer(child)
            limit_log(log)
            if answer is not None and answer["event"] == "waking":
                deadline, waking = time.monotonic() + WAKE, True
            elif answer is not None and answer["event"] == "started":
                deadline, waking = time.monotonic() + limit, False
            elif answer is not None and answer["event"] == "progress":
                self.sweep.tell(slot=self.slot.name, status="features", message=answer["text"])
            elif answer is not None and answer["event"] == "unusable":
                self.close()
                return "unusable", {"message": answer["message"]}
            elif answer is not None and answer["event"] == "died":
                return _death(answer["code"])
            elif answer is not None:
                assert answer["id"] == job.id, answer
                if features:
                    return "ended", answer["error"]
                error: Failure = answer["error"] or {
                    "type": "NoRecord",
                    "message": "the run ended without writing a record",
                }
                return "ended", error
            elif child.process.poll() is not None:
                self.close()
                return _death(child.process.returncode)
            elif self.sweep.stopped():
                self.close()
                return "stopped", {}
            elif time.monotonic() > deadline:
                self.close()
                if waking:
                    return "unusable", {"message": f"the GPU did not answer within {WAKE} s"}
                return "timeout", {"type": "Timeout", "message": f"longer than {limit:g} s"}

    def _start(self, log: Path, mode: str) -> Child:
        ours, theirs = socket.socketpair()
        with theirs, log.open(mode) as output:
            process = subprocess.Popen(
                [sys.executable, "-c", START, self.sweep.executor, str(ROOT)],
                stdin=theirs.fileno(),
                stdout=output,
                stderr=output,
                # its own process group, out of reach of the terminal's Ctrl-C
                start_new_session=True,
                # the slot stays taken as long as anybody works in it
                pass_fds=[self.lease.fileno()],
                env={**os.environ, **self.slot.environment(), **self.sweep.environment},
            )
        self.received = b""
        self.child = Child(process, ours)
        return self.child

    def _answer(self, child: Child) -> JsonObject | None:
        """The child's next line, or None when there is none within a tick."""
        if b"\n" not in self.received and select.select([child.connection], [], [], TICK)[0]:
            data = b""
            with contextlib.suppress(ConnectionError):
                data = child.connection.recv(1 << 16)
            self.received += data
            if not data:  # end of file: it is exiting
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(TICK)
        if b"\n" not in self.received:
            return None
        line, self.received = self.received.split(b"\n", 1)
        answer: JsonObject = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the child and all that it started, before the lease can be given back."""
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.process.pid, signal.SIGKILL)
            self.child.process.wait()
            self.child.connection.close()
            self.child = None


def _death(code: int) -> tuple[str, Failure]:
    """What the exit code of a child says about the run that it did not finish."""
    if code < 0:
        name = signal.Signals(-code).name
        return "crashed", {
            "type": name,
            "message": f"the process was ended by {name}",
            "signal": name,
        }
    return "failed", {
        "type": "Exit",
        "message": f"the process exited with code {code}, without a record",
        "exit_code": code,
    }
