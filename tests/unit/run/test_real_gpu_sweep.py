"""Banks and sweeps on a real GPU, from the command line; skipped where there is none."""

from pathlib import Path

import numpy as np
import pytest
import torch

import run_all
from benchmark import commands, data
from benchmark.clip.encoder import Clip
from benchmark.clip.encoder_name import parse_encoder
from benchmark.features.bank import FeatureBank
from benchmark.store import Store

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
SMALL = ["--settings", "partial(known=.5)", "--datasets", "digits", "--limit", "60"]
GREEDY = '''
from dataclasses import dataclass
import torch
import benchmark

@dataclass
class Method(benchmark.Method):
    """Asks for more memory than any GPU has."""
    needs = "global"

    def fit(self, clip, train, val, run):
        torch.empty(10**13, device=run.device)

    def predict(self, clip, x, classes):
        return clip.scale * x @ clip.text(list(classes)).T
'''


def sweep(out: Path, *flags: str) -> int:
    return commands.main(["run", *flags, "--out", str(out)], run_all.QUICK, run_all.FULL)


@pytest.mark.parametrize("kind", ["global", "regions"])
@pytest.mark.parametrize("encoder", ["pocket-RN", "pocket-ViT"])
def test_a_bank_holds_what_the_cpu_computes(tmp_path, encoder, kind):
    dataset, rows, found = data.load("digits"), np.arange(256), []
    for device in ("cpu", "cuda:0"):
        clip = Clip(parse_encoder(encoder), device)
        bank = FeatureBank(tmp_path / device.partition(":")[0], dataset, clip, kind)
        found.append(bank.ensure(rows).take(rows).astype(np.float32))
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)


def test_two_runs_share_a_gpu(tmp_path):
    flags = [*SMALL, "--methods", "coop(epochs=2)", "--seeds", "0-1"]
    assert sweep(tmp_path, *flags, "--slots", "2", "--per-gpu", "2") == 0
    costs = [record["cost"] for record in Store(tmp_path).records()]
    assert [cost["shared_by"] for cost in costs] == [2, 2]
    assert all(cost["peak_gpu_mb"] > 0 for cost in costs)


def test_memory_that_runs_out_in_one_run_stops_no_other(tmp_path):
    (tmp_path / "greedy.py").write_text(GREEDY)
    flags = [*SMALL, "--methods", str(tmp_path / "greedy.py"), "coop(epochs=2)", "--seeds", "0-2"]
    assert sweep(tmp_path / "out", *flags, "--slots", "2", "--per-gpu", "2") == 1
    ends = [(r["spec"].method.name, r["status"]) for r in Store(tmp_path / "out").records()]
    assert sorted(ends) == [("coop", "done")] * 3 + [("greedy", "failed")] * 3
    errors = [r["error"] for r in Store(tmp_path / "out").records() if r["error"]]
    assert all("OutOfMemory" in error["type"] for error in errors)


def test_the_27_runs_of_a_table(tmp_path):
    flags = ["--settings", "partial", "--datasets", "digits", "--limit", "200"]
    assert sweep(tmp_path, *flags, "--methods", "dualcoop(epochs=1)", "--seeds", "0-2") == 0
    records = Store(tmp_path).records()
    assert len(records) == 27 and {record["status"] for record in records} == {"done"}
    assert all(record["cost"]["peak_gpu_mb"] > 0 for record in records)
