"""Tip-Adapter-SA: one feature a class instead of one an image, and how two scores are fused."""

import torch
import torch.nn.functional as F
from torch import Tensor

# What else a region may show; our words, the released ones are 25 for VOC and 23 for COCO.
BACKGROUND = ("background", "ground", "sky", "water", "grass", "wall", "floor", "road")
NORMALISATIONS = ("softmax", "min-max", "gaussian")


def class_features_of_regions(regions: Tensor, probability: Tensor) -> Tensor:
    """(B, C, D) of regions (B, R, D) and probability (B, R, C) of each class at each region: the
    mean of the regions whose probability, scaled to 0 … 1 over the image, exceeds 0.5 (the released
    code); 0 where all regions are alike."""
    lowest, highest = probability.amin(1, keepdim=True), probability.amax(1, keepdim=True)
    chosen = (probability - lowest > 0.5 * (highest - lowest)).to(regions)
    count = chosen.sum(1).clamp(min=1)[..., None]  # (B, C, 1)
    return torch.einsum("brc,brd->bcd", chosen, regions) / count


def class_affinity(features: Tensor, keys: Tensor) -> Tensor:
    """(B, C, k) cosines of class features (B, C, D) with the k keys (C, k, D) of the same class,
    any norm."""
    return torch.einsum("bcd,ckd->bck", F.normalize(features, dim=-1), F.normalize(keys, dim=-1))


def class_cache(affinity: Tensor, beta: float, values: Tensor | None = None) -> Tensor:
    """(B, C): Σ over the keys of a class of exp(-β (1 - cosine)) · value, `values` (C, k), 1
    without any."""
    found = torch.exp(-beta * (1 - affinity))
    return (found if values is None else found * values).sum(-1)


def normalise_scores(scores: Tensor, kind: str = "softmax") -> Tensor:
    """(B, C) brought to a common scale in each image: "softmax" over the classes, "min-max" or
    "gaussian" (mean 0, standard deviation 1)."""
    if kind == "softmax":
        return scores.softmax(1)
    low = scores.amin(1, keepdim=True) if kind == "min-max" else scores.mean(1, keepdim=True)
    spread = (
        scores.amax(1, keepdim=True) - low if kind == "min-max" else scores.std(1, keepdim=True)
    )
    return (scores - low) / spread.clamp(min=1e-12)


def fuse(zero_shot: Tensor, cache: Tensor, alpha: float, kind: str = "softmax") -> Tensor:
    """(1 - α) times the normalised zero-shot scores plus α times those of the cache, (B, C)."""
    return (1 - alpha) * normalise_scores(zero_shot, kind) + alpha * normalise_scores(cache, kind)
