"""CLIP's text tower with frozen weights, on packed rows: its layers in order, without gradients of
its own."""

import weakref
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import benchmark.clip.torchvision_shim  # noqa: F401  (before open_clip)
from benchmark.clip.frozen_linear import FrozenLinear
from benchmark.clip.open_clip_types import TextTower

from open_clip.transformer import QuickGELU, ResidualAttentionBlock  # isort: skip


class FrozenBlock:
    """A residual attention block with frozen weights, on packed rows."""

    def __init__(self, module: ResidualAttentionBlock, pack: bool = True) -> None:
        self.module, self.heads = module, module.attn.num_heads
        # x·σ(1.702·x) is silu(1.702·x) / 1.702; torch has silu in one piece, and the factors cost
        # less inside the products.
        quick = isinstance(module.mlp.gelu, QuickGELU)
        self.activate: Callable[[Tensor], Tensor] = F.silu if quick else module.mlp.gelu
        slope = 1.702 if quick else 1.0
        attention, up, down = module.attn, module.mlp.c_fc, module.mlp.c_proj
        out = attention.out_proj
        self.into = FrozenLinear(attention.in_proj_weight, attention.in_proj_bias, pack=pack)
        self.out = FrozenLinear(out.weight, out.bias, pack=pack)
        self.up = FrozenLinear(up.weight, slope * up.bias, slope, pack)
        self.down = FrozenLinear(down.weight, down.bias, 1 / slope, pack)

    @property
    def hidden(self) -> int:
        """The width between the two layers of the perceptron."""
        return self.up.weight.shape[0]

    def project(self, rows: Tensor) -> Tensor:
        """Queries, keys and values (R, 3·W)."""
        return self.into(normalise(rows, self.module.ln_1))

    def finish(self, rows: Tensor, mixed: Tensor, keep: bool = True) -> Tensor:
        """What the block makes of its input and of the values that attention has mixed, both (R,
        W); `keep` as in `compute`."""
        rows = rows + self.out(mixed)
        return rows + compute(self._perceptron, rows, keep=keep)

    def _perceptron(self, rows: Tensor) -> Tensor:
        return self.down(self.activate(self.up(normalise(rows, self.module.ln_2))))


class FrozenTower:
    """The blocks, the last norm and the projection of CLIP's text tower.

    Raises nothing and checks nothing: `is_causal_clip` says which modules it is for.
    """

    def __init__(self, module: TextTower, pack: bool = True) -> None:
        self.blocks = [FrozenBlock(block, pack) for block in module.transformer.resblocks]
        self.norm = module.ln_final
        projection = module.text_projection
        self.projection: FrozenLinear | None = None
        if isinstance(projection, nn.Linear):
            self.projection = FrozenLinear(projection.weight, projection.bias, pack=pack)
        elif projection is not None:  # a matrix (W, D)
            self.projection = FrozenLinear(projection.T, pack=pack)

    def project(self, rows: Tensor) -> Tensor:
        """Features (n, D) of the last block's rows (n, W)."""
        rows = normalise(rows, self.norm)
        return rows if self.projection is None else self.projection(rows)

    @torch.no_grad()
    def constants_of(self, row: Tensor) -> list[Tensor]:
        """The query, key and value (3, 1, H, 1, d) in each block of a first token (1, W), which
        sees nothing but itself."""
        constants = []
        for block in self.blocks:
            parts = block.project(row)
            constants.append(parts.view(3, 1, block.heads, 1, -1))
            row = block.finish(row, parts[:, -row.shape[1] :])
        return constants


_TOWERS: weakref.WeakKeyDictionary[nn.Module, tuple[object, FrozenTower]] = (
    weakref.WeakKeyDictionary()
)


def frozen_tower(module: TextTower) -> FrozenTower:
    """The tower of this module, packed once for all who ask, and again when its weights have
    changed since."""
    weights = [(value.data_ptr(), value._version) for value in module.parameters()]
    state = (torch.get_num_threads(), *weights)
    if module not in _TOWERS or _TOWERS[module][0] != state:
        _TOWERS[module] = state, FrozenTower(module)
    return _TOWERS[module][1]


def compute(function: Callable[..., Tensor], *arguments: object, keep: bool) -> Tensor:
    """function(*arguments), whose intermediate values are kept for the way back or, with `keep`
    false, computed again."""
    if keep or not torch.is_grad_enabled():
        return function(*arguments)
    result: Tensor = checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)
    return result


def normalise(rows: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Through a frozen layer norm."""
    return F.layer_norm(
        rows, norm.normalized_shape, norm.weight.detach(), norm.bias.detach(), norm.eps
    )


def is_causal_clip(tower: nn.Module) -> bool:
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
