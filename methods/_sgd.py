"""SGD on the masked asymmetric loss: what CoOp, DualCoOp and their relatives share."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import benchmark
from benchmark import UNKNOWN, Part, Run
from methods._learning_rates import WARM_UP, learning_rate
from methods._losses import asymmetric_loss


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
        """Summed over the known cells of (…, B, C)."""
        return asymmetric_loss(
            logits,
            targets,
            gamma_positive=self.gamma_positive,
            gamma_negative=self.gamma_negative,
            margin=self.margin,
            eps=eps,
            reduction="none",
        ).sum((-2, -1))


class Group(NamedTuple):
    """Parameters with a peak learning rate of their own; `weight_decay` None is the method's."""

    parameters: list[nn.Parameter]
    peak: float
    weight_decay: float | None = None


class Learner(NamedTuple):
    """A run that is trained: its parameters, its images, and whom to tell of an epoch."""

    method: SgdMethod
    groups: list[Group]
    train: Part
    run: Run

    @property
    def decays(self) -> list[float]:
        """The weight decay of each group."""
        own = self.method.weight_decay
        return [own if g.weight_decay is None else g.weight_decay for g in self.groups]


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

    def alone(x: Tensor, y: Tensor) -> Tensor:
        return objective(x[0], y[0]).view(1)

    learner = Learner(method, groups, train, run)
    (failure,) = fit_together([learner], alone, changed, warm_up)
    if failure is not None:
        raise failure


def fit_together(
    learners: Sequence[Learner],
    objective: Callable[[Tensor, Tensor], Tensor],
    changed: Callable[[], None] = lambda: None,
    warm_up: float = WARM_UP,
) -> list[Exception | None]:
    """As `fit_groups` for G runs with the same epochs, batch size and number of images, each with
    its own order of images; says what went wrong for each.

    `objective` of x (G, B, …) and y (G, B, C) returns the losses (G,). Their sum is minimised: no
    parameter belongs to two runs, so no gradient mixes, and SGD treats every number on its own.
    """
    first = learners[0].method
    for learner in learners:
        parameters = [value for group in learner.groups for value in group.parameters]
        learner.method.trainable_parameters = sum(value.numel() for value in parameters)
    optimiser, peaks = _optimiser(learners)
    failures: list[Exception | None] = [None] * len(learners)
    for epoch in range(first.epochs):
        for state, peak in zip(optimiser.param_groups, peaks, strict=True):
            state["lr"] = learning_rate(epoch, first.epochs, peak, warm_up)
        losses = []
        for x, y in _batches(learners, first.batch_size):
            loss = objective(x, y)
            optimiser.zero_grad()
            loss.sum().backward()
            optimiser.step()
            losses.append(loss.detach())
        changed()
        means = torch.stack(losses).mean(0).tolist()
        for i, (learner, mean) in enumerate(zip(learners, means, strict=True)):
            if failures[i] is None:
                failures[i] = _end_of_epoch(learner, epoch, mean, warm_up)
        if all(failures):
            break
    return failures


def _optimiser(learners: Sequence[Learner]) -> tuple[torch.optim.SGD, list[float]]:
    """One for all, and the peak rate of each of its groups: those of the runs, joined where they
    are alike."""
    alike: dict[tuple[float, float, float], list[nn.Parameter]] = {}
    for learner in learners:
        for group, decay in zip(learner.groups, learner.decays, strict=True):
            key = (group.peak, decay, learner.method.momentum)
            alike.setdefault(key, []).extend(group.parameters)
    groups = [
        {"params": parameters, "weight_decay": decay, "momentum": momentum}
        for (_, decay, momentum), parameters in alike.items()
    ]
    return torch.optim.SGD(groups, foreach=True), [peak for peak, _, _ in alike]


def _batches(learners: Sequence[Learner], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """x (G, B, …) and y (G, B, C) of an epoch, each run in its own order."""
    parts = [
        learner.train.batches(size, shuffle=True, augment=learner.method.augment)
        for learner in learners
    ]
    for batches in zip(*parts, strict=True):
        yield _stack([x for x, _ in batches]), _stack([y for _, y in batches])


def _stack(values: list[Tensor]) -> Tensor:
    """Without a copy when there is one."""
    return values[0][None] if len(values) == 1 else torch.stack(values)


def _end_of_epoch(learner: Learner, epoch: int, loss: float, warm_up: float) -> Exception | None:
    """Tells the engine of an epoch; returns what stops this run."""
    if not math.isfinite(loss):
        return FloatingPointError(
            f"The training loss of epoch {epoch} is {loss}: lower the learning rate."
        )
    rate = learning_rate(epoch, learner.method.epochs, learner.groups[0].peak, warm_up)
    scalars = {"train/loss": loss, "train/learning_rate": rate}
    try:
        learner.run.end_of_epoch(epoch, learner.method, **scalars)
    except Exception as error:
        return error
    return None


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
