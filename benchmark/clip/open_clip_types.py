"""What the suite uses of open_clip's modules, which say no types.

Annotations only: no object of these classes is ever made. What open_clip returns is annotated with
them where it is taken.
"""

from torch import Tensor, nn


class Block(nn.Module):
    """ResidualAttentionBlock."""

    ln_1: nn.LayerNorm
    attn: nn.MultiheadAttention
    ln_2: nn.LayerNorm
    mlp: nn.Sequential
    ls_1: nn.Module


class Blocks(nn.Module):
    """Transformer."""

    resblocks: list[Block]


class ImageTower(nn.Module):
    """Of any kind."""

    image_size: int | tuple[int, int]
    output_dim: int


class AttentionPool(nn.Module):
    """AttentionPool2d: R² + 1 positions, the mean token first."""

    positional_embedding: nn.Parameter
    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    c_proj: nn.Linear
    num_heads: int


class ResNet(ImageTower):
    """ModifiedResNet."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential
    attnpool: AttentionPool

    def stem(self, images: Tensor) -> Tensor:
        raise NotImplementedError


class VisionTransformer(ImageTower):
    """VisionTransformer; its class token stands first."""

    conv1: nn.Conv2d
    class_embedding: nn.Parameter
    positional_embedding: nn.Parameter
    ln_pre: nn.LayerNorm
    transformer: Blocks
    ln_post: nn.LayerNorm
    proj: nn.Parameter
    grid_size: tuple[int, int]
    patch_size: tuple[int, int]


class TextTower(nn.Module):
    """CLIP's own, causal and read at the end token."""

    token_embedding: nn.Embedding
    positional_embedding: nn.Parameter
    transformer: Blocks
    attn_mask: Tensor | None
    ln_final: nn.LayerNorm
    text_pool_type: str
    text_projection: nn.Parameter | nn.Linear | None


class Model(TextTower):
    """CLIP, which is its own text tower; a CustomTextCLIP has another one in `text`."""

    visual: ImageTower
    logit_scale: nn.Parameter

    def encode_image(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def encode_text(self, tokens: Tensor) -> Tensor:
        raise NotImplementedError
