"""Many runs fitted as one: the same scores as each by itself, on the pocket encoder."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.clip.encoder import Clip
from benchmark.clip.encoder_name import parse_encoder
from benchmark.task import ABSENT, UNKNOWN, Member, Part, Run
from methods import coop, dualcoop
from methods._sgd import SgdMethod

CLASSES = ("cat", "potted plant", "ox", "anchor", "hair drier")
CPU = torch.device("cpu")
IMAGES = 24


@functools.cache
def pocket() -> Clip:
    return Clip(parse_encoder("pocket-RN"))


@functools.cache
def images(regions: int) -> torch.Tensor:
    shape = (IMAGES, regions, 128) if regions else (IMAGES, 128)
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(1)), dim=-1)


def member(method: SgdMethod, seed: int, known: float, folder, **options) -> Member:
    """A run with its own labels, mask, order of images and seed."""
    rng = np.random.default_rng(0)
    y = (rng.random((IMAGES, len(CLASSES))) < 0.4).astype(np.int8)
    y = np.where(np.random.default_rng(seed).random(y.shape) < known, y, UNKNOWN).astype(np.int8)
    y[0] = ABSENT
    x = images(5 if method.needs == "regions" else 0)
    part = Part(
        CLASSES,
        y,
        lambda batches, augment, generator: (x[batch] for batch in batches),
        np.random.default_rng(100 + seed),
        CPU,
    )
    if method.needs == "global":
        part.x = x
    return Member(method, part, part, Run(seed=seed, device=CPU, folder=folder, **options))


def scores(method: SgdMethod) -> torch.Tensor:
    return method.predict(pocket(), images(5 if method.needs == "regions" else 0), CLASSES)


RATES = [i / 10 for i in range(1, 10)]
SPECIFIC = {"class_specific": True}
OPTIONS = {"epochs": 3, "batch_size": 10, "learning_rate": 0.005, "context_length": 3}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (coop.Method, SPECIFIC),
        (coop.Method, {}),
        (dualcoop.Method, SPECIFIC),
        (dualcoop.Method, {}),
        (dualcoop.Method, SPECIFIC | {"classes_per_batch": 3}),
    ],
)
def test_27_runs_as_one_score_as_each_by_itself(kind, options, tmp_path):
    def runs():
        return [
            member(kind(**OPTIONS | options), seed, known, tmp_path)
            for known in RATES
            for seed in range(3)
        ]

    together, alone = runs(), runs()
    assert kind.fit_many(pocket(), together) == [None] * 27
    found = torch.stack([scores(one.method) for one in together])
    for i, one in enumerate(alone):
        if i % 6 and options != SPECIFIC:  # all of the preset's kind, some of the others
            continue
        one.method.fit(pocket(), one.train, one.val, one.run)
        assert (scores(one.method) - found[i]).abs().max() < 1e-4
        assert one.run.history[-1] == pytest.approx(together[i].run.history[-1], rel=1e-4)
    assert (found - found[0])[1:].abs().amax((1, 2)).min() > 1e-3  # they are different runs


def test_runs_may_differ_in_learning_rate_and_words(tmp_path):
    def runs():
        kinds = [{"learning_rate": 0.2}, {"learning_rate": 0.02}, {"init": "a photo of"}]
        return [
            member(coop.Method(**OPTIONS | kind), seed, 0.5, tmp_path)
            for seed, kind in enumerate(kinds)
        ]

    together, alone = runs(), runs()
    assert coop.Method.fit_many(pocket(), together) == [None] * 3
    for one, other in zip(alone, together, strict=True):
        one.method.fit(pocket(), one.train, one.val, one.run)
        assert (scores(one.method) - scores(other.method)).abs().max() < 1e-4


def test_a_run_that_diverges_or_raises_costs_only_itself(tmp_path):
    def broken(method):
        raise OSError("no space left")

    together = [
        member(coop.Method(**OPTIONS), 0, 0.5, tmp_path),
        member(coop.Method(**OPTIONS | {"learning_rate": 1e30}), 1, 0.5, tmp_path),
        member(coop.Method(**OPTIONS), 2, 0.5, tmp_path, evaluate=broken),
    ]
    first, second, third = coop.Method.fit_many(pocket(), together)
    assert first is None
    assert isinstance(second, FloatingPointError) and isinstance(third, OSError)
    alone = member(coop.Method(**OPTIONS), 0, 0.5, tmp_path)
    alone.method.fit(pocket(), alone.train, alone.val, alone.run)
    assert (scores(alone.method) - scores(together[0].method)).abs().max() < 1e-4
