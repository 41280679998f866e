"""Captions as training data: the features of their words, the classes they name, their logits."""

import re
from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark import Clip

SCALE = 4.0  # of both logits; the official code could learn it and does not


def local_logits(
    tokens: Tensor, texts: Tensor, spatial_scale: float, padding: Tensor | None = None
) -> Tensor:
    """(B, C) of tokens (B, L, D), of a caption or of an image, and texts (C, D), any norm (Guo et
    al. 2023): the cosines of a class, weighed by their softmax over the tokens and scaled by 4.

    `padding` (B, L) bool marks positions that hold no word."""
    cosines = F.normalize(tokens, dim=-1) @ F.normalize(texts, dim=-1).T  # (B, L, C)
    if padding is not None:
        cosines = cosines - 1e4 * padding[..., None]
    return ((spatial_scale * cosines).softmax(dim=1) * SCALE * cosines).sum(1)


def global_logits(features: Tensor, texts: Tensor) -> Tensor:
    """(B, C) of features (B, D) and texts (C, D): four times the cosine."""
    return SCALE * F.normalize(features, dim=-1) @ F.normalize(texts, dim=-1).T


@torch.no_grad()
def token_features(clip: Clip, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Projected features (P, L, D) of every token and (P, D) of the end token, not normalised;
    zeros where a text is over."""
    model = clip.module
    tokens = clip.tokenizer(texts).to(clip.device)
    end = tokens.argmax(-1)
    tokens = tokens[:, : int(end.max()) + 1]
    x = model.token_embedding(tokens) + model.positional_embedding[: tokens.shape[1]]
    mask = model.attn_mask[: tokens.shape[1], : tokens.shape[1]]
    x = model.ln_final(model.transformer(x, attn_mask=mask)) @ model.text_projection
    return x * (tokens != 0)[..., None], x[torch.arange(len(x)), end]


def named_classes(captions: Iterable[str], classes: tuple[str, ...]) -> np.ndarray:
    """(P, C) int8: whether a caption says the name of a class, or its plural in s, as a word."""
    patterns = [re.compile(rf"\b{re.escape(name.lower())}s?\b") for name in classes]
    said = [[bool(found.search(text.lower())) for found in patterns] for text in captions]
    return np.array(said, np.int8).reshape(-1, len(classes))
