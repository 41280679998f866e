"""Forward passes used for pretraining: truncated prompts, and image features together with region
features.

They equal open_clip's own passes (a test compares them) but skip padding tokens and dead attention,
accept canvases smaller than the model's image size, and return the projected regions that carry the
region loss.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.clip.open_clip_types import ImageTower, Model, ResNet, VisionTransformer


def text_features(model: Model, ids: Tensor) -> Tensor:
    """Unit-norm features (P, D) of padded prompts `ids` (P, L) whose largest id marks the end; L
    may be below 77."""
    length = ids.shape[1]
    assert model.attn_mask is not None, "the text tower is causal"
    x = model.token_embedding(ids) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x[torch.arange(len(x)), ids.argmax(-1)])
    return F.normalize(x @ model.text_projection, dim=-1)


def image_features(
    visual: ImageTower, pixels: Tensor, offset: tuple[int, int] = (0, 0)
) -> tuple[Tensor, Tensor]:
    """Unit-norm features (B, D) of images and (B, R, D) of their regions, row by row.

    `pixels` (B, 3, S, S) may be smaller than the model's images; `offset` then places it on the
    grid of a ViT's positional embeddings. Regions are projected values without attention: for a
    ResNet output(value(x)) of the attention pool, for a ViT the value path of the last block (no
    attention, no residual, no MLP); these are the regions that `benchmark.clip.image_tower` serves.
    """
    if hasattr(visual, "attnpool"):
        pooled, regions = _resnet(cast(ResNet, visual), pixels)
    else:
        pooled, regions = _transformer(cast(VisionTransformer, visual), pixels, offset)
    return F.normalize(pooled, dim=-1), F.normalize(regions, dim=-1)


def _resnet(visual: ResNet, pixels: Tensor) -> tuple[Tensor, Tensor]:
    x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels)))))
    side, pool = x.shape[-1], visual.attnpool
    x = x.flatten(2).transpose(1, 2)  # (B, R, W)
    position: Tensor = pool.positional_embedding
    full = round((len(position) - 1) ** 0.5)
    if side != full:
        grid = position[1:].T.reshape(1, -1, full, full)
        grid = F.interpolate(grid, size=(side, side), mode="bilinear", align_corners=False)
        position = torch.cat([position[:1], grid.flatten(2)[0].T])
    x = torch.cat([x.mean(1, keepdim=True), x], 1) + position  # (B, 1 + R, W)
    query, key, value = pool.q_proj(x[:, :1]), pool.k_proj(x), pool.v_proj(x)
    attended = _attend(query, key, value, pool.num_heads)
    projected = pool.c_proj(torch.cat([attended, value[:, 1:]], 1))
    return projected[:, 0], projected[:, 1:]


def _transformer(
    visual: VisionTransformer, pixels: Tensor, offset: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    x = visual.conv1(pixels)  # (B, W, side, side)
    side, position = x.shape[-1], visual.positional_embedding
    full = round((len(position) - 1) ** 0.5)
    grid = position[1:].view(full, full, -1)[
        offset[0] : offset[0] + side, offset[1] : offset[1] + side
    ]
    x = x.flatten(2).transpose(1, 2) + grid.reshape(side * side, -1)
    start = (visual.class_embedding + position[0]).expand(len(x), 1, -1)
    x = visual.ln_pre(torch.cat([start, x], 1))
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        x = block(x)
    query, key, value = F.linear(
        last.ln_1(x), last.attn.in_proj_weight, last.attn.in_proj_bias
    ).chunk(3, -1)
    attended = _attend(query[:, :1], key, value, last.attn.num_heads)
    attended, regions = last.attn.out_proj(torch.cat([attended, value[:, 1:]], 1)).split(
        (1, side * side), 1
    )
    pooled = x[:, :1] + attended
    pooled = pooled + last.mlp(last.ln_2(pooled))
    projected = visual.ln_post(torch.cat([pooled, regions], 1)) @ visual.proj
    return projected[:, 0], projected[:, 1:]


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Multi-head attention of (B, Q, W) queries over (B, K, W) keys and values."""
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
