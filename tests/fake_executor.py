"""Runs that misbehave on demand, for the tests of the scheduler: `description["method"]["name"]`
says how. No torch."""

import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np

from benchmark.store import Record, Store, empty_record

SPEC = {
    "setting": {"name": "partial", "known": 0.1},
    "encoder": {"name": "pocket-RN"},
    "selection": "last",
    "seed": 0,
}


def a_job(number: int, method: str = "sleep", seconds: float = 0.0, bank: str = "") -> dict:
    description = {**SPEC, "method": {"name": method, "number": number}}
    return {"id": f"{number:012x}", "description": description, "seconds": seconds, "bank": bank}


def execute(job: dict, out: Path, device: str, attempt: int) -> Record:
    note(out, f"start {job['id']} {os.getpid()}")
    method = job["description"]["method"]["name"]
    print(f"this is {method}, attempt {attempt}")
    record = empty_record(job["id"], job["description"], "done", attempt)
    if method == "raise":
        raise RuntimeError("a plugin went wrong")
    if method == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if method == "kill_once" and attempt == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if method == "hang":
        if os.fork() == 0:  # a loader process of a method that hangs
            note(out, f"loader {job['id']} {os.getpid()}")
            time.sleep(600)
        ctypes.PyDLL(None).sleep(600)  # inside a library, with the interpreter's lock held
    if method == "exhaust":
        hoard, pages = [], Path(f"/proc/{os.getpid()}/statm")
        if os.fork() == 0:  # in the role of the kernel: a memory limit of 200 MB
            while int(pages.read_text().split()[1]) * resource.getpagesize() < 200_000_000:
                time.sleep(0.01)
            os.kill(os.getppid(), signal.SIGKILL)
            os._exit(0)
        while len(hoard) < 30:
            hoard.append(b"x" * 20_000_000)
            time.sleep(0.02)
        time.sleep(600)
    if method == "no_memory":
        resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
        bytearray(1 << 30)
    if method == "exit":
        os._exit(0)
    if method == "sys_exit":
        sys.exit(3)
    if method == "cuda":
        record |= {
            "status": "failed",
            "error": {"type": "RuntimeError", "message": "CUDA error: misaligned address"},
        }
    if method == "no_record":
        return record
    if method == "disk_full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        Store(out).write(record, np.zeros((100, 1000)))
    time.sleep(job["seconds"])
    record["cost"] = {"environment": dict(os.environ), "device": device, "process": os.getpid()}
    Store(out).write(record)
    note(out, f"end {job['id']} {os.getpid()}")
    return record


def note(out: Path, text: str) -> None:
    """One line in a file that all processes share; short appends do not mix."""
    with (out / "notes.txt").open("a") as file:
        file.write(f"{time.time()} {text}\n")


def notes(out: Path, word: str) -> list[tuple[float, str, int]]:
    """(time, job id, process id) of each note of a kind."""
    lines = (line.split() for line in (out / "notes.txt").read_text().splitlines())
    return [
        (float(moment), id, int(process)) for moment, kind, id, process in lines if kind == word
    ]
