"""`python -m tests.speed.cohorts [RUNS]`: runs of the pocket encoder fitted as one cohort beside
the same runs one by one, for every method that can; errors are those of the test scores.

One thread, so this is what the device itself gains; a GPU also saves launches, whose number does
not grow with the runs (tests/unit/run/test_launches.py)."""

import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmark import registry
from benchmark.plan import Axes, make_plan
from benchmark.run.cost import Meter
from benchmark.run.execute import Attempt
from benchmark.run.parts import predict
from benchmark.store import Store
from benchmark.task import Member
from tests.speed._side_by_side import peak_mb

SETTING = "partial(known=[.1,.2,.3,.4,.5,.6,.7,.8,.9], dataset='digits')"


def started(out: Path, method: str, count: int) -> list[Attempt]:
    """So many runs, ready to be fitted."""
    axes = Axes((method,), (SETTING,), encoders=("pocket-RN",), seeds=(0, 1, 2), limit=400)
    attempts = [Attempt(row.job(), out, "cpu", 1) for row in make_plan(axes, Store(out))[:count]]
    for this in attempts:
        this.start(Meter("cpu"))
    images = len(attempts[0].world.train)  # as the engine groups them
    return [this for this in attempts if len(this.world.train) == images]


def members(attempts: list[Attempt]) -> list[Member]:
    worlds = [(this.world, this.run) for this in attempts]
    return [Member(world.method, world.train, world.val, run) for world, run in worlds]


def main() -> None:
    torch.set_num_threads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    out = Path(tempfile.mkdtemp())
    for method in ("linear_probe", "coop(epochs=2)", "dualcoop(epochs=2)"):
        assert registry.load("methods", method.partition("(")[0]).may_differ is not None
        alone, together = (started(out, method, count) for _ in range(2))
        start = time.process_time()
        for this in alone:
            this.fit()
        singly = time.process_time() - start
        clip, cohort = together[0].world.clip, members(together)
        start = time.process_time()

        def fit_as_one(cohort: list[Member] = cohort, clip: object = clip) -> None:
            failures = type(cohort[0].method).fit_many(clip, cohort)
            assert failures == [None] * len(cohort), failures

        memory = peak_mb(fit_as_one)
        as_one = time.process_time() - start
        assert alone[0].world.method is not together[0].world.method
        error = max(
            abs(
                predict(a.world, a.world.test, a.world.test.classes)
                - predict(b.world, b.world.test, b.world.test.classes)
            ).max()
            for a, b in zip(alone, together, strict=True)
        )
        print(
            f"{method}: {len(alone)} runs singly {singly:.2f} s, as one {as_one:.2f} s, ratio "
            f"{singly / as_one:.2f}, largest difference of a score {error:.0e}, {memory:.0f} MB"
        )


if __name__ == "__main__":
    main()
