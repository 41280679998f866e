"""Every method on a real GPU against the CPU; skipped where there is none (`pytest -m gpu`)."""

import numpy as np
import pytest
import torch

from benchmark import registry
from benchmark.plan import Axes, make_plan
from benchmark.run.execute import execute
from benchmark.store import Store
from tests.unit.run.test_pretended_gpu import METHODS, SMALL, shortened

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.mark.parametrize("name", METHODS)
def test_scores_are_those_of_the_cpu(tmp_path, monkeypatch, name):
    monkeypatch.setattr(registry, "_files", {})
    (tmp_path / "small.py").write_text(SMALL)
    setting = f"{tmp_path / 'small.py'}(dataset='pictograms')"
    scores = []
    for device in ("cpu", "cuda:0"):
        store = Store(tmp_path / device.partition(":")[0])
        (row,) = make_plan(Axes((shortened(name),), (setting,), encoders=("pocket-RN",)), store)
        record = execute(row.job(), store.out, device)
        assert record["status"] == "done", record["error"]
        scores.append(store.scores(row.id))
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-3, atol=1e-3)
