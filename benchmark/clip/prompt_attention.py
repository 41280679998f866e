"""Attention between learned contexts and the names behind them.

Rows are packed, contexts first: G contexts of M rows, then K times the T tokens of all names. Heads
H of width d make the tower's width W. Each function takes queries, keys and values beside one
another, as a block projects them, and returns what attention has mixed.
"""

import torch
from torch import Tensor

from benchmark.clip.prompt_layout import Layout


def mix(parts: Tensor, sos: Tensor, layout: Layout) -> Tensor:
    """(R, 3·W) -> (R, W) for contexts and names; `sos` (3, 1, H, 1, d) stands before every
    context."""
    query, key, value = _contexts(parts, sos, layout)
    mixed = _attend(query, key, value, layout.causal)  # (G·H, M, d)
    mixed = mixed.unflatten(0, (layout.groups, -1)).transpose(1, 2).reshape(-1, parts.shape[1] // 3)
    return torch.cat([mixed, _mix_names(parts, key, value, layout)])


def mix_ends(parts: Tensor, sos: Tensor, layout: Layout) -> Tensor:
    """(R, 3·W) -> (K·C, W), for the last token of each name alone."""
    _, key, value = _contexts(parts, sos, layout)
    return _mix_names(parts, key, value, layout)[layout.ends - layout.first_name]


def _contexts(parts: Tensor, sos: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (G·H, M, d), keys and values (G·H, 1+M, d) of the contexts."""
    heads, width = sos.shape[2], sos.shape[4]
    parts = parts[: layout.first_name].view(layout.groups, -1, 3, heads, width)
    parts = parts.permute(2, 0, 3, 1, 4)  # (3, G, H, M, d)
    first = sos[1:].expand(-1, layout.groups, -1, -1, -1)
    key, value = torch.cat([first, parts[1:]], 3).flatten(1, 2)
    return parts[0].flatten(0, 1), key, value


def _mix_names(parts: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """(K·T, W): a token looks back at its context, whose `key` and `value` (G·H, 1+M, d) are given,
    and at its own name."""
    size, width = layout.mask.shape[-1], key.shape[-1]
    heads = len(key) // layout.groups
    parts = parts[layout.first_name :].view(layout.copies, -1, parts.shape[1])
    parts = parts.index_select(1, layout.padded).view(layout.groups, -1, size, 3, heads, width)
    query, own_key, own_value = parts.permute(3, 0, 4, 1, 2, 5).reshape(3, -1, size, width)
    query = query * width**-0.5  # (G·H·n, B, d): n blocks behind each context
    together = (len(key), -1, width)
    back = query.view(together) @ key.mT  # (G·H, n·B, 1+M)
    own = torch.baddbmm(layout.mask, query, own_key.mT).view(len(key), -1, size)
    weights = torch.cat([back, own], 2).softmax(-1)
    back, own = weights.split([key.shape[1], size], 2)
    mixed = (own.reshape(-1, size, size) @ own_value).view(together) + back @ value
    mixed = mixed.view(layout.groups, heads, -1, width).transpose(1, 2)  # (G, n·B, H, d)
    rows: Tensor = mixed.reshape(layout.copies, -1, heads * width)
    return rows.index_select(1, layout.packed).flatten(0, 1)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """(N, Q, d) queries to (N, L, d) keys and values; `mask` (Q, L) is added to the scores."""
    scores = torch.baddbmm(mask, query, key.mT, alpha=query.shape[-1] ** -0.5)
    mixed: Tensor = scores.softmax(-1) @ value
    return mixed
