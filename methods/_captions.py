"""Captions as training data: the features of their words and the classes they name."""

import re
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from benchmark import Clip


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
