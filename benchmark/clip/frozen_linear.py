"""Linear layers with frozen weights, through the faster of two exact products of this machine.

torch multiplies float32 matrices with MKL, whose best kernels are for Intel's processors. oneDNN
comes in the same wheel, has good kernels for others too, and can keep a weight in the order in
which its kernel reads it. There is no public way to that: the operators are those that inductor
emits for a frozen model. So nothing relies on them. They are timed once a process, every weight is
tried before it is used, and where they are missing, wrong or no faster, the plain product stays.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 1 << 18  # entries; the calls around a smaller product cost what a faster one would save
GAIN = 0.97  # packed products must take less than this share of the plain product's time
ROWS, REPEATS = 128, 5  # of the timed trial


class FrozenLinear:
    """scale · x @ weight.T + bias for rows x (R, I), differentiable in x alone.

    `weight` (O, I) is used in place, or packed into two copies of its size: itself for the product
    and its transpose for the gradient. `bias` (O,) or None. `pack=False` forces the plain product.
    Elsewhere than on a CPU a launch costs more than a copy: there the weight is scaled at once.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, scale: float = 1.0, pack: bool = True
    ) -> None:
        self.weight, self.scale = weight.detach(), scale
        self.bias = None if bias is None else bias.detach()
        if scale != 1 and weight.device.type != "cpu":
            self.weight, self.scale = scale * self.weight, 1.0
        self.packed: tuple[Tensor, Tensor] | None = None
        if pack and _is_large(self.weight) and packing_is_faster(torch.get_num_threads()):
            self.packed = _packed_and_tried(scale * self.weight)

    def __call__(self, x: Tensor) -> Tensor:
        """(R, I) -> (R, O)."""
        if self.packed is not None:
            product: Tensor = _PackedProduct.apply(x, *self.packed, self.bias)  # type: ignore[no-untyped-call]  # torch annotates no `apply`
            return product
        if self.scale == 1:
            return F.linear(x, self.weight, self.bias)
        if self.bias is not None and self.weight.shape[0] > self.weight.shape[1]:
            # the gradient takes the factor where it is narrow
            return torch.addmm(self.bias, x, self.weight.T, alpha=self.scale)
        plain = F.linear(x, self.weight)
        return (
            self.scale * plain
            if self.bias is None
            else torch.add(self.bias, plain, alpha=self.scale)
        )


class _PackedProduct(torch.autograd.Function):
    """x @ weight.T + bias of a packed weight. The gradient needs only the weight: nothing is
    saved. torch's context takes attributes of any name."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, packed: Tensor, transpose: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.transpose = transpose
        return _product(x, packed, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _product(gradient.contiguous(), ctx.transpose, None), None, None, None


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS)
    return packed


def _product(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return result


def _is_large(weight: Tensor) -> bool:
    on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
    return on_cpu and weight.numel() >= SMALLEST and torch.backends.mkldnn.is_available()


@torch.no_grad()
def _packed_and_tried(weight: Tensor) -> tuple[Tensor, Tensor] | None:
    """The weight (O, I) and its transpose, packed, or None where their products are not those of
    the weight."""
    try:
        packed = _pack(weight), _pack(weight.T)
        for rows in (1, 9):
            for one, plain in zip(packed, (weight, weight.T), strict=True):
                x = _random(rows, plain.shape[1])
                expected = F.linear(x, plain)
                if not (_product(x, one, None) - expected).norm() < 1e-5 * expected.norm():
                    return None
    except Exception:  # whatever another torch says to operators that are not public
        return None
    return packed


@cache
@torch.no_grad()
def packing_is_faster(threads: int) -> bool:
    """Whether packed products beat plain ones with so many of torch's threads: some milliseconds,
    once a process."""
    x, weight = _random(ROWS, 512), _random(1024, 512)
    try:
        packed = _pack(weight)
        ours, plain = _least_seconds(lambda: _product(x, packed, None), lambda: F.linear(x, weight))
    except Exception:  # as above
        return False
    return ours < GAIN * plain


def _random(*shape: int) -> Tensor:
    """Numbers from a generator of our own: torch's global one is the run's."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _least_seconds(*functions: Callable[[], object]) -> list[float]:
    """Of a few calls of each, in turn; of this thread, or other programs would decide."""
    least = [float("inf")] * len(functions)
    for _ in range(REPEATS):
        for i, function in enumerate(functions):
            start = time.thread_time()
            function()
            least[i] = min(least[i], time.thread_time() - start)
    return least
