"""The key-value cache of Tip-Adapter: looking labels up by similarity, and training the keys."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import ABSENT, Part, Run, upload
from benchmark.metrics import average_precision


def look_up(x: Tensor, keys: Tensor, values: Tensor, beta: float) -> Tensor:
    """(B, C) of features (B, D), keys (n, D), both unit norm, and values (n, C): Σ over the keys of
    exp(-β (1 - cosine)) · value (Zhang et al. 2022)."""
    return torch.exp(-beta * (1 - x @ keys.T)) @ values


def check_pair(alpha: float, beta: float) -> None:
    """Raises `ValueError` for one without the other."""
    if (alpha > 0) != (beta > 0):
        raise ValueError("Give both alpha and beta, or neither: they are chosen together.")


def choose_weights(
    val: Part,
    pairs: Iterable[tuple[float, float]],
    score: Callable[[float, float], Tensor],
    run: Run,
) -> tuple[float, float] | None:
    """The pair (α, β) with the best masked mAP of its scores (n, C) of the validation images, of
    equally good ones the first; None where nothing there is known to be absent."""
    if not (val.y == ABSENT).any():
        return None
    found = {
        pair: float(np.nanmean(average_precision(val.y, score(*pair).cpu().numpy())))
        for pair in pairs
    }
    best = max(found, key=found.__getitem__)
    run.trials = len(found)
    run.chosen |= {"alpha": best[0], "beta": best[1]}
    return best


def train_keys(
    keys: Tensor,
    values: Tensor,
    zero_shot: Tensor,
    options: Mapping[str, float],
    rng: np.random.Generator,
    x: Tensor | None = None,
    targets: Tensor | None = None,
) -> Iterator[tuple[float, Tensor]]:
    """Loss and keys (n, D) of Tip-Adapter-F after every epoch: AdamW on the cross entropy of the
    training images x (n, D) with their own cache, α = β = 1, the rate a cosine over the epochs.

    `values` and `targets` are label rows (n, C), of the keys and of the images, which are the keys
    themselves where none are given; a target row is not normalised, so an image with two labels
    counts twice, as in the official multi-label code. `zero_shot` (n, C) are the images' logits
    without the cache.
    """
    x, targets = keys if x is None else x, values if targets is None else targets
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
