"""The losses against the golden vectors of the official code, and at the edges that those do not
visit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods._losses import asymmetric_loss, balanced_asymmetric_loss, contrastive_loss

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
DUALCOOP = {"gamma_positive": 1.0, "gamma_negative": 2.0, "margin": 0.05, "eps": 1e-6}


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / name) as file:
        return dict(file)


def close(actual, expected, tolerance=1e-5):
    """Relative to the largest entry: single cells of a gradient are differences of larger
    numbers."""
    expected = np.asarray(expected, np.float64)
    actual = actual.detach().numpy()
    assert actual.shape == expected.shape
    np.testing.assert_allclose(
        actual, expected, rtol=tolerance, atol=tolerance * max(np.abs(expected).max(), 1e-30)
    )


def keywords(row):
    return {
        "gamma_negative": row[0],
        "gamma_positive": row[1],
        "margin": row[2],
        "eps": row[3],
        "detach_focus": bool(row[4]),
    }


def test_asymmetric_loss_is_dualcoops_loss_on_two_channels():
    data = golden("asl_dualcoop.npz")
    y = torch.from_numpy(data["y"])
    cases = [(keywords(row), f"_{i}") for i, row in enumerate(data["cfg"])]
    for options, suffix in cases:
        x = torch.from_numpy(data["x"]).requires_grad_()
        loss = asymmetric_loss(x[:, 1] - x[:, 0], y, **options, reduction="sum")
        loss.backward()
        close(loss, data["loss" + suffix])
        close(x.grad, data["grad" + suffix])


def test_asymmetric_loss_of_an_unlabelled_batch_is_zero():
    data = golden("asl_dualcoop.npz")
    x = torch.from_numpy(data["x"]).requires_grad_()
    loss = asymmetric_loss(x[:, 1] - x[:, 0], torch.full(x[:, 0].shape, -1), **DUALCOOP)
    loss.backward()
    assert loss == float(data["loss_allmasked"]) == 0
    close(x.grad, data["grad_allmasked"])
    assert (
        asymmetric_loss(x[:, 0], torch.full(x[:, 0].shape, -1), **DUALCOOP, reduction="mean") == 0
    )


@pytest.mark.parametrize(("sign", "name"), [(1, "pos"), (-1, "neg")])
def test_asymmetric_loss_of_a_single_prompt(sign, name):
    data = golden("asl_single_prompt.npz")
    for i, row in enumerate(data["cfg"]):
        x = torch.from_numpy(data["x"]).requires_grad_()
        loss = asymmetric_loss(
            sign * x, torch.from_numpy(data["y"]), **keywords(row), reduction="sum"
        )
        loss.backward()
        close(loss, data[f"loss_{name}_{i}"])
        close(x.grad, data[f"grad_{name}_{i}"])


def test_asymmetric_loss_is_lmclips_plain_one():
    data = golden("asl_lmclip.npz")
    for i, row in enumerate(data["cfg"]):
        x = torch.from_numpy(data["x"]).requires_grad_()
        loss = asymmetric_loss(x, torch.from_numpy(data["y"]), **keywords(row), reduction="mean")
        loss.backward()
        close(loss, data[f"loss_{i}"])
        close(x.grad, data[f"grad_{i}"])


@pytest.mark.parametrize("suffix", ["", "_neg", "_mix"])
def test_balanced_asymmetric_loss(suffix):
    data = golden("bal_lmclip.npz")
    weight = torch.from_numpy(data["pos_weight"])
    for i, row in enumerate(data["cfg"]):
        x = torch.from_numpy(data["x" + suffix]).requires_grad_()
        loss = balanced_asymmetric_loss(
            x,
            torch.from_numpy(data["y"]),
            **keywords(row),
            class_weight=weight if row[5] else None,
            label_smoothing=row[6],
            reduction="mean" if row[7] else "none",
        )
        loss.sum().backward()
        close(loss, data[f"loss{suffix}_{i}"])
        close(x.grad, data[f"grad{suffix}_{i}"])


def test_balanced_asymmetric_loss_by_hand():
    """Worked numbers."""
    x = torch.tensor([[20.0, 15, 10], [12, 18, 24]])
    y = torch.tensor([[1, 0, 0], [0, 1, 1]], dtype=torch.int8)
    weight = torch.tensor([0.1, 0.4, 1.0])
    options = {"gamma_positive": 0, "margin": 0.05, "eps": 1e-8}
    value = balanced_asymmetric_loss(
        x, y, gamma_negative=9.8, class_weight=weight, label_smoothing=0.1, **options
    )
    assert value.item() == pytest.approx(0.2449266, abs=1e-6)
    value = balanced_asymmetric_loss(
        x, y, gamma_negative=12, class_weight=weight, label_smoothing=0.01, **options
    )
    assert value.item() == pytest.approx(0.2597156, abs=1e-6)
    value = balanced_asymmetric_loss(
        x, y, gamma_negative=9.8, class_weight=None, label_smoothing=0, **options
    )
    assert value.item() == pytest.approx(0.1788856, abs=1e-6)


def test_asymmetric_loss_by_hand():
    z = torch.tensor([[[0.0, 1, -1], [2, 0, 0.5]], [[1, -2, 0], [0, 1, 3]]])
    y = torch.tensor([[1, 0, -1], [0, -1, 1]], dtype=torch.int8)
    value = asymmetric_loss(z[:, 1] - z[:, 0], y, **DUALCOOP, reduction="sum")
    assert value.item() == pytest.approx(0.0411246, abs=1e-6)


def test_contrastive_loss():
    data = golden("contrastive_lmclip.npz")
    image, text, scale = (
        torch.from_numpy(data[key]).requires_grad_()
        for key in ("image_features", "text_features", "logit_scale")
    )
    loss = contrastive_loss(image, text, scale)
    loss.backward()
    close(loss, data["loss"])
    close(image.grad, data["dimage"])
    close(text.grad, data["dtext"])
    close(scale.grad, data["dscale"])


@pytest.mark.parametrize("loss", [asymmetric_loss, balanced_asymmetric_loss])
def test_unknown_cells_have_no_say(loss):
    torch.manual_seed(0)
    x = torch.randn(5, 4).add_(3).requires_grad_()
    y = torch.randint(0, 2, (5, 4), dtype=torch.int8)
    full = loss(x, y, reduction="none")
    y[1, 2] = y[3] = -1
    cells = loss(x, y, reduction="none")
    known = y >= 0
    assert torch.equal(cells[known], full[known])
    assert not cells[~known].any()
    assert loss(x, y, reduction="sum").item() == pytest.approx(full[known].sum().item(), rel=1e-6)
    assert loss(x, y, reduction="mean").item() == pytest.approx(full[known].mean().item(), rel=1e-6)
    with pytest.raises(ValueError, match="reduction"):
        loss(x, y, reduction="median")


@settings(max_examples=30, deadline=None)
@given(
    x=st.lists(st.floats(-40, 40, width=32), min_size=4, max_size=4),
    gammas=st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0])] * 2),
    margin=st.sampled_from([0.0, 0.05]),
    detach=st.booleans(),
)
def test_asymmetric_loss_is_finite_and_never_negative(x, gammas, margin, detach):
    x = torch.tensor([x, x]).requires_grad_()
    y = torch.tensor([[1, 0, 1, 0], [0, 1, -1, 1]])
    options = {
        "gamma_positive": gammas[0],
        "gamma_negative": gammas[1],
        "margin": margin,
        "eps": 1e-6,
    }
    loss = asymmetric_loss(x, y, **options, detach_focus=detach, reduction="none")
    loss.sum().backward()
    assert torch.isfinite(loss).all() and (loss >= 0).all()
    assert torch.isfinite(x.grad).all()


def test_asymmetric_loss_keeps_its_digits():
    """1 - σ(x) has no digits left in float32 where x is large; a positive's loss and gradient keep
    theirs."""
    x = torch.linspace(-13, 13, 60, dtype=torch.float64)[None]
    values = []
    for dtype in (torch.float32, torch.float64):
        logits = x.to(dtype, copy=True).requires_grad_()
        loss = asymmetric_loss(
            logits, torch.ones(x.shape), **DUALCOOP, detach_focus=False, reduction="none"
        )
        loss.sum().backward()
        values.append((loss.detach().double(), logits.grad.double()))
    for single, double in zip(*values, strict=True):
        np.testing.assert_allclose(single, double, rtol=2e-5, atol=1e-9)


def test_balanced_asymmetric_loss_stops_at_nan():
    x = torch.tensor([[1.0, -5.0], [0.5, 0.2]])
    y = torch.tensor([[1, 0], [0, 1]])
    with pytest.raises(FloatingPointError, match="label_smoothing=0"):
        balanced_asymmetric_loss(x, y, gamma_negative=9.8, label_smoothing=0.1)
    assert torch.isfinite(balanced_asymmetric_loss(x, y, gamma_negative=9.8, label_smoothing=0))
    with pytest.raises(FloatingPointError):
        balanced_asymmetric_loss(torch.zeros(2, 2), y)
    y[0, 1] = -1  # the cell without a value is not known, so nothing is lost
    assert torch.isfinite(balanced_asymmetric_loss(x, y, gamma_negative=9.8, label_smoothing=0.1))
