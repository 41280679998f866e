"""Region features and position embeddings of CLIP's two image towers, as plain functions on
open_clip modules.

Values are raw (not normalised). B images, h × w positions, R = h·w + 1 regions (the mean token
first), E width of the tower, D joint embedding width.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmark.clip import torchvision_shim  # noqa: F401  (must come before open_clip)
from benchmark.clip.position_embeddings import resize_positions

# isort: split
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer


def set_image_size(visual: nn.Module, size: int) -> None:
    """Makes the tower take size × size images: position embeddings are resized once, in place."""
    if isinstance(visual, ModifiedResNet):
        owner, grid = visual.attnpool, (size // 32, size // 32)
        visual.image_size = size
    elif isinstance(visual, VisionTransformer):
        owner, grid = visual, (size // visual.patch_size[0], size // visual.patch_size[1])
        visual.image_size, visual.grid_size = (size, size), grid
    else:
        raise ValueError(
            f"{type(visual).__name__} cannot be resized here: leave out the @size of this encoder"
        )
    with torch.no_grad():
        positions = resize_positions(owner.positional_embedding, grid)
    owner.positional_embedding = nn.Parameter(
        positions.clone(), requires_grad=owner.positional_embedding.requires_grad
    )


def feature_map(visual: ModifiedResNet, images: Tensor) -> Tensor:
    """The last feature map (B, E, h, w) of (B, 3, H, W) images."""
    x: Tensor = visual.stem(images)
    x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(x))))
    return x


def pool_tokens(pool: AttentionPool2d, x: Tensor) -> Tensor:
    """What the attention pool sees, (B, R, E): mean token, then positions row by row, plus position
    embeddings."""
    tokens = x.flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
    return tokens + resize_positions(pool.positional_embedding, (x.shape[-2], x.shape[-1]))


def dense_pool(pool: AttentionPool2d, x: Tensor) -> Tensor:
    """DualCoOp's dense features of a feature map (B, E, h, w): (B, R, D).

    Each token goes through the pool's own value and output projections (two 1×1 convolutions). The
    softmax attention, which the official code also evaluates, has no influence and is left out.
    """
    regions: Tensor = pool.c_proj(pool.v_proj(pool_tokens(pool, x)))
    return regions


def attention_pool(pool: AttentionPool2d, x: Tensor) -> Tensor:
    """CLIP's ordinary pooled feature of a feature map (B, E, h, w): (B, D).

    Exact, but only the mean token asks: with one query per head, keys and values need not be
    projected token by token; the query is carried through the key projection, and the weighted mean
    token through the value projection.
    """
    tokens = pool_tokens(pool, x)  # (B, R, E)
    batch, _, width = tokens.shape
    heads, size = pool.num_heads, width // pool.num_heads
    query = (pool.q_proj(tokens[:, 0]) * size**-0.5).view(batch, heads, size)
    # its bias adds a constant per head: softmax drops it
    key_weight = pool.k_proj.weight.view(heads, size, width)
    weights = torch.einsum("bhs,hse,bre->bhr", query, key_weight, tokens).softmax(-1)
    pooled = torch.einsum("bhr,bre->bhe", weights, tokens)
    value_weight = pool.v_proj.weight.view(heads, size, width)
    values = torch.einsum("bhe,hse->bhs", pooled, value_weight).flatten(1) + pool.v_proj.bias
    feature: Tensor = pool.c_proj(values)
    return feature


def transformer_regions(visual: VisionTransformer, images: Tensor) -> Tensor:
    """Dense features of a ViT (B, R, D): the value path of the last block, as MaskCLIP does (Zhou
    et al. 2022, §3.2).

    Patch tokens go through all blocks but the last; there through layer norm, value and output
    projection of its attention, without attention, residual and MLP, in analogy to the attention
    pool of the ResNets; then through the tower's final layer norm and projection. The mean token is
    the mean over patches before that layer norm (attention with uniform weights over the patches).
    """
    block = visual.transformer.resblocks[-1]
    if type(block) is not ResidualAttentionBlock or visual.attn_pool is not None:
        raise ValueError(
            "region features need a ModifiedResNet or CLIP's own ViT; choose RN50 or ViT-B-16"
        )
    patches = visual.conv1(images)
    grid = patches.shape[-2:]
    tokens = patches.flatten(2).transpose(1, 2)
    tokens = torch.cat([visual.class_embedding.expand(len(tokens), 1, -1), tokens], dim=1)
    tokens = visual.ln_pre(tokens + resize_positions(visual.positional_embedding, grid))
    for earlier in visual.transformer.resblocks[:-1]:
        tokens = earlier(tokens)
    width = tokens.shape[-1]
    attention = block.attn
    weight, bias = attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
    values = F.linear(block.ln_1(tokens[:, 1:]), weight, bias)
    values = block.ls_1(attention.out_proj(values))
    values = torch.cat([values.mean(1, keepdim=True), values], dim=1)
    regions: Tensor = visual.ln_post(values) @ visual.proj
    return regions


def dense_features(visual: nn.Module, images: Tensor) -> Tensor:
    """Raw region features (B, R, D) of (B, 3, H, W) normalised images, mean token first."""
    if isinstance(visual, ModifiedResNet):
        return dense_pool(visual.attnpool, feature_map(visual, images))
    if isinstance(visual, VisionTransformer):
        return transformer_regions(visual, images)
    raise ValueError(
        f"region features need a ModifiedResNet or a vision transformer of CLIP, not "
        f"{type(visual).__name__}; "
        "choose an encoder such as RN50/openai or ViT-B-16/openai"
    )


def global_features(visual: nn.Module, images: Tensor) -> Tensor:
    """Raw image embeddings (B, D) of (B, 3, H, W) normalised images."""
    if isinstance(visual, ModifiedResNet):
        return attention_pool(visual.attnpool, feature_map(visual, images))
    features: Tensor = visual(images)
    return features


def frozen_copy(visual: nn.Module) -> nn.Module:
    """The same function, faster: batch norm folded into convolutions, channels last. For inference
    only."""
    visual = copy.deepcopy(visual).eval()
    if not isinstance(visual, ModifiedResNet):
        return visual
    for module in visual.modules():
        for i in (1, 2, 3):
            if hasattr(module, f"conv{i}") and hasattr(module, f"bn{i}"):
                setattr(
                    module,
                    f"conv{i}",
                    fuse_conv_bn_eval(getattr(module, f"conv{i}"), getattr(module, f"bn{i}")),
                )
                setattr(module, f"bn{i}", nn.Identity())
        if getattr(module, "downsample", None) is not None:
            convolution, norm = module.downsample[1], module.downsample[2]
            module.downsample = nn.Sequential(
                module.downsample[0], fuse_conv_bn_eval(convolution, norm)
            )
    frozen: nn.Module = visual.to(memory_format=torch.channels_last)
    return frozen
