"""Packed products: equal to plain ones in both directions, and given up without a word where they
cannot be had."""

import pytest
import torch

from benchmark.clip import frozen_linear
from benchmark.clip.frozen_linear import FrozenLinear


@pytest.fixture
def packing(monkeypatch):
    """Small weights are packed too, whatever the trial of this machine says."""
    monkeypatch.setattr(frozen_linear, "SMALLEST", 1)
    monkeypatch.setattr(frozen_linear, "packing_is_faster", lambda threads: True)


def both_ways(layer, rows=5):
    x = torch.randn(rows, 48, generator=torch.Generator().manual_seed(1)).requires_grad_()
    y = layer(x)
    y.backward(torch.linspace(-1, 1, y.numel()).view_as(y))
    return y.detach(), x.grad


@pytest.mark.parametrize("rows", [1, 5, 300])
@pytest.mark.parametrize("scale", [1.0, 1.702])
@pytest.mark.parametrize("has_bias", [False, True])
def test_packed_equals_plain(packing, rows, scale, has_bias):
    weight, bias = torch.randn(32, 48), torch.randn(32) if has_bias else None
    packed = FrozenLinear(weight, bias, scale)
    plain = FrozenLinear(weight, bias, scale, pack=False)
    assert packed.packed is not None, "this torch has no packed products: the fallback is in use"
    assert plain.packed is None
    expected = scale * torch.nn.functional.linear(
        torch.randn(rows, 48, generator=torch.Generator().manual_seed(1)), weight
    ) + (0 if bias is None else bias)
    for layer in (packed, plain):
        y, gradient = both_ways(layer, rows)
        assert torch.allclose(y, expected, atol=1e-4)
        assert torch.allclose(gradient, both_ways(plain, rows)[1], atol=1e-4)


def raises(*arguments):
    raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")


@pytest.mark.parametrize(
    ("name", "stub"),
    [
        ("_pack", raises),  # a torch without the operators
        ("_product", raises),
        ("_product", lambda x, packed, bias: torch.zeros(len(x), packed.shape[0])),  # a wrong one
    ],
)
def test_what_fails_its_trial_is_not_used(packing, monkeypatch, capfd, name, stub):
    weight = torch.randn(32, 48)
    expected = both_ways(FrozenLinear(weight, pack=False))
    monkeypatch.setattr(frozen_linear, name, stub)
    for value, plain in zip(both_ways(FrozenLinear(weight)), expected, strict=True):
        assert torch.equal(value, plain)
    assert capfd.readouterr() == ("", "")


def test_what_is_slower_is_not_used(monkeypatch):
    monkeypatch.setattr(frozen_linear, "SMALLEST", 1)
    monkeypatch.setattr(frozen_linear, "_least_seconds", lambda *functions: [0.98, 1.0])
    frozen_linear.packing_is_faster.cache_clear()
    assert FrozenLinear(torch.randn(32, 48)).packed is None
    frozen_linear.packing_is_faster.cache_clear()


def test_only_large_float32_weights_on_the_cpu_are_packed(packing, monkeypatch):
    assert FrozenLinear(torch.randn(32, 48).double()).packed is None
    assert not frozen_linear._is_large(torch.empty(32, 48, device="meta"))
    monkeypatch.setattr(frozen_linear, "SMALLEST", 32 * 48 + 1)
    assert FrozenLinear(torch.randn(32, 48)).packed is None


def test_the_trial_draws_nothing_from_the_random_state_of_the_run():
    frozen_linear.packing_is_faster.cache_clear()
    before = torch.get_rng_state()
    frozen_linear.packing_is_faster(torch.get_num_threads())
    assert torch.equal(torch.get_rng_state(), before)
