"""A cohort: runs that differ in label rate, seed and the like, fitted as one.

They share encoder, features and the shapes of a step, so that one pass of the text tower serves all
of them. Each keeps its own labels, order of images, seed, record and failure. Seconds of the fit,
and of scores that a method without learning gives to all, are shared equally (`cost.cohort` says
among how many); the memory is that of the whole cohort.
"""

import contextlib
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmark.clip.precision import switched
from benchmark.run.cost import Meter
from benchmark.run.execute import Attempt, execute, prepare
from benchmark.spec import Job
from benchmark.store import Record
from benchmark.task import Member

__all__ = ["execute", "execute_cohort", "prepare"]  # what a child is asked for

SHARE = 0.25  # of the free memory for a step: other runs start on this machine too


def execute_cohort(
    jobs: Sequence[Job],
    out: Path,
    device: str = "cpu",
    recorded: Callable[[Record], None] = lambda record: None,
) -> list[Record]:
    """Runs jobs whose `cohort` is the same and writes their records; `recorded` is told of each.

    A run that fails to start, diverges or cannot be scored fails alone. What concerns all of them,
    such as memory that ran out, has each repeated by itself.
    """
    records, left = [], deque(jobs)
    while left:
        attempts = _started(left, out, device)
        for several in _alike(attempts):
            _fit(several)
        for this in attempts:
            if not this.has_failed:
                with this.recorded():
                    this.score()
            records.append(this.written())
            recorded(records[-1])
    return records


def _started(left: deque[Job], out: Path, device: str) -> list[Attempt]:
    """So many of the runs that are left as the free memory holds at once."""
    attempts, most = list[Attempt](), 0  # not known before one has started
    while left and not 0 < most <= len(attempts):
        this = Attempt(left.popleft(), out, device, 1)
        with this.recorded():
            this.start(Meter(device))
        attempts.append(this)
        if not most and not this.has_failed:
            most = _most(this)
    return attempts


def _alike(attempts: Sequence[Attempt]) -> list[list[Attempt]]:
    """Those that have started, in groups with the same classes and the same number of images."""
    groups: dict[object, list[Attempt]] = {}
    for this in attempts:
        if not this.has_failed:
            train = this.world.train
            groups.setdefault((train.classes, len(train)), []).append(this)
    return list(groups.values())


def _most(first: Attempt) -> int:
    """How many runs like this one the free memory holds: what a step needs, and the features."""
    world = first.world
    needed = type(world.method).bytes_a_member(world.clip, _member(first))
    if world.method.needs == "global":  # all features of a part at once
        needed += 4 * world.clip.width * (len(world.train) + len(world.val))
    if first.device.type == "cuda":
        free = torch.cuda.mem_get_info(first.device)[0] / int(
            os.environ.get("LOWLABEL_SHARED_BY", "1")
        )
    else:
        free = psutil.virtual_memory().available
    return max(1, int(SHARE * free) // max(needed, 1))


def _member(this: Attempt) -> Member:
    world = this.world
    return Member(world.method, world.train, world.val, this.run)


def _fit(attempts: list[Attempt]) -> None:
    """Fits these together, or, when that raises, each by itself from its start."""
    first, meter = attempts[0], Meter(attempts[0].device)
    try:
        with (
            switched(first.job.spec.encoder.precision),
            meter.phase("fit"),
            first.blindfold(),
        ):
            failures = type(first.world.method).fit_many(
                first.world.clip, [_member(this) for this in attempts]
            )
    except Exception as error:
        sys.stderr.write(f"as one, {len(attempts)} runs failed ({error!r}): each by itself\n")
        for this in attempts:
            _again(this)
        return
    if not type(first.world.method).learns:
        # what it raises, each run finds out by itself
        with (
            contextlib.suppress(Exception),
            switched(first.job.spec.encoder.precision),
            meter.phase("predict"),
        ):
            _share_scores(attempts)
    for this, failure in zip(attempts, failures, strict=True):
        assert this.meter is not None
        for phase in ("fit", "predict"):
            this.meter.seconds[phase] += meter.seconds[phase] / len(attempts)
        this.meter.cohort = len(attempts)
        this.meter.ram_before = min(this.meter.ram_before, meter.ram_before)
        if failure is not None:
            this.fail(failure)


def _share_scores(attempts: Sequence[Attempt]) -> None:
    """Has the scores of a method that learns nothing computed once for all who have the same
    images."""
    shared: dict[bytes, np.ndarray] = {}
    for this in attempts:
        for name in ("test", "val"):
            images = this.images(name)
            if images not in shared:
                shared[images] = this.predict(name)
        this.known_scores = shared


def _again(this: Attempt) -> None:
    """Starts a run anew, since its order of images and its history were used up, and fits it."""
    shutil.rmtree(this.folder, ignore_errors=True)
    this.folder.mkdir(parents=True)
    with this.recorded():
        this.start(Meter(this.device))
        this.fit()
