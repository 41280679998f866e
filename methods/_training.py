"""What training both towers of CLIP needs: a whole batch of texts in one causal pass."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmark import upload
from benchmark.clip.open_clip_types import Model


def encode_texts(
    model: Model, tokenizer: Callable[[list[str]], Tensor], texts: list[str]
) -> Tensor:
    """Text features (P, D) of P texts, not normalised, equal to `model.encode_text` and
    differentiable everywhere.

    In CLIP's causal tower a token sees only what stands before it, so texts that begin alike ("a
    photo of a") share their first rows, and padding never counts. All distinct prefixes of the
    batch form a tree (`prefix_tree`) that runs through the tower as one sequence in which every
    token attends to its ancestors. Other towers take the plain path.
    """
    tokens = tokenizer(texts)
    device = model.token_embedding.weight.device if hasattr(model, "token_embedding") else None
    if device is None or model.attn_mask is None or model.text_pool_type != "argmax":
        return model.encode_text(tokens.to(next(model.parameters()).device))
    nodes, depths, visible, ends = (upload(array, device) for array in prefix_tree(tokens.numpy()))
    mask = torch.zeros(visible.shape, device=device).masked_fill_(~visible, float("-inf"))
    x = model.token_embedding(nodes) + model.positional_embedding[depths]  # (nodes, W)
    x = model.transformer(x[None], attn_mask=mask)[0]
    x = model.ln_final(x[ends])
    projection = model.text_projection
    features: Tensor = projection(x) if isinstance(projection, nn.Linear) else x @ projection
    return features


def prefix_tree(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The distinct prefixes of token rows (P, L), each row read up to its end token, the one with
    the largest id.

    Returns, for T prefixes: last token (T,), its position (T,), visible (T, T) bool (a prefix sees
    its own prefixes and itself), and the index of each row's whole text (P,).
    """
    index: dict[tuple[int, int], int] = {}  # (parent, token) -> node
    parents: list[int] = []
    ends: list[int] = []
    for row in tokens:
        node = -1
        for token in row[: row.argmax() + 1].tolist():
            key = (node, token)
            if key not in index:
                index[key] = len(parents)
                parents.append(node)
            node = index[key]
        ends.append(node)
    visible = np.eye(len(parents), dtype=bool)
    depths = np.zeros(len(parents), np.int64)
    for node, parent in enumerate(parents):  # parents come before their children
        if parent >= 0:
            visible[node] |= visible[parent]
            depths[node] = depths[parent] + 1
    return np.array([token for _, token in index]), depths, visible, np.array(ends)
