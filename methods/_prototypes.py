"""Class prototypes in the space of the texts: their logits, and CLAP's constraint (Silva-Rodríguez
et al. 2024)."""

import torch
import torch.nn.functional as F
from torch import Tensor

CONSTRAINTS = ("class", "corrected", "constant", "balanced", "adaptive", "none")


def prototype_logits(x: Tensor, prototypes: Tensor, scale: float) -> Tensor:
    """(B, C) scaled cosines of features (B, D) with prototypes (C, D), any norm."""
    return scale * F.normalize(x, dim=-1) @ F.normalize(prototypes, dim=-1).T


def multipliers(probability: Tensor, present: Tensor, constraint: str = "class") -> Tensor:
    """λ (C,) of the constraint from zero-shot probabilities (n, C), a softmax over the classes, and
    present (n, C) bool: "class" is the mean probability of a class over its own images, 1
    without any; "constant" the mean of those; "corrected" scales them to the mean 1; "balanced" is
    1 and "none" 0; "adaptive" starts as "class" and goes on with `grow`."""
    own = (probability * present).sum(0) / present.sum(0).clamp(min=1)
    own = torch.where(present.any(0), own, 1.0)
    if constraint == "corrected":
        return own / own.mean()
    if constraint == "constant":
        return own.mean().expand_as(own).clone()
    return {"balanced": torch.ones_like(own), "none": torch.zeros_like(own)}.get(constraint, own)


def distances(prototypes: Tensor, texts: Tensor) -> Tensor:
    """(C,) squared distances of prototypes from their texts, not normalised; the constraint is the
    mean over the classes of λ times it."""
    return (prototypes - texts).square().sum(1)


def grow(weights: Tensor, now: Tensor, before: Tensor) -> Tensor:
    """λ (C,) of the next epoch of "adaptive": plus the product of this epoch's and the last one's
    distances, never below 0 (the official code's penalty)."""
    return (weights + before * now).clamp(min=0)
