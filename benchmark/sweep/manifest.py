"""What one invocation wants done: a folder below the results, read and written by its supervisors
wherever they are."""

import contextlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.files import lock, write_atomically
from benchmark.spec import Job
from benchmark.store import Store


@dataclass
class Sweep:
    """What one invocation wants done. It lies in `folder`/sweep.json, and removing that file stops
    every supervisor."""

    folder: Path
    out: Path
    jobs: list[Job]  # in the order in which to start them
    rerun: list[str]  # ids to compute although their record says done
    backend: str
    main: int  # process id of the invocation
    executor: str  # "module:function"
    slots: int = 0
    per_gpu: int = 1
    timeout: float | None = None  # seconds a run
    cohort: int = 0  # runs computed as one at most: 0 = the suite's choice, 1 = each by itself
    environment: dict[str, str] = field(default_factory=dict)
    started_ns: int = 0  # by the clock of the file system, like the records

    def written(self) -> "Sweep":
        """Writes the file, which lets supervisors begin."""
        state = {**self.__dict__, "jobs": [job.to_json() for job in self.jobs]}
        state |= {"folder": str(self.folder), "out": str(self.out)}
        write_atomically(self.folder / "sweep.json", json.dumps(state).encode())
        return Sweep.load(self.folder)

    @classmethod
    def load(cls, folder: Path) -> "Sweep":
        path = folder / "sweep.json"
        state = json.loads(path.read_bytes())
        state["jobs"] = [Job.from_json(job) for job in state["jobs"]]
        state |= {"folder": folder, "out": Path(state["out"])}
        return cls(**state | {"started_ns": path.stat().st_mtime_ns})

    def stopped(self) -> bool:
        return not (self.folder / "sweep.json").exists()

    def finished(self, id: str) -> bool:
        """Whether the run needs no work from this sweep: done before, or ended (in any way) since
        the sweep began."""
        store = Store(self.out)
        record = store.read(id)
        if record is None:
            return False
        if record["status"] == "done" and id not in self.rerun:
            return True
        return store.ended_ns(id) >= self.started_ns

    def tell(self, **event: str | float | list[str]) -> None:
        """A line for the progress view; a view that cannot be written to stops no sweep."""
        name = f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}.jsonl"
        with contextlib.suppress(OSError), (self.folder / name).open("a") as file:
            file.write(json.dumps({"host": socket.gethostname(), **event}) + "\n")


@contextlib.contextmanager
def sweep_folder(out: Path) -> Iterator[Path]:
    """A folder for one invocation; removes those of invocations on this host that were killed."""
    host = socket.gethostname()
    sweeps = out / "sweeps"
    for old in sweeps.glob(f"{host}-*"):
        with contextlib.suppress(FileNotFoundError), (old / "alive").open("r+b") as file:
            if lock(file):
                shutil.rmtree(old, ignore_errors=True)
    folder = sweeps / f"{host}-{os.getpid()}-{time.time_ns()}"
    # takes its name once it is locked, so that nobody takes it for a dead one
    unlocked = sweeps / f".{folder.name}"
    unlocked.mkdir(parents=True)
    try:
        with (unlocked / "alive").open("ab") as file:
            try:
                lock(file)
            except OSError as problem:
                remedy = "choose another --out or have it mounted with flock"
                raise ValueError(
                    f"the file system of {out} cannot lock files ({problem}): {remedy}"
                ) from problem
            unlocked.rename(folder)
            yield folder
    finally:
        shutil.rmtree(unlocked, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
