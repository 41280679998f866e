"""Attention of learned contexts and the names behind them, in the sequences of a layout.

S sequences of L rows, SOS before them; heads H of width d make the tower's width W. The functions
take queries, keys and values beside one another, as a block projects them, and return what
attention has mixed.
"""

import torch
from torch import Tensor

from benchmark.clip.prompt_layout import Layout


def mix(parts: Tensor, sos: Tensor, layout: Layout) -> Tensor:
    """(S·L, 3·W) -> (R, W), packed; `sos` (3, 1, H, 1, d) are query, key and value of SOS."""
    # SOS asks as well, in vain: square products are the faster ones
    query, key, value = _with_sos(parts, sos, layout)
    mixed = _attend(query, key, value, layout.mask)[:, 1:]
    mixed = _rows(mixed, sos.shape[2])
    return mixed if layout.packed is None else mixed.index_select(0, layout.packed)


def mix_ends(parts: Tensor, sos: Tensor, layout: Layout) -> Tensor:
    """(S·L, 3·W) -> (K·C, W), for the last token of each name alone."""
    _, key, value = _with_sos(parts, sos, layout)
    heads, width = sos.shape[2], sos.shape[4]
    query = parts[:, : heads * width].index_select(0, layout.asked)
    query = query.view(-1, layout.asked_mask.shape[1], heads, width).transpose(1, 2).flatten(0, 1)
    mixed = _rows(_attend(query, key, value, layout.asked_mask), heads)
    return mixed if layout.answers is None else mixed.index_select(0, layout.answers)


def _with_sos(parts: Tensor, sos: Tensor, layout: Layout) -> Tensor:
    """(3, S·H, 1+L, d)."""
    heads, width = sos.shape[2], sos.shape[4]
    parts = parts.view(-1, layout.mask.shape[1] - 1, 3, heads, width).permute(2, 0, 3, 1, 4)
    return torch.cat([sos.expand(-1, parts.shape[1], -1, -1, -1), parts], 3).flatten(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """(S·H, Q, d) queries to (S·H, 1+L, d) keys and values."""
    scores = torch.baddbmm(mask, query, key.mT, alpha=query.shape[-1] ** -0.5)
    mixed: Tensor = scores.softmax(-1) @ value
    return mixed


def _rows(mixed: Tensor, heads: int) -> Tensor:
    """(S·H, Q, d) -> (S·Q, W)."""
    split: Tensor = mixed.unflatten(0, (-1, heads))
    return split.transpose(1, 2).flatten(2).flatten(0, 1)
