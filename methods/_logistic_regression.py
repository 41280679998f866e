"""Masked multi-label logistic regression: all classes, all C and all runs as one batched problem,
solved to the optimum by Newton's method in a trust region."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark import upload

# cells (problem, image) that are in work at once: on a CPU they should stay near its cache
CELLS = {"cpu": 1 << 20}
MANY_CELLS = 1 << 26
EVERY = 5  # products between two looks at whether a GPU is done; a CPU looks every time
TINY = 1e-30


class Effort(NamedTuple):
    """How far to go. A problem ends when a whole Newton step changes its logits by less than
    `tolerance`, relative to one plus their size (root mean squares over the images).

    A step is a linear system, solved until `forcing` of its right side is left, with at most
    `products`.
    """

    tolerance: float
    forcing: float
    products: int
    steps: int


RANKING = Effort(1e-2, 0.3, 15, 20)  # enough to compare candidates: mAP moves by less than 0.1
OPTIMUM = Effort(1e-6, 0.1, 100, 100)


class LogisticRegression:
    """min over (w, b) of mean(w, b) + ‖w‖² / (2 · C · Σᵢ m_i), for each of G runs, K values of C
    and each class by itself.

    `x` (G, n, D) and the cell weights `m` (G, n, C), 0 where the label is unknown; `y` (G, n, C), 1
    is positive. The mean is over m; the bias is not regularised; C is that of scikit-learn. A class
    without any weight keeps w = b = 0; every other one needs a positive and a negative.

    In float64 the loss and its gradient, and thereby what is converged to; the linear systems of
    the steps in float32, whose errors the next step sees. Their preconditioner is the curvature
    expected along the eigenvectors of the features. Nothing is read back but, once a step (on a GPU
    also every fifth product), whether all are done.
    """

    def __init__(self, x: Tensor, y: Tensor, m: Tensor):
        total = m.sum(1).double()
        self.total = torch.where(total > 0, total, 1.0)[:, None]  # (G, 1, C)
        # (G, 1, C, n); loss = softplus(sign · logit)
        self.m = (m.double().mT / self.total.mT).unsqueeze(1).contiguous()
        self.sign = torch.where(y > 0, -1.0, 1.0).double().mT.unsqueeze(1).contiguous()
        x = x.double()
        curvature, basis = torch.linalg.eigh(x.mT @ x / x.shape[1])
        self.basis = basis[:, None]  # (G, 1, D, D)
        self.x = torch.cat([x @ basis, x.new_ones(*x.shape[:2], 1)], 2)  # (G, n, D+1)
        self.rough = self.x.float()
        # (G, 1, 1, D+1)
        self.curvature = F.pad(curvature.clamp(min=0), (0, 1), value=1.0)[:, None, None]

    def solve(self, c: Tensor, start: Tensor | None, effort: Effort) -> Tensor:
        """(G, K, C, D+1): w and b of every class for each C of `c` (G, K), from `start` (of the
        solution's shape, or zero)."""
        penalty = (1 / (c.double()[:, :, None] * self.total))[..., None]  # (G, K, C, 1)
        penalty = F.pad(penalty.expand(-1, -1, -1, self.x.shape[2] - 1), (0, 1))
        w = torch.zeros_like(penalty) if start is None else _times(start, self.basis)
        state = self._evaluate(w, penalty)
        radius = torch.full_like(state.loss, torch.inf)
        done = torch.zeros_like(state.loss, dtype=torch.bool)
        result, live = w.clone(), list(range(w.shape[1]))
        for _ in range(effort.steps):
            step, predicted, length, bound = self._step(state, penalty, radius, ~done, effort)
            after = self._evaluate(state.w + step, penalty)
            actual = state.loss - after.loss
            ratio = actual / predicted.clamp(min=torch.finfo(predicted.dtype).tiny)
            # near the optimum a decrease is smaller than the rounding of the loss
            take = ~done & ((ratio > 1e-4) | (actual.abs() <= 1e-13 * state.loss.abs()))
            radius = torch.where(ratio < 0.25, length / 4, radius)
            wider = torch.maximum(radius, 3 * length)
            radius = torch.where((ratio > 0.75) & bound, wider, radius)
            state = state.where(take, after)
            change, size = (
                (self.curvature * some.square()).sum(-1).sqrt() for some in (step, state.w)
            )
            done |= take & ~bound & (change <= effort.tolerance * (1 + size))
            result[:, live] = state.w
            going = (~done).any(2).any(0).tolist()  # (K,)
            if not any(going):
                break
            if not all(going):  # the others need no more work
                live = [i for i, goes in zip(live, going, strict=True) if goes]
                kept = upload(np.flatnonzero(going), w.device)
                state = state.select(kept)
                penalty, radius, done = penalty[:, kept], radius[:, kept], done[:, kept]
        return _times(result, self.basis.mT)

    def _evaluate(self, w: Tensor, penalty: Tensor) -> "_State":
        """Loss, gradient and the cells' part of the curvature at w (G, K, C, D+1)."""
        flat = w.flatten(1, 2)
        loss, gradient = (penalty * w.square()).sum(-1) / 2, torch.zeros_like(flat)
        weight = w.new_empty(*w.shape[:3], self.x.shape[1], dtype=torch.float32)
        for images in self._chunks(flat.shape[1]):
            x, m, sign = self.x[:, images], self.m[..., images], self.sign[..., images]
            signed = (flat @ x.mT).view(*w.shape[:3], -1).mul_(sign)
            loss += (F.softplus(signed) * m).sum(-1)
            p = signed.sigmoid_()
            error = p * m
            weight[..., images] = error * (1 - p)
            gradient += error.mul_(sign).flatten(1, 2) @ x
        return _State(w, loss, penalty * w + gradient.view_as(w), weight)

    def _step(
        self, state: "_State", penalty: Tensor, radius: Tensor, active: Tensor, effort: Effort
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The step (G, K, C, D+1), the decrease that it promises, its scaled length and whether the
        radius bound it (G, K, C)."""
        mean = state.weight.sum(-1, dtype=torch.float64)[..., None].clamp(min=TINY)
        scale = (mean * self.curvature + penalty).rsqrt()
        gradient = state.gradient * scale
        size = gradient.norm(dim=-1).clamp(min=torch.finfo(gradient.dtype).tiny)
        rough_scale, rough_penalty = scale.float(), penalty.float()
        weight = state.weight.flatten(1, 2)

        def product(v: Tensor) -> Tensor:
            v = v * rough_scale
            flat = v.flatten(1, 2)
            result = torch.zeros_like(flat)
            for images in self._chunks(flat.shape[1]):
                x = self.rough[:, images]
                result.baddbmm_((flat @ x.mT).mul_(weight[..., images]), x)
            return (result.view_as(v) + rough_penalty * v) * rough_scale

        # for a gradient of length one: float32 has no room for the smallest
        step, predicted, bound = _conjugate_gradients(
            product, (gradient / size[..., None]).float(), (radius / size).float(), active, effort
        )
        length = step.norm(dim=-1).double() * size
        return (
            step.double() * size[..., None] * scale,
            predicted.double() * size**2,
            length,
            bound,
        )

    def _chunks(self, problems: int) -> Iterator[slice]:
        runs, images = self.x.shape[:2]
        size = max(1, CELLS.get(self.x.device.type, MANY_CELLS) // (runs * problems))
        return (slice(start, start + size) for start in range(0, images, size))


class _State(NamedTuple):
    """Where the problems (G, K, C) are: w (G, K, C, D+1), loss, gradient, and for each image the
    second derivative of its loss, weighed (G, K, C, n)."""

    w: Tensor
    loss: Tensor
    gradient: Tensor
    weight: Tensor

    def where(self, taken: Tensor, other: "_State") -> "_State":
        """The other for the problems that are taken."""
        wide = taken[..., None]
        return _State(
            torch.where(wide, other.w, self.w),
            torch.where(taken, other.loss, self.loss),
            torch.where(wide, other.gradient, self.gradient),
            torch.where(wide, other.weight, self.weight),
        )

    def select(self, kept: Tensor) -> "_State":
        """That of some of the K."""
        return _State(*(values[:, kept] for values in self))


def _conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    gradient: Tensor,
    radius: Tensor,
    active: Tensor,
    effort: Effort,
) -> tuple[Tensor, Tensor, Tensor]:
    """About the minimum s (…, D) of g·s + s·Hs/2 in ‖s‖ <= radius, for each problem that is active
    (Steihaug 1983); the decrease, and whether the radius bound it (…)."""
    step, residual = torch.zeros_like(gradient), -gradient
    direction, left = residual, residual.square().sum(-1)
    enough = effort.forcing**2 * left
    bound = torch.zeros_like(active)
    active = active & (left > 0)
    every = 1 if gradient.device.type == "cpu" else EVERY
    for i in range(effort.products):
        bent = product(direction)
        alpha = left / (direction * bent).sum(-1).clamp(min=TINY)
        outside = (step + alpha[..., None] * direction).square().sum(-1) > radius**2
        # how far along the direction the radius is: the root of a quadratic
        along, steep = (step * direction).sum(-1), direction.square().sum(-1)
        room = (radius**2 - step.square().sum(-1)).clamp(min=0)
        to_edge = ((along**2 + steep * room).sqrt() - along) / steep.clamp(min=TINY)
        alpha = torch.where(active, torch.where(outside, to_edge, alpha), 0)[..., None]
        step, residual = step + alpha * direction, residual - alpha * bent
        before, left = left, torch.where(active, residual.square().sum(-1), left)
        bound = bound | (active & outside)
        active = active & ~outside & (left > enough)
        direction = residual + (left / before.clamp(min=TINY))[..., None] * direction
        if (i + 1) % every == 0 and not active.any():
            break
    return step, ((residual - gradient) * step).sum(-1) / 2, bound


def _times(solution: Tensor, matrix: Tensor) -> Tensor:
    """w (…, D) of a solution (…, D+1), times a matrix; b as it is."""
    return torch.cat([solution[..., :-1] @ matrix, solution[..., -1:]], -1)
