"""Where the rows of learned contexts and of the names behind them stand, and which see which."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BLOCK = 32  # rows; larger blocks have more hidden pairs, smaller ones are more and smaller products


class Layout(NamedTuple):
    """Packed rows, contexts first: G·M of G contexts, then K times the T tokens of all C names.

    The names attend in blocks of B rows, N blocks for each of the K copies. Behind a context that
    all names share (G = K) a block holds as many whole names as fit, and all blocks see the same
    context; behind class-specific ones (G = K·C) a block holds one name and sees its own context.
    """

    groups: int  # G
    copies: int  # K
    first_name: int  # G·M, the first row of a name
    ends: Tensor  # (K·C,) the rows that are EOT
    padded: Tensor  # (N·B,) for each place in a block the token that stands there
    packed: Tensor  # (T,) for each token its place
    mask: Tensor  # (K·N·H, B, B), added to the scores: 0 where a token sees one of its own name
    causal: Tensor  # (M, 1+M), the same for a context behind SOS


def make_layout(
    sizes: Sequence[int], length: int, copies: int, heads: int, shared: bool, device: torch.device
) -> Layout:
    """The layout of names with so many tokens behind K contexts of M = `length` vectors, or behind
    K for each name."""
    lengths = np.array(sizes)
    stops = lengths.cumsum()
    starts = stops - lengths
    blocks = _fill(lengths, max(BLOCK, lengths.max())) if shared else np.arange(len(lengths))
    owner = np.repeat(np.arange(len(lengths)), lengths)  # (T,) the name of each token
    block = blocks[owner]  # (T,)
    token = np.arange(stops[-1])
    place = token - starts[np.searchsorted(blocks, block)]  # (T,) in its block
    count, size = int(blocks[-1]) + 1, int(place.max()) + 1
    padded, owners = np.zeros((count, size), np.int64), np.full((count, size), -1)
    padded[block, place], owners[block, place] = token, owner
    # places without a token see one another: a row that sees nothing would be a nan
    visible = (owners[:, :, None] == owners[:, None]) & np.tri(size, dtype=bool)
    groups = copies if shared else copies * len(lengths)
    ends = groups * length + np.arange(copies)[:, None] * len(token) + stops - 1

    def index(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.ravel()).to(device)

    def mask(seen: np.ndarray) -> Tensor:
        return torch.from_numpy(np.where(seen, 0, -np.inf).astype(np.float32)).to(device)

    # blocks in the order (G, H, n), n of them behind each context
    own = mask(visible).repeat(copies, 1, 1).view(groups, 1, -1, size, size)
    return Layout(
        groups,
        copies,
        first_name=groups * length,
        ends=index(ends),
        padded=index(padded),
        packed=index(block * size + place),
        mask=own.expand(-1, heads, -1, -1, -1).reshape(-1, size, size),
        causal=mask(np.tri(length, 1 + length, 1, dtype=bool)),
    )


def _fill(lengths: np.ndarray, limit: int) -> np.ndarray:
    """(C,) the block of each name when blocks of `limit` rows are filled one after the other."""
    blocks, block, filled = np.empty(len(lengths), np.int64), 0, 0
    for i, length in enumerate(lengths):
        if filled + length > limit:
            block, filled = block + 1, 0
        blocks[i] = block
        filled += length
    return blocks
