"""Labels that a model gives to unknown cells: pure functions, targets as in `_partial_losses`."""

import torch
from torch import Tensor

from methods._partial_losses import entropy_maximization


def pseudo_negatives(probability: Tensor, open_cells: Tensor, counts: Tensor) -> Tensor:
    """One round of asymmetric pseudo-labelling (Zhou et al. 2022): the p of the `counts` (C,)
    least probable of the `open_cells` (n, C) bool of each class, 0 elsewhere."""
    order = torch.where(open_cells, probability, torch.inf).argsort(dim=0, stable=True)
    rank = torch.empty_like(order)
    rank.scatter_(0, order, torch.arange(len(order), device=order.device)[:, None].expand_as(order))
    return torch.where(open_cells & (rank < counts), probability, 0.0)


def similarity_pseudo_labels(
    logits: Tensor,
    targets: Tensor,
    *,
    similarity: Tensor,
    threshold: float = 0.3,
    alpha: float = 0.2,
    beta: float = 0.7,
    soft: float = 0.9,
) -> Tensor:
    """VLPL (Xing et al. 2024): an unknown cell whose `similarity` (B, C), CLIP's softmax over the
    classes at temperature 0.01, exceeds `threshold` costs β times the cross entropy with the target
    `soft`; the other unknown cells gain α times their entropy (`entropy_maximization`)."""
    pseudo = soft * ((similarity > threshold) & (targets < 0))
    return entropy_maximization(logits, targets, alpha=alpha, beta=beta, pseudo=pseudo)


def class_aware_pseudo_labels(
    scores: Tensor,
    frequency: Tensor,
    *,
    present: float = 1.0,
    absent: float = 1.0,
    as_released: bool = False,
) -> tuple[Tensor, Tensor]:
    """CAP (Xie et al. 2023): labels of unlabelled images and which of them to trust, both (n, C)
    bool, from scores (n, C) and the `frequency` (C,) of each class among labelled images.

    A class is present in its int(frequency · n) images of highest score; trusted are the
    int(present · frequency · n) highest and the int(absent · (1 - frequency) · n) lowest. Where
    that number is 0 there is no such image; the released code takes index -1 there (`as_released`),
    the other end of the order, so that a class without a labelled image is present everywhere."""
    n, frequency = len(scores), frequency.double()
    ascending = scores.sort(dim=0).values

    def at_least(share: Tensor) -> Tensor:
        return scores >= _edge(ascending.flip(0), (share * n).int(), torch.inf, as_released)

    lowest = _edge(ascending, (absent * (1 - frequency) * n).int(), -torch.inf, as_released)
    trusted = at_least(present * frequency) | (scores <= lowest)
    return at_least(frequency), trusted


def _edge(ordered: Tensor, counts: Tensor, without: float, as_released: bool) -> Tensor:
    """(C,) the last of the first `counts` (C,) entries of each column of `ordered` (n, C)."""
    counts = counts.long()
    last = ordered.gather(0, ((counts - 1) % len(ordered))[None])[0]
    return last if as_released else torch.where(counts > 0, last, without)
