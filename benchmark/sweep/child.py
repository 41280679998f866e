"""`python -c "… child.main()" MODULE:FUNCTION`: serves runs, one after the other, to the supervisor
that started it.

Importing torch costs seconds, so this process imports everything once and runs nothing itself: it
forks a *runner*, which serves runs of one code identity (the method and the files of outside
plugins) and is replaced when that changes, or when a run left something changed in it. So no method
finds what another one did to the process, and imports stay warm.

Standard input is a socket to the supervisor: a request is a line of JSON with the descriptors of
the runs' claims beside it, an answer is a line that carries the id of the run, or of the first.
Standard output and error go to the log of that run. All processes are one group, and the group ends
with the supervisor, however that dies.
"""

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmark import staleness, traces
from benchmark.spec import Job, JsonObject
from benchmark.store import Failure, Record

LARGEST_READ = 1 << 16
MOST_DESCRIPTORS = 253  # that Linux sends at once
TICK = 0.05  # seconds between two looks whether a silent runner is alive
PR_SET_CHILD_SUBREAPER = 36  # of Linux: whom a run leaves behind becomes our child


class Executor(NamedTuple):
    """What runs are computed with: the named function, and what may stand beside it in its
    module."""

    execute: Callable[[Job, Path, str, int], Record]
    execute_cohort: Callable[[list[Job], Path, str, Callable[[Record], None]], list[Record]] | None
    prepare: Callable[[Job, Path, str, Callable[[str], None]], None] | None


def main(name: str) -> None:
    faulthandler.enable()  # a segmentation fault leaves its Python stack in the log
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text file
    connection = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    guard = _start_guard(connection)
    executor: Executor | None = None
    runner: Runner | None = None
    while True:
        request, claims = _receive(connection)
        try:
            if executor is None:
                _log_to(Path(request["log"]), request["append"])
                request["append"] = True
                executor = _imported(name)
        # the border of the process: the supervisor writes the record
        except Exception as exception:
            traceback.print_exc()
            _send(connection, _ended(request, _described(exception)))
            _close(claims)
            continue
        if runner is not None and runner.identity != request["identity"]:
            runner.end()
            runner = None
        if runner is None:
            runner = Runner(executor, request["identity"])
        runner.send(request, claims)
        _close(claims)
        if not _relay(connection, runner, request["job_id"]):
            runner.end()
            runner = None
        _end_leftovers({guard, runner.process if runner else 0})


def _imported(name: str) -> Executor:
    """The function of "module:function", with the engine's code taken note of before."""
    module_name, function = name.split(":")
    if module_name.startswith("benchmark."):
        staleness.freeze()
    module = importlib.import_module(module_name)
    beside = (getattr(module, other, None) for other in ("execute_cohort", "prepare"))
    executor = Executor(getattr(module, function), *beside)
    gc.collect()
    gc.freeze()  # what was imported stays: no run's collection walks through it, no fork copies it
    return executor


class Runner:
    """A fork that serves runs of one code identity."""

    def __init__(self, executor: Executor, identity: str) -> None:
        self.identity = identity
        self.connection, theirs = socket.socketpair()
        self.received = b""
        self.process = os.fork()
        if self.process == 0:
            self.connection.close()
            try:
                _serve(theirs, executor)
            finally:
                os._exit(1)
        theirs.close()

    def send(self, request: JsonObject, claims: list[int]) -> None:
        data = json.dumps(request).encode() + b"\n"
        with contextlib.suppress(ConnectionError):  # it died: `answer` finds out
            sent = socket.send_fds(self.connection, [data], claims)
            self.connection.sendall(data[sent:])

    def answer(self) -> JsonObject | None:
        """Its next answer; None when it is dead."""
        while b"\n" not in self.received:
            if select.select([self.connection], [], [], TICK)[0]:
                data = b""
                with contextlib.suppress(ConnectionError):
                    data = self.connection.recv(LARGEST_READ)
                self.received += data
                if data:
                    continue
            with contextlib.suppress(ChildProcessError):
                process, status = os.waitpid(self.process, os.WNOHANG)
                if process:
                    self.code = os.waitstatus_to_exitcode(status)
                    self.process = 0
                    return None
        line, self.received = self.received.split(b"\n", 1)
        answer: JsonObject = json.loads(line)
        return answer

    def end(self) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.process, 0)
            self.process = 0
        self.connection.close()  # after its death: a runner without a connection ends the group


def _relay(connection: socket.socket, runner: Runner, id: str) -> bool:
    """Passes the answers about a run on; whether the runner may serve another one."""
    while (answer := runner.answer()) is not None:
        if answer.get("id") != id:  # of something that a run left behind
            continue
        _send(connection, answer)
        if answer["event"] == "ended":
            return not answer["replace"]
    _send(connection, {"event": "died", "id": id, "code": runner.code})
    return False


