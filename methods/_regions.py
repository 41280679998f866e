"""How prompt methods turn the regions of an image into one logit per class."""

import torch
import torch.nn.functional as F
from torch import Tensor

EVIDENCE_SCALE = 20.085537  # e³, of both branches of DualCoOp++; frozen in its official code
VARIANTS = ("pos200", "pos_norm", "pos_test", "pos_neg", "pos_neg_test")


def aggregate_regions(
    regions: Tensor,
    text_positive: Tensor,
    text_negative: Tensor,
    *,
    region_scale: float = 20.0,
    logit_scale: float = 5.0,
) -> tuple[Tensor, Tensor]:
    """(positive, negative) logits (…, B, C) of regions (…, B, R, D) and texts (…, C, D) of any norm
    (Sun et al. 2022, eq. 3-4).

    Each class weighs the regions by the softmax of its scaled cosine with the positive text; the
    same weights serve the negative one. The logit is `logit_scale` times the weighted sum of the
    scaled cosines. Leading dimensions are those of several runs.
    """
    texts = torch.stack([text_positive, text_negative], -3)
    scores, weights = score_regions(regions, texts, region_scale)
    logits = logit_scale * (weights.unsqueeze(-4) * scores).sum(-1)  # (…, K, C, B)
    positive, negative = logits.mT.unbind(-3)
    return positive, negative


def score_regions(regions: Tensor, texts: Tensor, region_scale: float) -> tuple[Tensor, Tensor]:
    """Scaled cosines (…, K, C, B, R) with texts (…, K, C, D), and the region weights (…, C, B, R)
    of the first of the K."""
    flat = regions.flatten(-3, -2).to(texts.dtype)
    norms = torch.linalg.vector_norm(flat, dim=-1).clamp(min=1e-12)
    cosines = F.normalize(texts.flatten(-3, -2), dim=-1) @ flat.mT / norms.unsqueeze(-2)
    shape = (*texts.shape[:-1], *regions.shape[-3:-1])
    scores = region_scale * cosines.view(shape)
    return scores, scores.select(-4, 0).softmax(-1)


def boost_regions(cam: Tensor, *, boost: float = 5.0) -> Tensor:
    """Logits (B, C) of class activations (B, R, C): the mean over the regions after positive
    activations were multiplied by `boost` (BoostLU, Kim et al. 2023)."""
    return torch.where(cam > 0, boost * cam, cam).mean(1)


def aggregate_evidence(
    regions: Tensor,
    evidence: Tensor,
    positive: Tensor,
    negative: Tensor,
    temperature: Tensor | float,
    *,
    variant: str = "pos_norm",
) -> tuple[Tensor, Tensor]:
    """(positive, negative) logits (B, C) of regions (B, R, D) and texts (C, D), of any norm (Hu et
    al. 2024, as the official code computes and names it).

    A = softmax over the regions of exp(temperature) · cosine with the evidence text; z₊ = Σ_r A · ω
    · e³ · cosine with the positive text, z₋ the same with the negative one. The competition q is a
    softmax over the classes of a region of 200 · cos₊ · max cos₊; ω is 1 + q ("pos200"), q
    ("pos_test") or q / max q ("pos_norm"). "pos_neg" and "pos_neg_test" weigh z₋ in the same two
    ways, by the softmax of 200 · cos₊ · min cos₊."""
    regions = F.normalize(regions.to(evidence.dtype), dim=-1)
    texts = F.normalize(torch.stack([evidence, positive, negative]), dim=-1)
    found, present, absent = torch.einsum("brd,kcd->kbrc", regions, texts)
    attention = (found * torch.as_tensor(temperature).exp()).softmax(dim=1)
    won = (200 * present * present.amax(-1, keepdim=True)).softmax(-1)
    weight, weight_absent = 1 + won, torch.ones_like(won)
    if variant == "pos_norm":
        weight = won / won.amax(-1, keepdim=True)
    if variant in ("pos_test", "pos_neg_test"):
        weight = won
    if variant in ("pos_neg", "pos_neg_test"):
        lost = (200 * present * present.amin(-1, keepdim=True)).softmax(-1)
        weight_absent = 1 + lost if variant == "pos_neg" else lost
    return (
        (EVIDENCE_SCALE * attention * weight * present).sum(1),
        (EVIDENCE_SCALE * attention * weight_absent * absent).sum(1),
    )
