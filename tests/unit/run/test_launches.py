"""What a step of a cohort asks of the device: kernels, as many for many runs as for few."""

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.clip import frozen_blocks
from benchmark.plan import Axes, make_plan
from benchmark.run.cost import Meter
from benchmark.run.execute import Attempt
from benchmark.store import Store
from benchmark.task import Member

MOST = 600  # for a tower of twelve layers
NO_KERNEL = ("_unsafe_view", "_record_function_enter_new", "_record_function_exit")


class Launches(TorchDispatchMode):
    """Counts operations that compute: on a GPU each is at least one launch; views are none."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.reads = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        aliases = [argument.alias_info for argument in function._schema.arguments]
        is_view = any(alias is not None and not alias.is_write for alias in aliases)
        self.count += not is_view and function._opname not in NO_KERNEL
        self.reads += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def members(out: Path, method: str, count: int) -> tuple[object, list[Member]]:
    """So many runs of one cohort, as the engine starts them."""
    settings = ("partial(known=[.2,.4,.6,.8], dataset='digits')",)
    axes = Axes((method,), settings, encoders=("pocket-RN",), seeds=(0, 1, 2), limit=100)
    rows = make_plan(axes, Store(out))[:count]
    assert len({row.job().cohort for row in rows}) == 1
    attempts = [Attempt(row.job(), out, "cpu", 1) for row in rows]
    for attempt in attempts:
        attempt.start(Meter("cpu"))
    worlds = [attempt.world for attempt in attempts]
    return worlds[0].clip, [
        Member(world.method, world.train, world.val, attempt.run)
        for world, attempt in zip(worlds, attempts, strict=True)
    ]


def launches_a_step(out: Path, method: str, count: int, monkeypatch) -> tuple[float, float]:
    """Launches and reads between two updates: batches, loss, gradients and the update."""
    clip, cohort = members(out, method, count)
    marks: list[tuple[int, int]] = []
    step = torch.optim.SGD.step

    def marked(self, closure=None):
        step(self, closure)
        marks.append((launches.count, launches.reads))
        if len(marks) == 5:
            raise InterruptedError("enough was seen")

    with monkeypatch.context() as patch, Launches() as launches:
        patch.setattr(torch.optim.SGD, "step", marked)
        with pytest.raises(InterruptedError):
            type(cohort[0].method).fit_many(clip, cohort)
    (first, reads), (last, reads_then) = marks[1], marks[4]
    return (last - first) / 3, (reads_then - reads) / 3


@pytest.fixture
def twelve_layers(monkeypatch):
    """The pocket tower, four times on top of itself."""
    begin = frozen_blocks.FrozenTower.__init__

    def deep(self, module, pack=True):
        begin(self, module, pack)
        modules = [block.module for block in self.blocks]
        self.blocks = [frozen_blocks.FrozenBlock(one, pack) for _ in range(4) for one in modules]

    monkeypatch.setattr(frozen_blocks.FrozenTower, "__init__", deep)
    monkeypatch.setattr(frozen_blocks, "_TOWERS", {})


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("launches")


@pytest.mark.parametrize(("method", "specific"), [("coop", True), ("dualcoop", False)])
def test_launches_of_a_step_do_not_grow_with_the_cohort(
    out, method, specific, monkeypatch, twelve_layers
):
    name = f"{method}(epochs=1,batch_size=8,class_specific={specific})"
    few, many = (launches_a_step(out, name, count, monkeypatch) for count in (1, 9))
    assert few[1] == many[1] == 0  # no step reads a number back
    a_run = (many[0] - few[0]) / 8  # what each run adds: its own images are gathered
    assert many[0] + 18 * a_run <= MOST
