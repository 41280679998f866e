"""Losses of the multi-label methods. Targets are 1 (present), 0 (absent) and -1 (unknown: no loss,
no gradient)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def asymmetric_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma_positive: float = 1.0,
    gamma_negative: float = 2.0,
    margin: float = 0.05,
    eps: float = 1e-6,
    detach_focus: bool = True,
    reduction: str = "sum",
) -> Tensor:
    """Asymmetric loss (Ridnik et al. 2021, eq. 4-7) on p = σ(logits), as DualCoOp uses it with
    partial labels.

    logits and targets are (B, C). With q = min(1 - p + margin, 1): -(1-p)^γ₊ ln max(p, eps) for a
    positive and -(1-q)^γ₋ ln max(q, eps) for a negative. DualCoOp's loss on two channels is this
    one on z₊ - z₋; a prompt that says "absent" uses -z. `detach_focus` keeps the gradient out of
    the focusing weights. `reduction` is "sum" (DualCoOp), "mean" over known cells (LM-CLIP's plain
    ASL) or "none" for (B, C) with zeros where the target is unknown.
    """
    probability = torch.sigmoid(logits)
    # σ(-x), not 1 - σ(x): the latter has no digits left where the focus of a positive needs them.
    complement = torch.sigmoid(-logits)
    clipped = (complement + margin).clamp(max=1.0)
    focus_positive = _power(complement, gamma_positive)
    focus_negative = _power((probability - margin).clamp(min=0.0), gamma_negative)
    if detach_focus:
        focus_positive, focus_negative = focus_positive.detach(), focus_negative.detach()
    positive = focus_positive * F.logsigmoid(logits).clamp(min=math.log(eps))
    negative = focus_negative * clipped.clamp(min=eps).log()
    return _reduce(-torch.where(targets > 0, positive, negative), targets, reduction)


def balanced_asymmetric_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma_positive: float = 0.0,
    gamma_negative: float = 9.8,
    margin: float = 0.05,
    eps: float = 1e-8,
    class_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    detach_focus: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """LM-CLIP's balanced asymmetric loss of (B, C) logits, as its official code computes it.

    The logits are divided by their largest entry over the whole batch, and the gradient flows
    through that maximum. `class_weight` (C,) multiplies the positive term by 1 + weight.
    `label_smoothing` α turns the positive target into (1-α)·y + α/C and leaves the negative one
    hard. `reduction` as in `asymmetric_loss`.

    Raises `FloatingPointError` where the formula has no value: a maximum of 0, or a fractional
    power of a negative focus (smoothing, with a logit far below minus the maximum).
    """
    scaled = logits / logits.max()
    probability = torch.sigmoid(scaled)
    clipped = (torch.sigmoid(-scaled) + margin).clamp(max=1.0)
    hard = (targets > 0).to(logits.dtype)
    absent = 1.0 - hard
    present = (
        hard
        if label_smoothing == 0
        else (1.0 - label_smoothing) * hard + label_smoothing / logits.shape[1]
    )
    positive = present * probability.clamp(min=eps).log()
    if class_weight is not None:
        positive = (1.0 + class_weight.to(logits)) * positive
    log_likelihood = positive + absent * clipped.clamp(min=eps).log()
    exponent = gamma_positive * present + gamma_negative * absent
    focus = (1.0 - probability * present - clipped * absent).pow(exponent)
    if detach_focus:
        focus = focus.detach()
    loss = -focus * log_likelihood
    if not torch.isfinite(torch.where(targets < 0, 0.0, loss)).all():
        raise FloatingPointError(
            f"The balanced asymmetric loss is not finite: the logits lie between "
            f"{logits.min():.4g} and "
            f"{logits.max():.4g} and are divided by the latter. Lower the learning rate, or set "
            f"label_smoothing=0 or a "
            "whole number as gamma_negative."
        )
    return _reduce(loss, targets, reduction)


def contrastive_loss(
    image_features: Tensor, text_features: Tensor, scale: Tensor | float
) -> Tensor:
    """CLIP's symmetric cross entropy (Radford et al. 2021, figure 3); features (B, D) of unit norm,
    row i belongs to i.

    `scale` is already exponentiated (about 100 in trained models).
    """
    logits = scale * image_features @ text_features.T  # (B, B)
    pairs = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2


def _power(base: Tensor, exponent: float) -> Tensor:
    """base^exponent for base >= 0, with gradient 0 (not inf or nan) at base 0."""
    if exponent == 0:
        return torch.ones_like(base)
    if exponent >= 1:
        return base.pow(exponent)
    return torch.where(base > 0, torch.where(base > 0, base, 1.0).pow(exponent), 0.0)


def _reduce(loss: Tensor, targets: Tensor, reduction: str) -> Tensor:
    known = targets >= 0
    loss = torch.where(known, loss, 0.0)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        return loss.sum() / known.sum().clamp(min=1)
    raise ValueError(f'reduction is "sum", "mean" or "none", not {reduction!r}')
