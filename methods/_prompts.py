"""Learned contexts before the class names, of CoOp, DualCoOp and their relatives."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import Clip


class Prompts:
    """K learned contexts of M vectors before the class names; `context` is (K, M, W), or (K, C, M,
    W) class-specific.

    They start as N(0, 0.02²), or as the word vectors of `texts`, one per context, which then
    determine M.
    """

    def __init__(
        self,
        clip: Clip,
        classes: tuple[str, ...],
        texts: tuple[str, ...],
        length: int,
        class_specific: bool,
    ) -> None:
        self.clip, self.classes, self.class_specific = clip, classes, class_specific
        self.encoder = clip.prompts(classes)
        self.cache: dict[tuple[str, ...], tuple[Tensor, ...]] = {}
        copies = len(classes) if class_specific else 1
        if any(texts):
            starts = [self.encoder.initial_context(text).cpu() for text in texts]
            if len({len(start) for start in starts}) > 1:
                raise ValueError(f"The texts {texts} should have the same number of tokens.")
            start = torch.stack(starts)[:, None].repeat(1, copies, 1, 1)
        else:
            start = 0.02 * torch.randn(len(texts), copies, length, self.encoder.width)
        self.context = nn.Parameter((start if class_specific else start[:, 0]).to(clip.device))

    def encode(self, chosen: np.ndarray | None = None) -> tuple[Tensor, ...]:
        """K unit-norm features (C, D) with gradients, of all classes or of the `chosen` indices."""
        encoder = self.encoder if chosen is None else self.encoder.select(chosen)
        context: Tensor = self.context
        if chosen is not None and self.class_specific:
            context = context[:, chosen]
        return tuple(F.normalize(features, dim=-1) for features in encoder.encode(*context))

    def bytes_a_step(self) -> int:
        """About what a step needs for these contexts in the text tower."""
        return sum(self.encoder.bytes_a_context(context.shape) for context in self.context)

    @torch.no_grad()
    def features(self, classes: tuple[str, ...]) -> tuple[Tensor, ...]:
        """K unit-norm features of any classes, remembered until the contexts change;
        class-specific: of known ones."""
        if classes not in self.cache:
            if classes == self.classes:
                self.cache[classes] = self.encode()
            elif self.class_specific:
                self.cache[classes] = self.encode(
                    np.array([self.classes.index(name) for name in classes])
                )
            else:
                features = self.clip.prompts(classes).encode(*self.context)
                self.cache[classes] = tuple(F.normalize(part, dim=-1) for part in features)
        return self.cache[classes]

    def replace(self, context: Tensor) -> None:
        """Takes other vectors, for instance of an earlier epoch."""
        self.context = nn.Parameter(context.to(self.clip.device))
        self.cache.clear()


def encode_together(prompts: Sequence[Prompts]) -> Tensor:
    """Unit-norm features (G, K, C, D) with gradients, in one pass, of the contexts of G runs with
    the same classes."""
    contexts = torch.stack([own.context for own in prompts])
    features = prompts[0].encoder.encode_stack(contexts.flatten(0, 1))
    return F.normalize(features, dim=-1).view(*contexts.shape[:2], *features.shape[1:])


@torch.no_grad()
def remember_together(prompts: Sequence[Prompts]) -> None:
    """What `features` would compute for the classes of the training, for all in one pass."""
    for own, features in zip(prompts, encode_together(prompts), strict=True):
        own.cache = {own.classes: features.unbind()}
