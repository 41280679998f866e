"""The supervisor's side of a child process: it sends runs there, waits for what becomes of them,
and ends it when it is not to be trusted."""

import contextlib
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from benchmark.files import ROOT
from benchmark.spec import Job, JsonObject
from benchmark.store import Failure, Store
from benchmark.sweep.logs import limit_log
from benchmark.sweep.manifest import Sweep
from benchmark.sweep.slots import Slot

# Nothing in the user's working folder may take the place of a module of ours.
START = (
    "import sys; sys.path[:] = [sys.argv.pop(), *filter(None, sys.path)]; "
    "from benchmark.sweep.child import main; main(*sys.argv[1:])"
)
TICK = 0.1  # seconds between two looks at the child and at the order to stop
# seconds a child may need for its imports before a time limit applies: file systems can be slow
STARTUP = 600
WAKE = 60  # seconds that a GPU has to answer a child for the first time


class Claimed(NamedTuple):
    """A run, and the lock on it that the child is handed."""

    job: Job
    claim: IO[bytes]


class Outcome(NamedTuple):
    """How a child's work on a request ended.

    "ended" (with an answer), "crashed" (by a signal), "failed" (exit without an answer), "timeout",
    "stopped" (the sweep was), "unusable" (the GPU; no run began).
    """

    status: str
    error: Failure


class Child(NamedTuple):
    """A process, and our end of the socket to it."""

    process: subprocess.Popen[bytes]
    connection: socket.socket


def code_identity(job: Job) -> str:
    """Runs of one identity may share a process: their method, and files outside the suite, are the
    same."""
    inner = str(job.spec.method.get("method")).partition("(")[0]  # of a method around a method
    return json.dumps([job.spec.method.name, inner, sorted(job.plugins.items())])


class Worker:
    """A child: started when there is a run for it, replaced when it is not to be trusted."""

    def __init__(self, sweep: Sweep, slot: Slot, lease: IO[bytes]) -> None:
        self.sweep, self.slot, self.lease = sweep, slot, lease
        self.child: Child | None = None
        self.received = b""

    def run(self, member: Claimed, attempt: int = 1, append: bool = False) -> Outcome:
        """Has the child do one run; its log is begun anew unless the child should `append`."""
        return self._served([member], attempt, append)

    def make_features(self, job: Job, lock: IO[bytes]) -> Outcome:
        """Has the child make the features that this run and others share, without a time limit."""
        return self._served([Claimed(job, lock)], features=True)

    def run_together(self, members: Sequence[Claimed], recorded: Callable[[str], None]) -> Outcome:
        """Has the child compute several runs as one; `recorded` is told the id of each that has its
        record. They have the sum of their time limits, and the log of the first."""
        return self._served(members, recorded=recorded)

    def _served(
        self,
        members: Sequence[Claimed],
        attempt: int = 1,
        append: bool = False,
        features: bool = False,
        recorded: Callable[[str], None] = lambda id: None,
    ) -> Outcome:
        first = members[0].job
        log = Store(self.sweep.out).folder(first.id) / "log.txt"
        # died after its last answer
        if self.child is not None and self.child.process.poll() is not None:
            self.close()
        child = self.child or self._start(log, mode="ab" if append else "wb")
        request = {
            "jobs": [member.job.to_json() for member in members],
            "job_id": first.id,
            "identity": code_identity(first),
            "out": str(self.sweep.out),
            "device": self.slot.device,
            "attempt": attempt,
            "append": append,
            "features": features,
            "log": str(log),
        }
        data = json.dumps(request).encode() + b"\n"
        claims = [member.claim.fileno() for member in members]
        with contextlib.suppress(ConnectionError):  # a child that is gone is noticed below
            sent = socket.send_fds(child.connection, [data], claims)
            child.connection.sendall(data[sent:])
        limit = math.inf
        if self.sweep.timeout is not None and not features:
            limit = self.sweep.timeout * len(members)
        return self._outcome(child, first.id, log, limit, recorded)

    def _outcome(
        self, child: Child, id: str, log: Path, limit: float, recorded: Callable[[str], None]
    ) -> Outcome:
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
            elif answer is not None and answer["event"] == "recorded":
                recorded(answer["member"])
            elif answer is not None and answer["event"] == "unusable":
                self.close()
                return Outcome("unusable", {"message": answer["message"]})
            elif answer is not None and answer["event"] == "died":
                return _death(answer["code"])
            elif answer is not None:
                assert answer["id"] == id, answer
                return Outcome("ended", answer["error"])
            elif child.process.poll() is not None:
                self.close()
                return _death(child.process.returncode)
            elif self.sweep.stopped():
                self.close()
                return Outcome("stopped", {})
            elif time.monotonic() > deadline:
                self.close()
                if waking:
                    return Outcome(
                        "unusable", {"message": f"the GPU did not answer within {WAKE} s"}
                    )
                late: Failure = {"type": "Timeout", "message": f"longer than {limit:g} s"}
                return Outcome("timeout", late)

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


def _death(code: int) -> Outcome:
    """What the exit code of a child says about the run that it did not finish."""
    if code < 0:
        name = signal.Signals(-code).name
        message = f"the process was ended by {name}"
        return Outcome("crashed", {"type": name, "message": message, "signal": name})
    message = f"the process exited with code {code}, without a record"
    return Outcome("failed", {"type": "Exit", "message": message, "exit_code": code})
