"""Slots: how many runs this machine takes at once, on which devices, and the lease that keeps a
slot to one of them.

A lease is an exclusive `flock` on a file in a machine-wide folder. Its descriptor is handed on to
the process that does the work, so the kernel frees the slot exactly when everybody who uses it is
gone: no heartbeat and no stale lock, and a second sweep on the machine, also of another user,
shares the devices with the first.
"""

import contextlib
import os
import pwd
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import joblib
import psutil

from benchmark.files import lock
from benchmark.sweep.gpus import visible_gpus


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time."""

    name: str  # of the lease file: "GPU-3f1c…-0", "cpu-1"
    device: str  # as torch calls it inside the child, which sees one GPU only: "cuda:0" or "cpu"
    visible: str  # the child's CUDA_VISIBLE_DEVICES, "" for none
    threads: int  # torch threads of the child
    shared_by: int  # slots on the same device

    def environment(self) -> dict[str, str]:
        threads = {
            name: str(self.threads)
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        }
        return {
            **threads,
            "CUDA_VISIBLE_DEVICES": self.visible,
            "LOWLABEL_SHARED_BY": str(self.shared_by),
        }


def machine_slots(count: int = 0, per_gpu: int = 1) -> list[Slot]:
    """The slots of this machine; `count` > 0 overrides their number.

    With GPUs: those of CUDA_VISIBLE_DEVICES, else all that `nvidia-smi -L` lists, each `per_gpu`
    times; `count` takes the first so many. Without: one slot per physical core that this process
    may use (affinity and container limits count), with one torch thread each; `count` slots share
    the cores evenly. LOWLABEL_PRETEND_DEVICES=4 makes four devices that do not exist, for tests.

    Raises `ValueError` where there are GPUs that cannot be used.
    """
    if count < 0 or per_gpu < 1:
        raise ValueError(
            f"slots must be >= 0 (0 = choose) and runs per GPU >= 1, not {count} and {per_gpu}"
        )
    cores = joblib.cpu_count(only_physical_cores=True)
    pretended = int(os.environ.get("LOWLABEL_PRETEND_DEVICES", "0"))
    if pretended:
        found = [Slot(f"pretend-{i}", "cpu", "", 1, 1) for i in range(pretended)]
        return found[: count or None]
    gpus = visible_gpus()
    if not gpus:
        number = count or cores
        threads = max(1, cores // number)
        return [Slot(name, "cpu", "", threads, 1) for name in _core_names(number)]
    # The first run of every GPU before the second of any: `count` then spreads over the GPUs.
    places = [(visible, name, k) for k in range(per_gpu) for visible, name in gpus][: count or None]
    threads = max(1, cores // len(places))
    return [Slot(f"{name}-{k}", "cuda:0", visible, threads, per_gpu) for visible, name, k in places]


def _core_names(number: int) -> list[str]:
    """Names after the cores that this process may use, spread evenly: two jobs of one node that
    were given different cores lease different files."""
    affinity = psutil.Process().cpu_affinity() if hasattr(psutil.Process, "cpu_affinity") else None
    cores = sorted(affinity or range(os.cpu_count() or 1))
    if number <= len(cores):
        return [f"cpu-{cores[i * len(cores) // number]}" for i in range(number)]
    again = [divmod(i, len(cores)) for i in range(number)]
    return [f"cpu-{cores[core]}" + (f"-{turn}" if turn else "") for turn, core in again]


def lease_folder() -> Path:
    """Where the leases of this machine lie: LOWLABEL_LEASES, else a fixed folder that all users and
    all jobs share.

    TMPDIR and XDG_RUNTIME_DIR differ between a login, a cron job and a SLURM job, so neither is
    asked.
    """
    folder = Path(os.environ.get("LOWLABEL_LEASES", "/tmp/lowlabel-leases"))
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        made.chmod(0o1777)  # before it has its name: whatever the umask, nobody meets it closed
        try:
            made.rename(folder)
        except OSError:  # another process was faster
            made.rmdir()
    return folder


@contextlib.contextmanager
def lease(candidates: list[Slot]) -> Iterator[tuple[Slot, IO[bytes]] | None]:
    """A free slot of these and its lease file, or None when all are taken now."""
    with contextlib.ExitStack() as opened:
        for slot in candidates:
            file = _open_shared(lease_folder() / f"{slot.name}.lock")
            if lock(file):
                opened.enter_context(file)
                yield slot, file
                return
            file.close()
        yield None


def _open_shared(path: Path) -> IO[bytes]:
    """Opens a lease that may belong to another user: reading is enough for `flock`."""
    if not path.exists():
        made, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            os.fchmod(made, 0o644)  # whatever the umask, and before anybody sees it
            with contextlib.suppress(FileExistsError):
                os.link(name, path)
        finally:
            os.close(made)
            os.unlink(name)
    return path.open("rb")


@contextlib.contextmanager
def wait_for_slot(candidates: list[Slot], say: Callable[[str], None]) -> Iterator[Slot]:
    """A slot for a run in this process; says once for whom it has to wait."""
    told = False
    while True:
        with lease(candidates) as leased:
            if leased is not None:
                # what a child would find in its environment
                os.environ.update(leased[0].environment())
                yield leased[0]
                return
        if not told:
            say(f"waiting for a slot: taken by {holders(candidates, 0)}")
            told = True
        time.sleep(0.3)


def holders(candidates: list[Slot], main: int) -> str:
    """Who holds the leases of these slots, for a person: "process 4711 of anna (run_all.py …)"; ""
    when it is this sweep itself, whose main process is `main`."""
    inodes = set()
    for slot in candidates:
        with contextlib.suppress(OSError):
            inodes.add((lease_folder() / f"{slot.name}.lock").stat().st_ino)
    try:  # /proc is Linux
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return "another process"
    # "1: FLOCK ADVISORY WRITE 4711 fd:00:1234 0 EOF"
    found = {int(w[4]) for w in locks if w[1] == "FLOCK" and int(w[5].split(":")[2]) in inodes}
    texts = [_described(pid, main) for pid in sorted(found)] if found else ["another process"]
    return "; ".join(dict.fromkeys(filter(None, texts)))


def _described(pid: int, main: int) -> str:
    """A process by its number, user and command; "" for one of the sweep of `main`."""
    try:
        process = psutil.Process(pid)
        while "loky" in " ".join(process.cmdline()):  # a supervisor: its parent has the command
            process = process.parent() or process
        if process.pid in (main, os.getpid()):
            return ""
        user = pwd.getpwuid(process.uids().real).pw_name
        words = [Path(word).name for word in process.cmdline()[1:4]]
        return f"process {process.pid} of {user} ({' '.join(words)} …)"
    except (psutil.Error, KeyError):
        return f"process {pid}"
