"""A linear layer blended with class texts: LP++'s start, rates and descent in closed form."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ALPHA_EVERY = 10  # epochs between two steps of α


@dataclass
class Blend:
    """Logits x Wᵀ + b + α · (x · t): weight (C, D), bias (C,), alpha (C,), texts (C, D)."""

    weight: Tensor
    bias: Tensor
    alpha: Tensor
    texts: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias + self.alpha * (x @ self.texts.T)


def start(x: Tensor, present: Tensor, texts: Tensor) -> tuple[Blend, float, float]:
    """The blend before the first step, and the rates of W and of α (Huang et al. 2024), from x (n,
    D), present (n, C) bool and texts (C, D).

    W is the sum of each class's features, α everywhere 250 times the mean over the classes of their
    features' mean cosine with their text. The rates are 4 n / λ_max(XᵀX) and n / (4 max_c Σ_i
    cos²)."""
    cosines = x @ texts.T
    members = present.to(x)
    mean = (cosines * members).sum(0) / members.sum(0).clamp(min=1)
    alpha = 250 * mean[present.any(0)].mean()
    blend = Blend(members.T @ x, torch.zeros_like(mean), alpha.expand_as(mean).clone(), texts)
    rate = 4 * len(x) / float(torch.linalg.eigvalsh(x.double().T @ x.double())[-1])
    return blend, rate, float(len(x) / (4 * cosines.square().sum(0).max()))


def descend(
    blend: Blend,
    loss: Callable[[Tensor], Tensor],
    x: Tensor,
    rates: tuple[float, float],
    epochs: int,
) -> list[float]:
    """Full-batch epochs: SGD with momentum 0.9 on W and b; every tenth epoch α moves along the sum
    of its gradients since the start, which the official code never clears. Returns the losses."""
    for values in (blend.weight, blend.bias, blend.alpha):
        values.requires_grad_()
    optimizer = torch.optim.SGD([blend.weight, blend.bias], lr=rates[0], momentum=0.9)
    losses = []
    for epoch in range(epochs):
        value = loss(blend(x))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.detach())
        if (epoch + 1) % ALPHA_EVERY == 0:
            with torch.no_grad():
                assert blend.alpha.grad is not None
                blend.alpha -= rates[1] * blend.alpha.grad
    return torch.stack(losses).tolist()
