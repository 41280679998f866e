"""How prompt methods turn the regions of an image into one logit per class."""

import torch
import torch.nn.functional as F
from torch import Tensor


def aggregate_regions(
    regions: Tensor,
    text_positive: Tensor,
    text_negative: Tensor,
    *,
    region_scale: float = 20.0,
    logit_scale: float = 5.0,
) -> tuple[Tensor, Tensor]:
    """(positive, negative) logits (B, C) of regions (B, R, D) and texts (C, D), of any norm (Sun et
    al. 2022, eq. 3-4).

    Each class weighs the regions by the softmax of its scaled cosine with the positive text; the
    same weights serve the negative one. The logit is `logit_scale` times the weighted sum of the
    scaled cosines.
    """
    scores, weights = score_regions(
        regions, torch.stack([text_positive, text_negative]), region_scale
    )
    positive, negative = (logit_scale * (weights * scores).sum(-1)).mT
    return positive, negative


def score_regions(regions: Tensor, texts: Tensor, region_scale: float) -> tuple[Tensor, Tensor]:
    """Scaled cosines (K, C, B, R) with texts (K, C, D), and the region weights (C, B, R) of
    texts[0]."""
    flat = regions.flatten(0, 1).float()
    norms = torch.linalg.vector_norm(flat, dim=-1).clamp(min=1e-12)
    cosines = F.normalize(texts.flatten(0, 1), dim=-1) @ flat.T / norms
    scores = region_scale * cosines.view(*texts.shape[:2], *regions.shape[:2])
    return scores, scores[0].softmax(-1)
