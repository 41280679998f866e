"""`python -m benchmark.child MODULE:FUNCTION`: serves runs, one after the other, to the supervisor
that started it.

Importing torch costs seconds, so one child serves many runs. Standard input is a socket to the
supervisor: a request is a line of JSON with the descriptor of the run's claim beside it, an answer
is a line. Standard output and error go to the log of the run. The child leads its own process
group, and the group ends with the supervisor, however that dies.
"""

import faulthandler
import gc
import importlib
import io
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from benchmark.spec import Job, JsonObject
from benchmark.store import Failure, Record

LARGEST_READ = 1 << 16


def main(executor: str) -> None:
    connection = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _start_guard(connection)
    execute: Callable[..., Record] | None = None
    while True:
        request, claim = _receive(connection)
        _log_to(Path(request["log"]), append=request["attempt"] > 1)
        try:
            if execute is None:
                module, function = executor.split(":")
                execute = getattr(importlib.import_module(module), function)
                gc.freeze()  # what the imports made stays: no collection between runs looks at it
                if request["device"] != "cpu":
                    _send(connection, {"event": "waking"})
                    _wake(connection, request["device"])
            # the run's time counts from here, not from the imports
            _send(connection, {"event": "started"})
            job = Job.from_json(request["job"])
            record = execute(job, Path(request["out"]), request["device"], request["attempt"])
            error = record["error"]
        # the border of the process: the supervisor writes the record
        except Exception as exception:
            traceback.print_exc()
            error = {"type": type(exception).__name__, "message": str(exception)}
        if request["device"].startswith("cuda"):
            _give_back_gpu_memory()
        os.close(claim)
        _send(connection, {"event": "ended", "error": error, "replace": poisoned(error)})


def poisoned(error: Failure) -> bool:
    """Whether the process should serve no other run: memory ran out, or CUDA is in an unknown
    state."""
    text = f"{error.get('type', '')}: {error.get('message', '')}"
    return any(word in text for word in ("MemoryError", "OutOfMemory", "CUDA", "cuDNN", "CUBLAS"))


def _start_guard(connection: socket.socket) -> None:
    """Forks a process that kills the group once the supervisor's end of the socket is closed.

    A thread could not do it while a library hangs with the interpreter's lock held, and a signal on
    the parent's death would not reach the loader processes of a method.
    """
    if os.fork() == 0:
        hang_up = select.poll()
        hang_up.register(connection, 0)  # no event but the hang-up itself
        hang_up.poll()
        os.killpg(0, signal.SIGKILL)


def _wake(connection: socket.socket, device: str) -> None:
    """Uses the GPU once; one that cannot be used is no verdict on the run, and ends this child."""
    import torch

    try:
        torch.zeros(1, device=device).item()
    # whatever CUDA raises, also that torch was built without it
    except Exception as exception:
        traceback.print_exc()
        reason = f"{type(exception).__name__}: {exception}".splitlines()[0]
        _send(connection, {"event": "unusable", "message": reason})
        os.killpg(0, signal.SIGKILL)


def _receive(connection: socket.socket) -> tuple[JsonObject, int]:
    """The next request and the descriptor of its claim; ends the process group when there is
    none."""
    line, descriptors, _, _ = socket.recv_fds(connection, LARGEST_READ, 1)
    while line and not line.endswith(b"\n"):
        line += connection.recv(LARGEST_READ)
    if not line:
        os.killpg(0, signal.SIGKILL)
    (claim,) = descriptors
    os.set_inheritable(claim, False)
    return json.loads(line), claim


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


if __name__ == "__main__":
    faulthandler.enable()  # a segmentation fault leaves its Python stack in the log
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)
    main(sys.argv[1])
