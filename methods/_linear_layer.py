"""One linear layer on global features, trained by gradient with one of the losses for partial
labels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import benchmark
from benchmark import Clip, Part, Run, upload
from methods._templates import class_features
from methods._training_losses import Loss

TEMPLATE = "a photo of a {}."  # for losses that ask CLIP itself


class Probe(benchmark.Method):
    """One linear layer: weight (C, D) and bias (C,) for plain features, whose mean and spread (D,)
    are those of the training features, or 0 and 1."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight: Tensor
    bias: Tensor
    mean: Tensor
    spread: Tensor


def fit(method: Probe, loss: Loss, clip: Clip, train: Part, run: Run) -> None:
    """Adam on batches of `method.batch_size`, weight and bias from zero, the rate constant.

    The learned layer is kept in coordinates of the plain features, so that `method.weight` (C, D)
    and `method.bias` (C,) are those of any other probe; x is standardised with `method.mean` and
    `method.spread` (D,)."""
    x = ((train.features - method.mean) / method.spread).float()
    y = torch.from_numpy(train.y).to(x.device)
    layer = nn.Linear(x.shape[1], y.shape[1], device=x.device)
    for values in layer.parameters():
        nn.init.zeros_(values)
    loss.ask(lambda: train.features @ class_features(clip, train.classes, TEMPLATE).T)
    loss.start(x, y, method.epochs)
    optimizer = torch.optim.Adam(layer.parameters(), lr=method.learning_rate)
    for extra in loss.parameters():
        optimizer.add_param_group({"params": [extra], "lr": 10 * method.learning_rate})
    for epoch in range(method.epochs):
        with torch.no_grad():
            loss.start_epoch(epoch, lambda: torch.sigmoid(layer(x)))
        total = torch.zeros((), device=x.device)
        for rows in upload(train.rng.permutation(len(x)), x.device).split(method.batch_size):
            value = loss(layer(x[rows]), rows)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            total += value.detach() * len(rows) / len(x)
        method.weight = layer.weight.detach() / method.spread  # float64, as the mean is
        method.bias = layer.bias.detach() - F.linear(method.mean, method.weight)
        run.end_of_epoch(epoch, method, **{"train/loss": total.item()})
