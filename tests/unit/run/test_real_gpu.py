"""Every method on a real GPU against the CPU; skipped where there is none (`pytest -m gpu`)."""

import numpy as np
import pytest
import torch

from benchmark.plan import make_plan
from benchmark.run.execute import execute
from benchmark.store import Store
from tests.fixtures.short_runs import METHODS, axes, shortened

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.mark.parametrize("name", METHODS)
def test_scores_are_those_of_the_cpu(tmp_path, name):
    scores = []
    for device in ("cpu", "cuda:0"):
        store = Store(tmp_path / device.partition(":")[0])
        (row,) = make_plan(axes(shortened(name)), store)
        record = execute(row.job(), store.out, device)
        assert record["status"] == "done", record["error"]
        scores.append(store.scores(row.id))
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-3, atol=1e-3)
