"""Learned prompts through a CLIP text tower: exact, differentiable, and without work that cannot
change the result.

A prompt is [SOS][context 1..M][class name][.][EOT], and the feature is read at EOT (CoOp, Zhou et
al. 2022, section 3.2). In a causal tower a token sees only what stands before it. Hence, exactly:

* nothing behind EOT counts, so the padding to 77 tokens is never computed;
* SOS never changes: its query, key and value are constants of each layer;
* a context that all classes share is computed once, and the tokens of every name look back at it;
* what the first layer projects from the tokens of the names is constant;
* behind the last layer's attention only EOT goes on.

The rows of all prompts lie packed in one matrix, contexts first, for everything but attention. The
frozen weights get no gradients. Every other tower (not causal, other pooling, Hugging Face) takes
the plain path.
"""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.clip.frozen_blocks import FrozenTower, compute, frozen_tower, is_causal_clip
from benchmark.clip.open_clip_types import Model, TextTower
from benchmark.clip.prompt_attention import mix, mix_ends
from benchmark.clip.prompt_layout import Layout, make_layout

PLACEHOLDER = "X"  # one token in CLIP's vocabulary; stands where the learned vectors will be
KEPT = 450_000_000  # bytes that a step keeps for its way back on a CPU; more is computed again


class PromptEncoder:
    """Encodes one learned prompt per class: C classes, M context vectors of the tower's width W, D
    features.

    `model` is an open_clip model, `tokenizer` its tokenizer; underscores in class names become
    spaces. `plain=True` forces the plain path: every class on its own, at full length. `frozen`
    is the model's text tower where the one that all encoders share is not wanted. Raises
    `ValueError` where a prompt does not fit.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Callable[[list[str]], Tensor],
        classes: Sequence[str],
        suffix: str = ".",
        plain: bool = False,
        frozen: FrozenTower | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        # CustomTextCLIP keeps its text tower apart
        self.tower: TextTower = getattr(model, "text", model)
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
            self.frozen = frozen_tower(self.tower) if frozen is None else frozen
            self.sos = self.frozen.constants_of(
                self._embed(tokens[0, :1].numpy(), np.zeros(1, int))
            )
            self.layouts: dict[torch.Size, Layout] = {}
            self.names: dict[int, tuple[Tensor, Tensor]] = {}

    def select(self, indices: Sequence[int] | np.ndarray) -> "PromptEncoder":
        """The encoder of these classes alone, in this order."""
        chosen = copy.copy(self)
        chosen.texts = [self.texts[i] for i in indices]
        if not self.plain:
            chosen.suffixes = [self.suffixes[i] for i in indices]
            chosen.layouts, chosen.names = {}, {}
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
        words: Tensor = self.embedding(tokens[1 : tokens.argmax()].to(self._device))
        return words.detach().clone()

    def __call__(self, context: Tensor) -> Tensor:
        """Features (C, D), not normalised, for a context that all classes share (M, W) or one per
        class (C, M, W)."""
        return self.encode(context)[0]

    def encode(self, *contexts: Tensor) -> tuple[Tensor, ...]:
        """As a call for each of several contexts of one shape, DualCoOp's two for example, in a
        single pass."""
        return self.encode_stack(torch.stack(contexts)).unbind()

    def encode_stack(self, contexts: Tensor) -> Tensor:
        """Features (K, C, D) for K contexts that all classes share (K, M, W), or one per class (K,
        C, M, W)."""
        if contexts.dim() == 4 and contexts.shape[1] != len(self.texts):
            raise ValueError(
                f"The contexts are for {contexts.shape[1]} classes, but there are "
                f"{len(self.texts)}."
            )
        if self.plain:
            return torch.stack([self._encode_plainly(context) for context in contexts])
        return self._encode_packed(contexts).view(len(contexts), len(self.texts), -1)

    def bytes_a_context(self, shape: torch.Size) -> int:
        """About what the way back needs for one context (M, W) or (C, M, W)."""
        if self.plain:
            return 77 * len(self.texts) * self.width * 4 * 200  # a dozen layers of 16 widths
        rows = shape[:-1].numel() + sum(map(len, self.suffixes))
        return len(self.frozen.blocks) * self._bytes_a_block(rows)

    def _encode_packed(self, contexts: Tensor) -> Tensor:
        """Features (K·C, D) of contexts (K, M, W), each before all names, or (K, C, M, W), each
        before its own."""
        length, width = contexts.shape[-2:]
        layout = self._layout(contexts.shape[:-1])
        position = self.tower.positional_embedding.detach()[1 : 1 + length]
        names, _ = self._names(length)
        source = torch.cat([(contexts + position).view(-1, width), names])
        rows = source.index_select(0, layout.order)  # (R, W)
        kept = self._kept_blocks(len(rows))
        for i, block in enumerate(self.frozen.blocks):
            mixed = compute(self._mix, i, rows if i else source, layout, length, keep=i < kept)
            if block is self.frozen.blocks[-1]:
                rows = rows.index_select(0, layout.ends)
            rows = block.finish(rows, mixed, keep=i < kept)
        return self.frozen.project(rows)

    def _mix(self, i: int, rows: Tensor, layout: Layout, length: int) -> Tensor:
        """What attention gathers in block i for packed rows (R, W), in the first block for the
        source: of all of them, or in the last block of EOT alone."""
        block = self.frozen.blocks[i]
        if i == 0:
            _, projected = self._names(length)
            parts = torch.cat([block.project(rows[: layout.contexts]), projected])
            parts = parts.index_select(0, layout.first)
        else:
            parts = block.project(rows)
            if layout.padded is not None:
                parts = parts.index_select(0, layout.padded)
        last = i + 1 == len(self.frozen.blocks)
        return (mix_ends if last else mix)(parts, self.sos[i], layout)

    def _kept_blocks(self, rows: int) -> int:
        """How many blocks can keep all that their way back needs; on a GPU all of them."""
        if self._device.type == "cuda":
            return len(self.frozen.blocks)
        return KEPT // self._bytes_a_block(rows)

    def _bytes_a_block(self, rows: int) -> int:
        return 4 * rows * (self.frozen.blocks[0].hidden + 8 * self.width)

    def _layout(self, shape: torch.Size) -> Layout:
        """Where the rows stand for contexts (K, M) or (K, C, M); raises `ValueError` where a prompt
        is too long."""
        if shape not in self.layouts:
            sizes = [len(suffix) for suffix in self.suffixes]
            needed, limit = 1 + shape[-1] + max(sizes), len(self.tower.positional_embedding)
            if needed > limit:
                raise ValueError(
                    f"{shape[-1]} context vectors, a class name and its period make {needed} "
                    f"tokens, but the text tower has {limit}: take a shorter context or class name."
                )
            heads, shared = self.frozen.blocks[0].heads, len(shape) == 2
            self.layouts[shape] = make_layout(
                sizes, shape[-1], shape[0], heads, shared, self._device
            )
        return self.layouts[shape]

    @torch.no_grad()
    def _names(self, length: int) -> tuple[Tensor, Tensor]:
        """What the first layer gets of the names' T tokens behind M vectors (T, W), and what it
        projects (T, 3·W)."""
        if length not in self.names:
            positions = [1 + length + np.arange(len(suffix)) for suffix in self.suffixes]
            rows = self._embed(np.concatenate(self.suffixes), np.concatenate(positions))
            self.names[length] = rows, self.frozen.blocks[0].project(rows)
        return self.names[length]

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

    @torch.no_grad()
    def _embed(self, tokens: np.ndarray, positions: np.ndarray) -> Tensor:
        """What the tower's first layer gets (L, W) for tokens (L,) at these positions (L,)."""
        token, position = (torch.from_numpy(ids).to(self._device) for ids in (tokens, positions))
        rows: Tensor = self.embedding(token) + self.tower.positional_embedding[position]
        return rows

    @property
    def _device(self) -> torch.device:
        return self.embedding.weight.device
