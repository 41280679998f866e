"""Where the rows of learned contexts and of the names behind them stand, and which see which."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Rows of names in a sequence. More of them have more hidden pairs, fewer are more sequences, each
# with its context. The names of most data sets are one sequence, and then nothing has to be moved.
NAMES = 96


class Layout(NamedTuple):
    """K copies of all C names, T tokens, behind G contexts of M vectors; G is K, or K·C where each
    name has a context of its own.

    Packed, the R rows of every context are followed by those of its names. Attention sees S
    sequences of L rows, SOS before them: a context and as many whole names as fit, so that a
    context may stand in several. All of them come from one source, G·M contexts and the T tokens.
    """

    contexts: int  # G·M
    order: Tensor  # (R,) for each packed row its place in the source
    first: Tensor  # (S·L,) for each row of the sequences its place in the source
    padded: Tensor | None  # (S·L,) for each row of the sequences the packed one; None: the same
    packed: Tensor | None  # (R,) for each packed row one of the sequences; None: the same
    mask: Tensor  # (S·H or 1, 1+L, 1+L), added to scores: 0 on context and a name's own tokens
    ends: Tensor  # (K·C,) the packed rows that are EOT
    asked: Tensor  # (S·E,) the rows of the sequences that are, E of each; some are no EOT
    asked_mask: Tensor  # (S·H or 1, E, 1+L)
    answers: Tensor | None  # (K·C,) where each EOT is among those asked; None: all are, in order


def make_layout(
    sizes: Sequence[int],
    length: int,
    copies: int,
    heads: int,
    shared: bool,
    device: torch.device,
) -> Layout:
    """The layout of names with so many tokens behind K contexts of M = `length` vectors, or behind
    K for each name."""
    names, lengths, stops = np.arange(len(sizes)), np.array(sizes), np.cumsum(sizes)
    sequences = _fill(lengths, max(NAMES, lengths.max())) if shared else list(names[:, None])
    counts = np.array([lengths[own].sum() for own in sequences])
    contexts = length * (1 if shared else len(names))  # of one copy, as all of this
    shape = len(sequences), int(length + counts.max())  # (S, L)
    source, packed, owner = (np.full(shape, value) for value in (0, -1, 0))
    for i, own in enumerate(sequences):
        begin = 0 if shared else i * length
        tokens = np.arange(stops[own[0]] - lengths[own[0]], stops[own[-1]])
        stop = length + len(tokens)
        source[i, :length] = begin + np.arange(length)
        source[i, length:stop] = copies * contexts + tokens
        packed[i, :length] = begin + (0 if shared else tokens[0]) + np.arange(length)
        packed[i, length:stop] = begin + length + tokens
        if shared:
            owner[i, length:stop] = 1 + np.repeat(own, lengths[own])

    there, places = np.unique(packed, return_index=True)
    places = places[there >= 0]  # (R,) the first place of each packed row
    ends = length * (1 if shared else 1 + names) + stops - 1  # (C,) packed
    sequence, column = np.divmod(places[ends], shape[1])
    rank = names - np.searchsorted(sequence, sequence)
    asked = np.zeros((shape[0], rank.max() + 1), np.int64)
    asked[sequence, rank] = column
    # SOS and contexts are nobody's, 0, and are seen by all. So are places without a row: they come
    # last, and none that counts looks ahead.
    owner = np.pad(owner, ((0, 0), (1, 0)))
    hidden = (owner[:, None] != 0) & (owner[:, None] != owner[:, :, None])
    hidden |= ~np.tri(1 + shape[1], dtype=bool)
    asked_hidden = hidden[np.arange(shape[0])[:, None], 1 + asked]

    def index(one: np.ndarray, step: int | np.ndarray) -> Tensor:
        """For all copies, each so much further."""
        every = one.ravel() + np.arange(copies)[:, None] * np.ravel(step)
        return torch.from_numpy(every.ravel()).to(device)

    def mask(one: np.ndarray) -> Tensor:
        values = torch.zeros(one.shape).masked_fill_(torch.from_numpy(one), -torch.inf).to(device)
        if len(one) == 1:
            return values
        return values.repeat_interleave(heads, 0).repeat(copies, 1, 1)

    step = contexts * (source < copies * contexts)  # the names are in the source once
    rows, in_place = len(places), np.array_equal(places, np.arange(packed.size))
    all_asked = asked.size == len(names)
    return Layout(
        contexts=copies * contexts,
        order=index(source.ravel()[places], step.ravel()[places]),
        first=index(source, step),
        padded=None if in_place else index(packed.clip(0), rows),
        packed=None if in_place else index(places, packed.size),
        mask=mask(hidden if shared else hidden[:1]),
        ends=index(ends, rows),
        asked=index(asked + shape[1] * np.arange(shape[0])[:, None], packed.size),
        asked_mask=mask(asked_hidden),
        answers=None if all_asked else index(sequence * asked.shape[1] + rank, asked.size),
    )


def _fill(lengths: np.ndarray, limit: int) -> list[np.ndarray]:
    """The names of each sequence when sequences of `limit` rows are filled one after the other."""
    sequences: list[list[int]] = [[]]
    filled = 0
    for i, length in enumerate(lengths.tolist()):
        if filled + length > limit:
            sequences.append([])
            filled = 0
        sequences[-1].append(i)
        filled += length
    return [np.array(own) for own in sequences]
