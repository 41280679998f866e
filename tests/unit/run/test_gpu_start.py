"""The start of a run on a GPU, before anything has touched CUDA."""

import torch

from benchmark.plan import Axes, make_plan
from benchmark.run import cost
from benchmark.run.execute import execute
from benchmark.store import Store


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
