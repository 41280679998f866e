"""The key-value cache of Tip-Adapter: looking labels up by similarity, and training the keys."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import upload


def look_up(x: Tensor, keys: Tensor, values: Tensor, beta: float) -> Tensor:
    """(B, C) of features (B, D), keys (n, D), both unit norm, and values (n, C): Σ over the keys of
    exp(-β (1 - cosine)) · value (Zhang et al. 2022)."""
    return torch.exp(-beta * (1 - x @ keys.T)) @ values


def train_keys(
    x: Tensor,
    keys: Tensor,
    values: Tensor,
    targets: Tensor,
    zero_shot: Tensor,
    options: Mapping[str, float],
    rng: np.random.Generator,
) -> Iterator[tuple[float, Tensor]]:
    """Loss and keys (n, D) of Tip-Adapter-F after every epoch: AdamW on the cross entropy of the
    training images x (n, D) with their own cache, α = β = 1, the rate a cosine over the epochs.

    `values` and `targets` are label rows (n, C), of the keys and of the images; a target row is not
    normalised, so an image with two labels counts twice, as in the official multi-label code.
    `zero_shot` (n, C) are the images' logits without the cache.
    """
    learned = nn.Parameter(keys.clone())
    optimizer = torch.optim.AdamW(
        [learned], lr=options["learning_rate"], weight_decay=options["weight_decay"]
    )
    epochs, size = int(options["epochs"]), int(options["batch_size"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        total = torch.zeros((), device=keys.device)
        for rows in upload(rng.permutation(len(keys)), keys.device).split(size):
            logits = zero_shot[rows] + look_up(x[rows], learned, values, 1.0)
            loss = F.cross_entropy(logits, targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows) / len(keys)
        schedule.step()
        yield total.item(), learned.detach()
