"""The lease that keeps a slot to one run at a time, across sweeps and users of a machine.

A lease is an exclusive `flock` on a file in a machine-wide folder. Its descriptor is handed on to
the process that does the work, so the kernel frees the slot exactly when everybody who uses it is
gone: no heartbeat and no stale lock.
"""

import contextlib
import os
import pwd
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import psutil

from benchmark.files import lock
from benchmark.sweep.slots import Slot


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
