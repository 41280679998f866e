"""Slots: how many runs this machine takes at once, on which devices, and the lease that keeps a
slot to one of them.

A lease is an exclusive `flock` on a file in a machine-wide folder. Its descriptor is handed on to
the process that does the work, so the kernel frees the slot exactly when everybody who uses it is
gone: no heartbeat and no stale lock, and a second sweep on the machine, also of another user,
shares the devices with the first.
"""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import joblib

from benchmark.files import lock


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
        return [Slot(f"cpu-{i}", "cpu", "", max(1, cores // number), 1) for i in range(number)]
    # The first run of every GPU before the second of any: `count` then spreads over the GPUs.
    places = [(visible, name, k) for k in range(per_gpu) for visible, name in gpus][: count or None]
    threads = max(1, cores // len(places))
    return [Slot(f"{name}-{k}", "cuda:0", visible, threads, per_gpu) for visible, name, k in places]


def visible_gpus() -> list[tuple[str, str]]:
    """(value for CUDA_VISIBLE_DEVICES, machine-wide name) of each GPU that this process may use,
    found without torch.

    Where nvidia-smi is at hand the name is the UUID, so a sweep that was given "2" and one that was
    given "GPU-3f1c…" lease the same file. Like CUDA, the list ends at the first "-1".
    """
    uuids = _listed_by_nvidia_smi()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [(uuid, uuid) for uuid in uuids]
    gpus = []
    for value in (part.strip() for part in chosen.split(",")):
        if value.isdigit():
            name = uuids[int(value)] if int(value) < len(uuids) else f"gpu{value}"
        elif value.startswith(("GPU-", "MIG-")):  # CUDA accepts the beginning of a UUID
            name = next((uuid for uuid in uuids if uuid.startswith(value)), value.replace("/", "-"))
        else:
            break
        gpus.append((value, name))
    return gpus


def _listed_by_nvidia_smi() -> list[str]:
    """UUIDs in the order of the machine; a GPU that is cut into MIG instances is replaced by its
    instances."""
    if shutil.which("nvidia-smi") is None:
        return []
    answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    if answer.returncode != 0:  # installed, but there is no driver or no GPU
        return []
    uuids: list[str] = []
    for uuid in re.findall(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)", answer.stdout):
        if uuid.startswith("MIG-") and uuids and uuids[-1].startswith("GPU-"):
            uuids.pop()
        uuids.append(uuid)
    return uuids


def lease_folder() -> Path:
    """Where the leases of this machine lie: LOWLABEL_LEASES, else a fixed folder that all users and
    all jobs share.

    TMPDIR and XDG_RUNTIME_DIR differ between a login, a cron job and a SLURM job, so neither is
    asked.
    """
    folder = Path(os.environ.get("LOWLABEL_LEASES", "/tmp/lowlabel-leases"))
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)
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
    with contextlib.suppress(FileExistsError), path.open("xb"):
        pass
    return path.open("rb")
