"""Slots: how many runs this machine takes at once, and on which devices; `leases` keep each to one
run."""

import os
from dataclasses import dataclass

import joblib
import psutil

from benchmark.sweep.gpus import visible_gpus

MOST_SLOTS = 1024  # of one machine


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
            "LOWLABEL_DECODERS": str(self.threads),  # processes that decode images for the run
        }


def machine_slots(count: int = 0, per_gpu: int = 1) -> list[Slot]:
    """The slots of this machine; `count` > 0 overrides their number.

    With GPUs: those of CUDA_VISIBLE_DEVICES, else all that `nvidia-smi -L` lists, each `per_gpu`
    times; `count` takes the first so many. Without: one slot per physical core that this process
    may use (affinity and container limits count), with one torch thread each; `count` slots share
    the cores evenly. LOWLABEL_PRETEND_DEVICES=4 makes four devices that do not exist, for tests.

    Raises `ValueError` where there are GPUs that cannot be used.
    """
    if not (0 <= count <= MOST_SLOTS and 1 <= per_gpu <= MOST_SLOTS):
        raise ValueError(
            f"slots go from 0 (= choose) to {MOST_SLOTS:,}, runs per GPU from 1 to {MOST_SLOTS:,}, "
            f"not {str(count)[:9]} and {str(per_gpu)[:9]}"
        )
    # joblib itself asks `lscpu`, which slim containers lack, and then warns with a traceback
    cores = min(joblib.cpu_count(), psutil.cpu_count(logical=False) or joblib.cpu_count())
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