def _serve(connection: socket.socket, executor: Executor) -> None:
    """The runner's whole life."""
    before, awake = traces.state(), False
    while True:
        request, claims = _receive(connection)
        id = request["job_id"]
        _log_to(Path(request["log"]), request["append"])
        if request["device"] != "cpu" and not awake:
            _send(connection, {"event": "waking", "id": id})
            _wake(connection, request["device"], id)
            awake, before = True, traces.state()
        # the run's time counts from here, not from the imports
        _send(connection, {"event": "started", "id": id})
        error: Failure = {}
        try:
            jobs = [Job.from_json(state) for state in request["jobs"]]
            if request["features"]:
                _prepare(executor, jobs[0], request, connection)
            elif len(jobs) > 1:
                error = _execute_cohort(executor, jobs, request, connection)
            else:
                out, device = Path(request["out"]), request["device"]
                error = executor.execute(jobs[0], out, device, request["attempt"])["error"]
        # the border of the process: the supervisor writes the record
        except Exception as exception:
            traceback.print_exc()
            error = _described(exception)
        changed = traces.left(before, traces.state())
        if changed:
            print(f"changed in its process, so the next run gets another: {', '.join(changed[:5])}")
        if request["device"].startswith("cuda"):
            _give_back_gpu_memory()
        _close(claims)
        _send(connection, _ended(request, error, bool(changed)))


def _prepare(executor: Executor, job: Job, request: JsonObject, connection: socket.socket) -> None:
    """Makes the features that runs will share, where the executor knows how to."""

    def say(text: str) -> None:
        _send(connection, {"event": "progress", "id": request["job_id"], "text": text})

    if executor.prepare is not None:
        executor.prepare(job, Path(request["out"]), request["device"], say)


def _execute_cohort(
    executor: Executor, jobs: list[Job], request: JsonObject, connection: socket.socket
) -> Failure:
    """Several runs as one; says of each when it has its record. Returns the failure that the
    process should not outlive, where there is one."""

    def recorded(record: Record) -> None:
        event = {"event": "recorded", "id": request["job_id"], "member": record["id"]}
        _send(connection, event)

    assert executor.execute_cohort is not None, "the executor computes runs one by one"
    records = executor.execute_cohort(jobs, Path(request["out"]), request["device"], recorded)
    return next((r["error"] for r in records if poisoned(r["error"])), Failure())


def _described(exception: Exception) -> Failure:
    return {"type": type(exception).__name__, "message": str(exception)}


def _ended(request: JsonObject, error: Failure, changed: bool = False) -> JsonObject:
    replace = changed or poisoned(error)
    return {"event": "ended", "id": request["job_id"], "error": error, "replace": replace}


def poisoned(error: Failure) -> bool:
    """Whether the process should serve no other run: memory ran out, or CUDA is in an unknown
    state."""
    text = f"{error.get('type', '')}: {error.get('message', '')}"
    return any(word in text for word in ("MemoryError", "OutOfMemory", "CUDA", "cuDNN", "CUBLAS"))


def _end_leftovers(spared: set[int]) -> None:
    """Kills what a run left behind, also where it made itself a session of its own."""
    left = [
        process
        for process in psutil.Process().children(recursive=True)
        if process.pid not in spared
    ]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            if "resource_tracker" not in " ".join(process.cmdline()):  # it ends by itself
                process.kill()
    with contextlib.suppress(ChildProcessError):  # those whose parent is gone are ours
        for process in left:
            os.waitpid(process.pid, os.WNOHANG)


def _start_guard(connection: socket.socket) -> int:
    """Forks a process that kills the group once the supervisor's end of the socket is closed.

    A thread could not do it while a library hangs with the interpreter's lock held, and a signal on
    the parent's death would not reach the loader processes of a method.
    """
    guard = os.fork()
    if guard == 0:
        hang_up = select.poll()
        hang_up.register(connection, 0)  # no event but the hang-up itself
        hang_up.poll()
        os.killpg(0, signal.SIGKILL)
    return guard


def _wake(connection: socket.socket, device: str, id: str) -> None:
    """Uses the GPU once; one that cannot be used is no verdict on the run, and ends this child."""
    import torch

    try:
        torch.zeros(1, device=device).item()
    # whatever CUDA raises, also that torch was built without it
    except Exception as exception:
        traceback.print_exc()
        reason = f"{type(exception).__name__}: {exception}".splitlines()[0]
        _send(connection, {"event": "unusable", "id": id, "message": reason})
        select.select([], [], [])  # the supervisor ends the group


def _receive(connection: socket.socket) -> tuple[JsonObject, list[int]]:
    """The next request and the descriptors of its claims; ends the process group when there is
    none."""
    line, claims, _, _ = socket.recv_fds(connection, LARGEST_READ, MOST_DESCRIPTORS)
    while line and not line.endswith(b"\n"):
        line += connection.recv(LARGEST_READ)
    if not line:
        os.killpg(0, signal.SIGKILL)
    for claim in claims:
        os.set_inheritable(claim, False)
    return json.loads(line), claims


def _close(claims: list[int]) -> None:
    for claim in claims:
        os.close(claim)


def _send(connection: socket.socket, answer: JsonObject) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(json.dumps(answer).encode() + b"\n")


def _log_to(path: Path, append: bool) -> None:
    file = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (0 if append else os.O_TRUNC), 0o666
    )
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _give_back_gpu_memory() -> None:
    """Several children may share the GPU: what this one only caches is of use to the others."""
    import torch  # loaded by the run already; a child on the CPU may serve executors without torch

    gc.collect()
    torch.cuda.empty_cache()
