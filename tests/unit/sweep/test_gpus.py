"""GPUs that are not there, do not answer or are broken: one sentence each, and never silently the
CPU."""

import os
import time
from pathlib import Path

import pytest

import run_all
from benchmark import commands
from benchmark.sweep import gpus, slots
from benchmark.sweep.schedule import run_jobs
from tests.fixtures.fake_executor import a_job, notes

EIGHT = "".join(f"GPU {i}: NVIDIA H100 (UUID: GPU-{i}{i}{i}{i})\n" for i in range(8))
LOST = "Unable to determine the device handle for gpu 0000:3B:00.0: GPU is lost."


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """`machine(script)` puts an nvidia-smi on the path, and a torch that is built for CUDA where
    `cuda`."""
    for name in ("CUDA_VISIBLE_DEVICES", "LOWLABEL_PRETEND_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOWLABEL_LEASES", str(tmp_path / "leases"))

    def make(script: str, cuda: bool = True) -> None:
        program = tmp_path / "bin/nvidia-smi"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        monkeypatch.setattr(gpus, "torch_has_cuda", lambda: cuda)
        gpus._say.cache_clear()

    return make


def test_a_torch_without_cuda_on_a_machine_with_gpus_is_refused(machine, monkeypatch, capsys):
    machine(f"printf '{EIGHT}'", cuda=False)
    with pytest.raises(
        ValueError, match=r"has 8 GPU\(s\), but the installed torch is built without"
    ):
        slots.machine_slots()
    monkeypatch.setattr("benchmark.commands.run.planned", lambda *arguments: [])
    assert commands.main(["run"], run_all.QUICK, run_all.FULL) == 2  # before any work
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # the remedy that the sentence gives
    assert slots.machine_slots()[0].device == "cpu"


def test_the_installed_torch_is_asked_without_importing_it():
    import torch

    gpus.torch_has_cuda.cache_clear()
    assert gpus.torch_has_cuda() == (torch.version.cuda is not None)


def test_a_driver_that_hangs_is_given_up(machine, monkeypatch):
    monkeypatch.setattr(gpus, "PATIENCE", 0.2)
    machine("exec sleep 60")
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"nvidia-smi did not answer within 0\.2 s"):
        slots.machine_slots()
    assert time.monotonic() - start < 5


def test_one_broken_gpu_among_eight_is_left_out_and_said(machine, capsys):
    machine(f"printf '{EIGHT.replace('GPU 3: NVIDIA H100 (UUID: GPU-3333)', LOST)}'; exit 15")
    found = slots.machine_slots()
    assert [slot.visible for slot in found] == [f"GPU-{i}{i}{i}{i}" for i in range(8) if i != 3]
    said = capsys.readouterr().err
    assert "lists 7 GPU(s), which are used, and reports: Unable to determine" in said


def test_no_gpu_behind_nvidia_smi_is_said(machine, capsys):
    machine("echo 'No devices were found'; exit 6")
    assert slots.machine_slots()[0].device == "cpu"
    assert "nvidia-smi finds no GPU (No devices were found): runs go to the CPU" in (
        capsys.readouterr().err
    )


TORCH = """
import os
class zeros:
    def __init__(self, *shape, device):
        if os.environ["CUDA_VISIBLE_DEVICES"] in BROKEN:
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
    def item(self):
        return 0.0
class cuda:
    def empty_cache(): pass
def __getattr__(name):  # the switches that are looked at between two runs
    return lambda: None
"""


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    """Two GPUs by CUDA_VISIBLE_DEVICES and a torch that finds the given ones broken."""
    for name in ("LOWLABEL_PRETEND_DEVICES",):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("LOWLABEL_LEASES", str(tmp_path / "leases"))
    monkeypatch.setattr(gpus, "torch_has_cuda", lambda: True)
    monkeypatch.setattr(gpus.shutil, "which", lambda name: None)

    def make(*broken: str) -> None:
        (tmp_path / "site/torch").mkdir(parents=True)
        text = TORCH.replace("BROKEN", repr(broken))
        (tmp_path / "site/torch/__init__.py").write_text(text)
        root = Path(__file__).resolve().parents[3]
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{root}")

    return make


def sweep(out: Path):
    out.mkdir()
    return run_jobs(
        [a_job(i, seconds=0.05) for i in range(6)],
        out,
        backend="threading",
        executor="tests.fixtures.fake_executor:execute",
    )


def test_runs_go_to_the_gpus_that_work(tmp_path, two_gpus, capsys):
    """A broken GPU fails every run within a second: without care it would eat the whole sweep."""
    two_gpus("1")
    summary = sweep(tmp_path / "out")
    assert (summary.done, summary.failed, summary.left) == (6, 0, 0)
    assert len(notes(tmp_path / "out", "start")) == 6
    printed = capsys.readouterr().out
    assert printed.count("gpu1-0 is left out: RuntimeError: CUDA error: uncorrectable ECC") == 1


def test_no_usable_gpu_leaves_the_runs_todo(tmp_path, two_gpus, capsys):
    two_gpus("0", "1")
    summary = sweep(tmp_path / "out")
    assert summary.left == 6
    printed = capsys.readouterr().out
    assert "gpu0-0 is left out" in printed and "gpu1-0 is left out" in printed
    assert "6 without a record (they stay todo)" in printed
