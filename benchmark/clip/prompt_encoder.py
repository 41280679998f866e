"""Learned prompts through a CLIP text tower: exact, differentiable, and without work that cannot
change the result.

A prompt is [SOS][context 1..M][class name][.][EOT], and the feature is read at EOT (CoOp, Zhou et
al. 2022, section 3.2). In a causal tower a token sees only what stands before it. Hence, exactly:

* nothing behind EOT counts, so the padding to 77 tokens is never computed;
* SOS never changes: its query, key and value are constants of each layer;
* a context that all classes share is computed once, and the tokens of every name look back at it:
one sequence of all
  names behind one context, with a mask that hides the names from each other;
* in the last layer only EOT asks.

The rows of all prompts lie packed in one matrix for everything but attention. The frozen weights
are used where they are, without gradients. Any other tower (not causal, other pooling, Hugging
Face) takes the plain path.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.clip.frozen_blocks import FrozenBlock, attend, is_causal_clip, normalise, project

PLACEHOLDER = "X"  # one token in CLIP's vocabulary; stands where the learned vectors will be
NAMES_PER_SEQUENCE = 100  # behind one shared context; more classes are encoded in parts


class PromptEncoder:
    """Encodes one learned prompt per class: C classes, M context vectors of the tower's width W, D
    features.

    `model` is an open_clip model, `tokenizer` its tokenizer; underscores in class names become
    spaces. `plain=True` forces the plain path: every class on its own, at full length. Raises
    `ValueError` where a prompt does not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Callable[[list[str]], Tensor],
        classes: Sequence[str],
        suffix: str = ".",
        plain: bool = False,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.tower: Any = getattr(model, "text", model)  # CustomTextCLIP keeps its text tower apart
        self.embedding: nn.Embedding = getattr(self.tower, "token_embedding", None) or next(
            module for module in self.tower.modules() if isinstance(module, nn.Embedding)
        )
        self.texts = [name.replace("_", " ") + suffix for name in classes]
        self.plain = plain or not is_causal_clip(self.tower)
        if not self.plain:
            # [SOS][X][name][.][EOT][0]...
            tokens = tokenizer([f"{PLACEHOLDER} {text}" for text in self.texts])
            # EOT has the largest id
            self.suffixes = [row[2 : row.argmax() + 1] for row in tokens.numpy()]
            self.blocks = [FrozenBlock(block) for block in self.tower.transformer.resblocks]
            self.sos = self._constants_of_sos(tokens[0, :1])
            self.layouts: dict[tuple[int, ...], _Layout] = {}
            self.parts: list[PromptEncoder] = []

    def select(self, indices: Sequence[int]) -> "PromptEncoder":
        """The encoder of these classes alone, in this order."""
        chosen = copy.copy(self)
        chosen.texts = [self.texts[i] for i in indices]
        if not self.plain:
            chosen.suffixes = [self.suffixes[i] for i in indices]
            chosen.layouts, chosen.parts = {}, []
        return chosen

    @property
    def width(self) -> int:
        """W, the width of a context vector."""
        return self.embedding.embedding_dim

    def initial_context(self, text: str) -> Tensor:
        """The word vectors (M, W) of a text such as "a photo of a"; M is its number of tokens, not
        of its words."""
        if not is_causal_clip(self.tower):
            raise ValueError(
                "Only CLIP's own text tower can start a context with a text: leave the text empty."
            )
        tokens = self.tokenizer([text])[0]
        return self.embedding(tokens[1 : tokens.argmax()].to(self._device)).detach().clone()

    def __call__(self, context: Tensor) -> Tensor:
        """Features (C, D), not normalised, for a context that all classes share (M, W) or one per
        class (C, M, W)."""
        return self.encode(context)[0]

    def encode(self, *contexts: Tensor) -> tuple[Tensor, ...]:
        """As a call for each of several contexts of one shape, DualCoOp's two for example, in a
        single pass."""
        if contexts[0].dim() == 3 and len(contexts[0]) != len(self.texts):
            raise ValueError(
                f"The contexts are for {len(contexts[0])} classes, but there are {len(self.texts)}."
            )
        if self.plain:
            return tuple(self._encode_plainly(context) for context in contexts)
        if contexts[0].dim() == 2 and len(self.texts) > NAMES_PER_SEQUENCE:
            parts = [part.encode(*contexts) for part in self._parts()]
            return tuple(torch.cat(part) for part in zip(*parts, strict=True))
        prefixes = torch.stack(contexts)  # (K, M, W) or (K, C, M, W)
        key = prefixes.shape[:-1]
        if key not in self.layouts:
            self.layouts[key] = self._layout(
                len(contexts), prefixes.shape[-2], shared=prefixes.dim() == 3
            )
        return self._encode_packed(prefixes.flatten(0, -3), self.layouts[key]).chunk(len(contexts))

    def _parts(self) -> list["PromptEncoder"]:
        """Encoders of few classes each: attention over the names of one sequence grows with its
        square."""
        if not self.parts:
            count = -(-len(self.texts) // NAMES_PER_SEQUENCE)
            self.parts.extend(
                self.select(indices)
                for indices in np.array_split(np.arange(len(self.texts)), count)
            )
        return self.parts

    def _encode_packed(self, prefixes: Tensor, layout: "_Layout") -> Tensor:
        """Features (K·C, D) of G prefixes (G, M, W), each followed by the names that it serves."""
        groups, length, width = prefixes.shape
        position = self.tower.positional_embedding.detach()[1 : 1 + length]
        rows = torch.cat([(prefixes + position).view(-1, width), layout.embedded]).index_select(
            0, layout.order
        )
        for block, sos in zip(self.blocks, self.sos, strict=True):
            parts = block.project(rows)
            if layout.padded is not None:
                parts = parts.index_select(0, layout.padded)
            parts = parts.view(groups, -1, 3, block.heads, width // block.heads).permute(
                2, 0, 3, 1, 4
            )
            parts = torch.cat([sos.expand(-1, groups, -1, -1, -1), parts], 3).flatten(1, 2)
            query, key, value = parts  # (G·H, 1+L, d)
            if block is self.blocks[-1]:
                heads = torch.arange(len(query), device=self._device)[:, None]
                columns = layout.end_columns.repeat_interleave(block.heads, 0)  # (G·H, n)
                mixed = attend(query[heads, columns], key, value, layout.mask[columns])
                rows = rows.index_select(0, layout.ends)
            else:
                mixed = attend(query, key, value, layout.mask[None])[:, 1:]
            mixed = mixed.unflatten(0, (groups, -1)).transpose(1, 2).reshape(-1, width)
            if layout.padded is not None and block is not self.blocks[-1]:
                mixed = mixed.index_select(0, layout.packed)
            rows = block.finish(rows, mixed)
        return project(normalise(rows, self.tower.ln_final), self.tower.text_projection)

    @torch.no_grad()
    def _layout(self, copies: int, length: int, shared: bool) -> "_Layout":
        """Where the rows stand for K contexts of length M: all names behind each, or each name
        behind its own."""
        sequences = (
            [self.suffixes] * copies if shared else [[suffix] for suffix in self.suffixes] * copies
        )
        longest = max(len(suffix) for suffix in self.suffixes)
        limit = len(self.tower.positional_embedding)
        if 1 + length + longest > limit:
            raise ValueError(
                f"{length} context vectors, a class name and its period make "
                f"{1 + length + longest} tokens, but the "
                f"text tower has {limit}: take a shorter context or class name."
            )
        names = [suffix for sequence in sequences for suffix in sequence]
        positions = np.concatenate([1 + length + np.arange(len(suffix)) for suffix in names])
        # (G,) rows of each sequence
        counts = np.array([length + sum(map(len, sequence)) for sequence in sequences])
        inside = np.arange(counts.max()) < counts[:, None]  # (G, L)
        is_name = np.broadcast_to(np.arange(counts.max()) >= length, inside.shape)[inside]
        order = np.empty(len(is_name), dtype=np.int64)  # rows come as [all prefixes; all names]
        order[~is_name] = np.arange(length * len(sequences))
        order[is_name] = length * len(sequences) + np.arange(len(positions))
        end_columns = length + np.array(
            [np.cumsum([len(suffix) for suffix in sequence]) for sequence in sequences]
        )
        first = counts.cumsum() - counts
        # A row sees the rows before it that belong to the context (0) or to its own name.
        owner = np.zeros(1 + counts.max(), dtype=np.int64)
        if shared:
            owner[1 + length :] = np.repeat(
                1 + np.arange(len(self.texts)), [len(suffix) for suffix in self.suffixes]
            )
        visible = np.tri(len(owner), dtype=bool) & ((owner == 0) | (owner == owner[:, None]))
        ragged = not inside.all()
        return _Layout(
            embedded=self._embed(
                torch.from_numpy(np.concatenate(names)), torch.from_numpy(positions)
            ),
            order=self._index(order),
            padded=self._index(inside.ravel().cumsum() - 1) if ragged else None,
            packed=self._index(np.flatnonzero(inside)) if ragged else None,
            ends=self._index((end_columns - 1 + first[:, None]).ravel()),
            end_columns=self._index(end_columns),
            mask=torch.from_numpy(np.where(visible, 0, -np.inf).astype(np.float32)).to(
                self._device
            ),
        )

    def _encode_plainly(self, context: Tensor) -> Tensor:
        """The model's own forward pass on placeholders, whose word vectors are exchanged on the
        way."""
        length = context.shape[-2]
        bare = self.tokenizer(self.texts)
        single = self.tokenizer([f"{PLACEHOLDER} {text}" for text in self.texts])
        # (C, L)
        tokens = self.tokenizer([" ".join([PLACEHOLDER] * length + [text]) for text in self.texts])
        # 1 behind SOS, 0 for tokenizers without it
        start = int((bare[0] != single[0]).nonzero()[0])
        kept = single[:, start + 1 : tokens.shape[1] - length + 1]
        if not (tokens[:, start : start + length] == single[0, start]).all():
            raise ValueError(
                f"This tokenizer does not keep {PLACEHOLDER!r} as one token: there is no place "
                f"for a context."
            )
        if not torch.equal(tokens[:, start + length :], kept):
            raise ValueError(
                f"{length} context vectors and a class name do not fit into {tokens.shape[1]} "
                f"tokens."
            )
        vectors = context.expand(len(self.texts), -1, -1)

        def exchange(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            return torch.cat([output[:, :start], vectors, output[:, start + length :]], 1)

        handle = self.embedding.register_forward_hook(exchange)
        try:
            return self.model.encode_text(tokens.to(self._device))
        finally:
            handle.remove()

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """What the tower's first layer gets (L, W) for tokens (L,) at these positions (L,)."""
        position = self.tower.positional_embedding[positions.to(self._device)]
        return (self.embedding(tokens.to(self._device)) + position).detach()

    @torch.no_grad()
    def _constants_of_sos(self, token: Tensor) -> list[Tensor]:
        """The query, key and value (3, 1, H, 1, d) of SOS for each layer; it sees nothing but
        itself."""
        row = self._embed(token, torch.zeros(1, dtype=torch.int64))
        constants = []
        for block in self.blocks:
            parts = block.project(row)
            constants.append(parts.view(3, 1, block.heads, 1, -1))
            row = block.finish(row, parts[:, -row.shape[1] :])
        return constants

    def _index(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    @property
    def _device(self) -> torch.device:
        return self.embedding.weight.device


class _Layout(NamedTuple):
    """Where rows stand: R packed rows are G sequences of up to L rows, n names in each; SOS is
    column 0."""

    embedded: Tensor  # (T, W) the input of the first layer for all T tokens of the names
    order: Tensor  # (R,) for each packed row its place in [prefixes; names]
    # (G·L,) packed row for each padded one; None where all sequences are equally long
    padded: Tensor | None
    packed: Tensor | None  # (R,) padded row for each packed one
    ends: Tensor  # (G·n,) packed rows of EOT
    end_columns: Tensor  # (G, n) the columns of EOT
    mask: Tensor  # (1+L, 1+L), added to the scores
