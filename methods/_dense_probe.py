"""One linear layer on frozen regions: the baseline of PositiveCoOp, which sees what DualCoOp sees,
without a text."""

from typing import Any

import torch
from torch import Tensor

from benchmark.task import Part, Run
from methods._losses import asymmetric_loss

REGION_SCALE, LOGIT_SCALE = 20.0, 5.0


def logits(regions: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(B, R, D) -> (B, C) with weight (2C, D) and bias (2C,), the first C for absence.

    o = 20 · (W g + b), z = 5 · Σ_r softmax_r(o) · o for each of the 2C channels by itself, then z₊
    - z₋. Regions here have unit norm where the paper's have not; the factor 20 gives o the range of
    DualCoOp's cosines.
    """
    # (B, R, 2C)
    activation = REGION_SCALE * torch.nn.functional.linear(regions.float(), weight, bias)
    pooled = LOGIT_SCALE * (activation.softmax(dim=1) * activation).sum(1)
    absent, present = pooled.chunk(2, dim=1)
    return present - absent


def fit(method: Any, width: int, train: Part, run: Run) -> None:
    """SGD with momentum 0.9, cosine over the epochs, masked ASL (DualCoOp's constants) averaged
    over known cells."""
    layer = torch.nn.Linear(width, 2 * len(train.classes), device=run.device)
    torch.nn.init.normal_(layer.weight, std=0.01)
    torch.nn.init.zeros_(layer.bias)
    # views of what is trained
    method.weight, method.bias = layer.weight.detach(), layer.bias.detach()
    optimizer = torch.optim.SGD(layer.parameters(), lr=method.learning_rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, method.epochs)
    for epoch in range(method.epochs):
        total = 0.0
        for regions, y in train.batches(method.batch_size, shuffle=True):
            loss = asymmetric_loss(logits(regions, layer.weight, layer.bias), y, reduction="mean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        schedule.step()
        run.end_of_epoch(epoch, method, **{"train/loss": total / len(train)})
