"""SGD on the masked asymmetric loss: what CoOp, DualCoOp and their relatives share."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import benchmark
from benchmark import UNKNOWN, Part, Run
from methods._losses import asymmetric_loss

WARM_UP = 1e-5  # learning rate of the first epoch


@dataclass
class SgdMethod(benchmark.Method):
    """The constants of the loss and of the training; a method gives them defaults of its own."""

    loss_weight: float = 0.0  # of the sum over known cells; 0 means the rule of `weight_of_sum`
    gamma_positive: float = 1.0
    gamma_negative: float = 2.0
    margin: float = 0.05
    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 0.002  # its peak
    momentum: float = 0.9
    weight_decay: float = 5e-4
    copies: int = 0
    augment: str = ""
    preset: str = ""

    def asymmetric_loss(self, logits: Tensor, targets: Tensor, eps: float = 1e-6) -> Tensor:
        """Summed over the known cells of (B, C)."""
        return asymmetric_loss(
            logits,
            targets,
            gamma_positive=self.gamma_positive,
            gamma_negative=self.gamma_negative,
            margin=self.margin,
            eps=eps,
        )


class Group(NamedTuple):
    """Parameters with a peak learning rate of their own; `weight_decay` None is the method's."""

    parameters: list[nn.Parameter]
    peak: float
    weight_decay: float | None = None


def fit_groups(
    method: SgdMethod,
    groups: list[Group],
    objective: Callable[[Tensor, Tensor], Tensor],
    train: Part,
    run: Run,
    changed: Callable[[], None] = lambda: None,
    warm_up: float = WARM_UP,
) -> None:
    """Minimises `objective` of a batch (x, y), the rates set once per epoch; `changed` is called
    after every epoch's steps, before the engine looks at the method."""
    method.trainable_parameters = sum(
        value.numel() for group in groups for value in group.parameters
    )
    decays = [method.weight_decay if g.weight_decay is None else g.weight_decay for g in groups]
    optimiser = torch.optim.SGD(
        [
            {"params": group.parameters, "weight_decay": decay}
            for group, decay in zip(groups, decays, strict=True)
        ],
        momentum=method.momentum,
    )
    for epoch in range(method.epochs):
        rates = [learning_rate(epoch, method.epochs, group.peak, warm_up) for group in groups]
        for state, rate in zip(optimiser.param_groups, rates, strict=True):
            state["lr"] = rate
        losses = []
        for x, y in train.batches(method.batch_size, shuffle=True, augment=method.augment):
            loss = objective(x, y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
        changed()
        mean = torch.stack(losses).mean().item()
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"The training loss of epoch {epoch} is {mean}: lower the learning rate."
            )
        run.end_of_epoch(epoch, method, **{"train/loss": mean, "train/learning_rate": rates[0]})


def learning_rate(epoch: int, epochs: int, peak: float, warm_up: float = WARM_UP) -> float:
    """Dassl's cosine with one constant warm-up epoch, which is not deducted: the last epoch does
    not reach 0."""
    return warm_up if epoch == 0 else 0.5 * peak * (1 + math.cos(math.pi * (epoch - 1) / epochs))


def weight_of_sum(y: np.ndarray, weight: float) -> float:
    """The factor of a loss that is summed over known cells: `weight`, or for 0 the rule 0.015 /
    known fraction of y.

    The rule is DualCoOp's published 0.03 at 50 % known labels, and keeps the size of the gradient
    at other ratios; its authors only say "larger for fewer labels". The fraction is the realised
    one of the training labels.
    """
    known = float((y != UNKNOWN).mean())
    if known == 0:
        raise ValueError("No training label is known: there is nothing to learn from.")
    return weight or 0.015 / known
