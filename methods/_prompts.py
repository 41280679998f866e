"""What CoOp and DualCoOp share: learned contexts, the rate of every epoch, the training loop."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.task import PRESENT, UNKNOWN, Part, Run

WARM_UP = 1e-5  # learning rate of the first epoch
# of scale and bias: at the larger rates of some presets the scale falls until contexts stall
CALIBRATION_RATE = 0.002


class Prompts:
    """K learned contexts of M vectors before the class names; `context` is (K, M, W), or (K, C, M,
    W) class-specific.

    They start as N(0, 0.02²), or as the word vectors of `texts`, one per context, which then
    determine M.
    """

    def __init__(
        self,
        clip: Any,
        classes: tuple[str, ...],
        texts: tuple[str, ...],
        length: int,
        class_specific: bool,
    ) -> None:
        self.clip, self.classes, self.class_specific = clip, classes, class_specific
        self.encoder = clip.prompts(classes)
        self.cache: dict[tuple[str, ...], tuple[Tensor, ...]] = {}
        copies = len(classes) if class_specific else 1
        if any(texts):
            starts = [self.encoder.initial_context(text).cpu() for text in texts]
            if len({len(start) for start in starts}) > 1:
                raise ValueError(f"The texts {texts} should have the same number of tokens.")
            context = torch.stack(starts)[:, None].repeat(1, copies, 1, 1)
        else:
            context = 0.02 * torch.randn(len(texts), copies, length, self.encoder.width)
        self.context = nn.Parameter((context if class_specific else context[:, 0]).to(clip.device))

    def encode(self, chosen: np.ndarray | None = None) -> tuple[Tensor, ...]:
        """K unit-norm features (C, D) with gradients, of all classes or of the `chosen` indices."""
        encoder, context = self.encoder, self.context
        if chosen is not None:
            encoder = encoder.select(chosen)
            context = context[:, chosen] if self.class_specific else context
        return tuple(F.normalize(features, dim=-1) for features in encoder.encode(*context))

    @torch.no_grad()
    def features(self, classes: tuple[str, ...]) -> tuple[Tensor, ...]:
        """K unit-norm features of any classes, remembered until the contexts change;
        class-specific: of known ones."""
        if classes not in self.cache:
            if classes == self.classes:
                self.cache[classes] = self.encode()
            elif self.class_specific:
                self.cache[classes] = self.encode(
                    np.array([self.classes.index(name) for name in classes])
                )
            else:
                features = self.clip.prompts(classes).encode(*self.context)
                self.cache[classes] = tuple(F.normalize(part, dim=-1) for part in features)
        return self.cache[classes]

    def replace(self, context: Tensor) -> None:
        """Takes other vectors, for instance of an earlier epoch."""
        self.context = nn.Parameter(context.to(self.clip.device))
        self.cache.clear()


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


def log_odds(y: np.ndarray) -> float:
    """log(p / (1 - p)) of the fraction p of known labels (n, C) that are present, p kept within
    0.001 of 0 and 1."""
    known = y[y != UNKNOWN]
    fraction = np.clip((known == PRESENT).mean(), 0.001, 0.999) if len(known) else 0.5
    return float(np.log(fraction / (1 - fraction)))


def fit_prompts(
    method: Any,
    prompts: Prompts,
    others: list[nn.Parameter],
    objective: Callable[[Tensor, Tensor], Tensor],
    train: Part,
    run: Run,
) -> None:
    """SGD on the contexts and on `others` (their own peak rate, no weight decay), the rates set
    once per epoch.

    `method` holds epochs, batch_size, learning_rate, momentum, weight_decay and augment.
    """
    groups = [{"params": [prompts.context], "peak": method.learning_rate}]
    if others:
        groups.append({"params": others, "peak": CALIBRATION_RATE, "weight_decay": 0.0})
    fit_groups(method, groups, objective, train, run, prompts.cache.clear)


def fit_groups(
    method: Any,
    groups: list[dict[str, Any]],
    objective: Callable[[Tensor, Tensor], Tensor],
    train: Part,
    run: Run,
    changed: Callable[[], None] = lambda: None,
    warm_up: float = WARM_UP,
) -> None:
    """SGD on parameter `groups` with a "peak" rate each; `changed` is called after every epoch's
    steps, before the engine looks at the method."""
    method.trainable_parameters = sum(
        value.numel() for group in groups for value in group["params"]
    )
    optimiser = torch.optim.SGD(groups, momentum=method.momentum, weight_decay=method.weight_decay)
    for epoch in range(method.epochs):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(epoch, method.epochs, group["peak"], warm_up)
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
        run.end_of_epoch(
            epoch, method, **{"train/loss": mean, "train/learning_rate": groups[0]["lr"]}
        )
