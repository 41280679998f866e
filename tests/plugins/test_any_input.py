"""Losses, aggregations and masks as pure functions of any input: shapes, dtypes, saturated logits,
images of which nothing is known, a single class."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch

from benchmark.task import ABSENT, PRESENT, UNKNOWN
from methods import _losses, _pseudo_labels, _regions, vision_only
from methods import _partial_losses as partly
from settings import _masks as masks

GR = {"slope": 2.0, "offset": -2.0, "center": 0.8, "width": 0.5}


def large(scheme):
    return lambda z, y: partly.large_loss(z, y, scheme=scheme, rate=0.1)[0]


LOSSES = {
    "an": partly.assume_negative,
    "an exact": partial(partly.assume_negative, eps=0.0),
    "ls": partial(partly.assume_negative, smoothing=0.1),
    "wan": partly.weak_assume_negative,
    "iu": partly.ignore_unknown,
    "epr": partial(partly.expected_positive_regularization, expected=1.5),
    "role": lambda z, y: partly.role(z, -0.5 * z.detach(), y, expected=1.5),
    "em": partial(partly.entropy_maximization, alpha=0.2),
    "em exact": partial(partly.entropy_maximization, alpha=0.2, eps=0.0),
    "vlpl": lambda z, y: _pseudo_labels.similarity_pseudo_labels(
        z, y, similarity=z.detach().softmax(1)
    ),
    "ranking": partly.pairwise_ranking,
    "hill": partly.hill,
    "splc": partial(partly.splc, epoch=3),
    "ll_r": large("reject"),
    "ll_ct": large("correct"),
    "gr": partial(partly.generalized_robust, **GR),
    "gr with a power": partial(partly.generalized_robust, **GR, q_negative=0.7),
    "csl": partly.selective,
    "csl negative": partial(partly.selective, mode="negative"),
    "csl normalised": partial(partly.selective, mode="ignore_normalize"),
    "asl": _losses.asymmetric_loss,
    "asl mean": partial(_losses.asymmetric_loss, reduction="mean", detach_focus=False),
    "asl without margin": partial(
        _losses.asymmetric_loss, gamma_negative=0.5, margin=0.0, detach_focus=False
    ),
}
LABELS = {
    "mixed": lambda shape: torch.randint(-1, 2, shape),
    "unknown": lambda shape: torch.full(shape, UNKNOWN),
    "present": lambda shape: torch.full(shape, PRESENT),
    "absent": lambda shape: torch.full(shape, ABSENT),
}


def evaluated(loss, logits, y):
    logits = logits.clone().requires_grad_()
    value = loss(logits, y)
    value.backward()
    return value.detach(), logits.grad


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_gradient_are_finite(name):
    """Also where the official code is not: GR and Hill at probabilities that round to 0 or 1."""
    torch.manual_seed(0)
    for shape, scale, labels in itertools.product([(6, 1), (1, 5)], (1, 40, 1e4), LABELS):
        logits, y = scale * torch.randn(shape, dtype=torch.float64), LABELS[labels](shape)
        for x in (logits, logits.float()):
            value, gradient = evaluated(LOSSES[name], x, y)
            where = f"{shape}, {scale}, {labels}, {x.dtype}"
            assert value.dtype == gradient.dtype == x.dtype, where
            assert torch.isfinite(value) and torch.isfinite(gradient).all(), where


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_same_in_float32_and_for_labels_of_any_type(name):
    torch.manual_seed(1)
    logits, y = 3 * torch.randn(7, 4, dtype=torch.float64), LABELS["mixed"]((7, 4))
    value, gradient = evaluated(LOSSES[name], logits, y)
    for labels in (y.to(torch.int8), y.float()):
        close, near = evaluated(LOSSES[name], logits.float(), labels)
        torch.testing.assert_close(close.double(), value, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(near.double(), gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["iu", "asl", "asl mean", "csl normalised"])
def test_what_is_unknown_has_no_gradient(name):
    logits, y = torch.randn(5, 4), LABELS["mixed"]((5, 4))
    y[2] = UNKNOWN
    assert not evaluated(LOSSES[name], logits, y)[1][y == UNKNOWN].any()


def test_aggregations_of_any_type_and_of_empty_regions():
    torch.manual_seed(0)
    for dtype, classes in itertools.product((torch.float32, torch.float64), (1, 3)):
        regions = torch.randn(2, 5, 8, dtype=torch.float16)
        regions[0] = 0
        texts = torch.randn(3, classes, 8, dtype=dtype)
        weight = torch.randn(2 * classes, 8, dtype=dtype)
        found = [
            _regions.aggregate_regions(regions, *texts[:2]),
            vision_only.aggregate_linear(regions, weight, weight[:, 0]),
        ]
        for variant in _regions.VARIANTS:
            found.append(_regions.aggregate_evidence(regions, *texts, 3.0, variant=variant))
        for logits in itertools.chain(*found):
            assert logits.shape == (2, classes) and logits.dtype == dtype
            assert torch.isfinite(logits).all()


@pytest.mark.parametrize("shape", [(1, 1), (9, 1), (40, 7)])
def test_masks_of_any_shape(shape):
    rng = np.random.default_rng(0)
    for y in (rng.integers(0, 2, shape), np.zeros(shape, int), np.ones(shape, int)):
        for kind, known in itertools.product(
            ("nested", "community", "skewed", "images", "cap"), (0.1, 1.0)
        ):
            mask = masks.known_mask(kind, y, known, "toy", 0)
            assert mask.shape == shape and mask.dtype == bool and (known < 1 or mask.all())
            hidden = masks.hide(y, mask)
            assert (hidden[mask] == y[mask]).all() and (hidden[~mask] == UNKNOWN).all()
        observed = masks.cole_labels(y, 1200)
        np.testing.assert_array_equal((observed == PRESENT).sum(1), (y == PRESENT).any(1))
        assert (observed[observed != UNKNOWN] == y[observed != UNKNOWN]).all()
        cells = masks.fixed_per_class(y, 3, 0)
        for value in (PRESENT, ABSENT):
            expected = np.minimum(3, (y == value).sum(0))
            np.testing.assert_array_equal((cells & (y == value)).sum(0), expected)
        single = masks.one_positive(y, 0)
        np.testing.assert_array_equal((single == PRESENT).sum(1), (y == PRESENT).any(1))
