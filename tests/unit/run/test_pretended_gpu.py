"""Whole runs on a GPU that is not there: nothing meets a tensor of another device, and no training
step makes the host wait.

They run in a process of their own, one for all of them: autograd starts its threads, one a device,
at the first backward pass of a process, and a device that appears later has none.
"""

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.features.prefetch import one_ahead
from benchmark.plan import make_plan
from benchmark.run.execute import execute
from benchmark.run.selection import Selection
from benchmark.store import Record, Store
from benchmark.task import Part
from tests.fixtures.pretended_gpu import pretended_gpu
from tests.fixtures.short_runs import METHODS, axes, shortened

OTHERS = [  # method, encoder, selection, environment
    ("zero_shot_clip(template='ensemble',score='softmax')", "pocket-RN", "last", {}),
    ("coop(epochs=1,variant='raw',init='a photo of a')", "pocket-RN", "oracle", {}),
    ("coop(epochs=1,class_specific=False,context_length=4)", "pocket-RN", "val", {}),
    ("dualcoop(epochs=1,classes_per_batch=5)", "pocket-ViT", "oracle", {}),
    (
        "dualcoop(epochs=1,copies=2,augment='flip')",
        "pocket-RN",
        "val",
        {"LOWLABEL_BANK_LIMIT": "0"},
    ),
    (
        "lm_clip(epochs=1,channels_last=False,batch_norm='eval',weighted_sampling=False)",
        "pocket-ViT",
        "val",
        {},
    ),
]
CASES = [(shortened(name), "pocket-RN", "last", {}) for name in METHODS] + OTHERS


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("gpu")


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """The process that has the pretended device."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def run_on_gpu(
    folder: Path, method: str, encoder: str, selection: str, environment: dict[str, str]
) -> tuple[Record, Counter[str], int]:
    """The record of a run, where the host waited in its fit, and the number of batches."""
    steps, batches = Counter(), Part.batches

    def counted(self, *arguments, **options):
        for batch in batches(self, *arguments, **options):
            steps["all"] += 1
            yield batch

    ends, restore = [], Selection.restore

    def after_fit(self, *arguments):
        ends.append(Counter(gpu.waits))  # the first is that of the fit
        restore(self, *arguments)  # puts a state back: many uploads, once

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(Part, "batches", counted)
        patch.setattr(Selection, "restore", after_fit)
        (row,) = make_plan(axes(method, encoder, selection), Store(folder))
        with pretended_gpu() as gpu:
            record = execute(row.job(), folder, "gpu:0")
    return record, (ends or [Counter()])[0], steps["all"]


@pytest.mark.parametrize(("method", "encoder", "selection", "environment"), CASES)
def test_a_run_stays_on_its_device(
    folder, elsewhere, method, encoder, selection, environment
) -> None:
    case = (folder, method, encoder, selection, environment)
    record, in_fit, steps = elsewhere.submit(run_on_gpu, *case).result()
    assert record["status"] == "done", record["error"]
    name = method.partition("(")[0]
    waits = {
        where: count
        for where, count in in_fit.items()
        if where.startswith(("methods/", "benchmark/task.py", "benchmark/features/bank.py"))
    }
    # LM-CLIP looks at its loss once a step; nobody else waits in a loop
    allowed = steps if name == "lm_clip" else 3
    # these score candidates on the host; the first asks in each step of Newton's whether it is done
    if name not in ("linear_probe", "tip_adapter", "tip_adapter_sa", "tuned"):
        assert all(count <= allowed for count in waits.values()), waits


def test_the_pretended_gpu_is_strict(elsewhere):
    elsewhere.submit(require_strict).result()


def require_strict() -> None:
    """What CUDA refuses is refused here, or these tests would show nothing."""
    with pretended_gpu() as gpu:
        there, here = torch.ones(3, device="gpu:0"), torch.arange(3.0)
        assert there.device.type == "gpu" and (there + 1).sum().item() == 6
        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(RuntimeError, match="indices should be"):
            here[torch.ones(1, dtype=torch.long, device="gpu:0")]
        for refused in (lambda: there.numpy(), lambda: np.asarray(there)):
            with pytest.raises(TypeError, match=r"Tensor\.cpu"):
                refused()
        gpu.waits.clear()
        here.to("gpu:0"), here.pin_memory().to("gpu:0", non_blocking=True)
        there.cpu(), bool(there.sum()), there[there > 0]
        assert sum(gpu.waits.values()) == 4, gpu.waits


def test_batches_are_made_one_ahead_in_order():
    made = []

    def items():
        for i in range(4):
            if i == 3:
                raise OSError("a file is gone")
            made.append(i)
            yield i

    ahead = one_ahead(items())
    assert next(ahead) == 0
    assert next(ahead) == 1 and len(made) >= 2
    assert next(ahead) == 2
    with pytest.raises(OSError, match="gone"):
        next(ahead)
    assert list(one_ahead(iter(()))) == []
    next(one_ahead(iter(range(9))))  # nobody asks for the rest: no thread is left waiting
