"""The start of a run on a GPU, before anything has touched CUDA."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import run_all
from benchmark import commands
from benchmark.plan import Axes, make_plan
from benchmark.run import cost
from benchmark.run.execute import execute
from benchmark.store import Store
from benchmark.sweep import gpus

ROOT = Path(__file__).resolve().parents[3]


def test_the_meter_wakes_cuda_before_it_asks(monkeypatch):
    """PyTorch refuses `reset_peak_memory_stats` in a process that has not initialised CUDA: every
    fresh child."""
    awake = []

    def reset(device):
        if not awake:
            raise RuntimeError("Invalid device argument 0: did you call init?")

    monkeypatch.setattr(torch.cuda, "init", lambda: awake.append(True))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    cost.Meter("cuda:0")
    assert awake


def test_a_device_that_does_not_start_is_a_failed_record(tmp_path):
    """A torch without CUDA, a machine without a driver, a GPU that is not there: a record that says
    so, never a run without one."""
    axes = Axes(
        ("zero_shot_clip",), ("partial(known=.5, dataset='pictograms')",), encoders=("pocket-RN",)
    )
    (row,) = make_plan(axes, Store(tmp_path))
    record = execute(row.job(), tmp_path, "cuda:99")
    assert record["status"] == "failed"
    assert any(word in record["error"]["message"] for word in ("CUDA", "NVIDIA"))
    assert Store(tmp_path).read(row.id) == record


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A GPU that nvidia-smi lists; new Python processes have `pretend_cuda`. Returns the flags of a
    sweep of one run."""
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'GPU 0: Pretended GPU (UUID: GPU-1234)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'tests/fixtures/pretended_cuda'}:{ROOT}")
    monkeypatch.setenv("LOWLABEL_LEASES", str(tmp_path / "leases"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("LOWLABEL_PRETEND_DEVICES", raising=False)
    axes = ["--methods", "zero_shot_clip", "--settings", "partial(known=.5)", "--seeds", "0"]
    return ["run", *axes, "--datasets", "digits", "--limit", "40", "--out", str(tmp_path / "out")]


def was_on_the_gpu(tmp_path, shared_by: int = 1) -> None:
    (record,) = Store(tmp_path / "out").records()
    assert record["error"] == {}
    assert record["cost"]["device"] == "Pretended GPU"
    assert record["cost"]["peak_gpu_mb"] == 1.0
    assert record["cost"]["shared_by"] == shared_by
    assert [path.name for path in (tmp_path / "leases").iterdir()] == ["GPU-1234-0.lock"]


def test_a_sweep_on_a_gpu_from_the_command_to_the_record(tmp_path, machine, monkeypatch):
    """nvidia-smi lists a GPU, a slot of it is leased, and CUDA is initialised in the fork that
    computes the run, not in the process that it is forked from."""
    monkeypatch.setattr(gpus, "torch_has_cuda", lambda: True)
    flags = [*machine, "--backend", "threading", "--per-gpu", "2"]
    assert commands.main(flags, run_all.QUICK, run_all.FULL) == 0
    was_on_the_gpu(tmp_path, shared_by=2)


def test_a_sweep_on_a_gpu_in_the_process_of_the_command(tmp_path, machine):
    """Here nothing has touched CUDA before the meter does."""
    command = [sys.executable, "run_all.py", *machine, "--backend", "inline"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    was_on_the_gpu(tmp_path)
