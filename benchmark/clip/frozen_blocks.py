"""The frozen layers of CLIP's text tower on packed rows: its own weights, used in place, without
their gradients."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import benchmark.clip.torchvision_shim  # noqa: F401  (before open_clip)

from open_clip.transformer import QuickGELU, ResidualAttentionBlock  # isort: skip


class FrozenBlock:
    """A residual attention block with frozen weights, on packed rows."""

    def __init__(self, module: ResidualAttentionBlock) -> None:
        self.module, self.heads = module, module.attn.num_heads
        # x·σ(1.702·x) is silu(1.702·x) / 1.702; torch has silu in one piece, and the factors cost
        # less further out.
        quick = isinstance(module.mlp.gelu, QuickGELU)
        self.activate, self.slope = (F.silu, 1.702) if quick else (module.mlp.gelu, 1.0)

    def project(self, rows: Tensor) -> Tensor:
        """Queries, keys and values (R, 3·W)."""
        attention = self.module.attn
        weight, bias = attention.in_proj_weight.detach(), attention.in_proj_bias.detach()
        return F.linear(normalise(rows, self.module.ln_1), weight, bias)

    def finish(self, rows: Tensor, mixed: Tensor) -> Tensor:
        """What the block makes of its input and of the values that attention has mixed, both (R,
        W)."""
        into, back = self.module.mlp.c_fc, self.module.mlp.c_proj
        rows = rows + project(mixed, self.module.attn.out_proj)
        normal = normalise(rows, self.module.ln_2)
        hidden = torch.addmm(
            self.slope * into.bias.detach(), normal, into.weight.detach().T, alpha=self.slope
        )
        change = self.activate(hidden) @ back.weight.detach().T
        return torch.add(rows + back.bias.detach(), change, alpha=1 / self.slope)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """(G·H, Q, d) queries to (G·H, 1+L, d) keys and values."""
    scores = torch.baddbmm(mask, query, key.mT, alpha=query.shape[-1] ** -0.5)
    return scores.softmax(-1) @ value


def normalise(rows: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Through a frozen layer norm."""
    return F.layer_norm(
        rows, norm.normalized_shape, norm.weight.detach(), norm.bias.detach(), norm.eps
    )


def project(rows: Tensor, projection: nn.Linear | Tensor | None) -> Tensor:
    """Through a frozen linear layer, a matrix (W, D), or nothing."""
    if projection is None:
        return rows
    if isinstance(projection, Tensor):
        return rows @ projection.detach()
    bias = projection.bias
    return F.linear(rows, projection.weight.detach(), None if bias is None else bias.detach())


def is_causal_clip(tower: Any) -> bool:
    """Whether the tower is CLIP's text transformer, read at EOT, in the form that the fast path
    knows."""
    pooling = getattr(tower, "text_pool_type", getattr(tower, "pool_type", ""))
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", [])
    return (
        getattr(tower, "attn_mask", None) is not None
        and getattr(tower, "cls_emb", None) is None
        and pooling in ("argmax", "eos")
        and len(blocks) > 0
        and all(
            type(block) is ResidualAttentionBlock and isinstance(block.ls_1, nn.Identity)
            for block in blocks
        )
    )
