"""Position embeddings for another grid of regions than the weights were trained with."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position embeddings (1 + s², E) for another grid: (1 + h·w, E).

    Bicubic, align_corners False, no antialiasing; the vector of the class (or mean) token is
    copied. As the official DualCoOp code does when it loads weights for another image size
    (clip/model.py, `resize_pos_embed`).
    """
    side = round((len(positions) - 1) ** 0.5)
    if (side, side) == tuple(grid):
        return positions
    assert side * side + 1 == len(positions), "the stored grid is square"
    spatial = positions[1:].T.reshape(1, -1, side, side)
    resized = F.interpolate(spatial, size=tuple(grid), mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], resized[0].flatten(1).T])
