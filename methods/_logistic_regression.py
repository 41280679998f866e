"""Masked multi-label logistic regression: all classes in one full-batch L-BFGS, float64."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor

TOLERANCE = 1e-6  # largest entry of the gradient, in the caller's coordinates


class LogisticRegression:
    """min over (w, b) of mean_c(w, b) + ‖w‖² / (2 · C · Σᵢ m_ic), for each class c by itself.

    `x` (n, D) and the cell weights `m` (n, C), 0 where the label is unknown; `y` (n, C), 1 is
    positive. The mean is over m; the bias is not regularised; C is that of scikit-learn. Every
    class needs a positive and a negative.

    Solved in the eigenbasis of the features, each axis scaled by the curvature expected there: the
    problem is the same one, but L-BFGS needs about a fifth of the iterations.
    """

    def __init__(self, x: Tensor, y: Tensor, m: Tensor):
        self.total = m.sum(0).double()  # (C,)
        self.m = m.double() / self.total  # (n, C)
        self.sign = torch.where(y > 0, -1.0, 1.0).double()  # loss = softplus(sign · logit)
        self.signed_m = self.sign * self.m
        # (D,), (D, D)
        curvature, self.basis = torch.linalg.eigh(x.double().T @ x.double() / len(x))
        self.x = x.double() @ self.basis
        rate = (self.m * (y > 0)).sum(0)
        # (C, 1) of a label: the curvature of its loss at w = 0
        self.variance = (rate * (1 - rate))[:, None]
        self.curvature = self.variance * curvature.clamp(min=0)  # (C, D)

    def solve(self, c: float, start: Tensor | None, max_iterations: int) -> Tensor:
        """(C, D + 1): w and b of every class, at most `max_iterations` from `start` (of that shape,
        or zero)."""
        penalty = (1 / (c * self.total))[:, None]  # (C, 1)
        # (C, D + 1)
        scale = torch.cat([(self.curvature + penalty).rsqrt(), self.variance.rsqrt()], dim=1)
        largest = torch.inf

        def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal largest
            solution = torch.from_numpy(flat).to(self.x.device).view_as(scale) * scale
            w, b = solution[:, :-1], solution[:, -1]
            signed = torch.addmm(b, self.x, w.T).mul_(self.sign)  # (n, C)
            loss = (
                torch.vdot(self.m.view(-1), F.softplus(signed).view(-1))
                + (penalty * w.square()).sum() / 2
            )
            error = torch.sigmoid_(signed).mul_(self.signed_m)
            gradient = torch.cat([error.T @ self.x + penalty * w, error.sum(0)[:, None]], dim=1)
            largest = float(gradient.abs().max())
            return float(loss), (gradient * scale).cpu().numpy().ravel()

        def stop_at_tolerance(_: np.ndarray) -> None:
            if largest < TOLERANCE:
                raise StopIteration

        if start is None:
            start = torch.zeros_like(scale)
        start = torch.cat([start[:, :-1] @ self.basis, start[:, -1:]], dim=1) / scale
        options = {
            "maxiter": max_iterations,
            "maxfun": 2 * max_iterations,
            "gtol": 0.0,
            "ftol": 0.0,
        }
        result = minimize(
            loss_and_gradient,
            start.cpu().numpy().ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=stop_at_tolerance,
            options=options,
        )
        solution = torch.from_numpy(result.x).to(self.x.device).view_as(scale) * scale
        return torch.cat([solution[:, :-1] @ self.basis.T, solution[:, -1:]], dim=1)
