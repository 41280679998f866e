"""Tip-Adapter-SA: a cache with one feature for each class that an image shows, not one an image."""

import itertools
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmark import PRESENT, Clip, Part, Preset, Presets, Run, bounded
from methods import _class_specific as per_class
from methods._closed_vocabulary import ClosedVocabulary
from methods._key_value_cache import check_pair, choose_weights
from methods._templates import check_template, class_features

ALPHAS, BETAS = [k / 10 for k in range(1, 11)], [k / 2 for k in range(1, 21)]


@dataclass
class Method(ClosedVocabulary):
    """Tip-Adapter-SA, training-free, after its released code: one feature for each class.

    Each class looks up its own feature (`class_features_of_regions`) among its own `shots` images,
    and the result is fused with the largest probability of the class at any region.

    α and β are chosen by the masked mAP of the validation part among 200 pairs (the release chooses
    on test), and are 0.5 and 1 where nothing there is known to be absent. Ours, too: regions of the
    bank, whose probabilities are not refined by the attention of earlier layers; `BACKGROUND`; one
    `template`; where a class has fewer than `shots` images, each counts more.
    """

    shots: int = bounded(16, low=1)
    normalisation: str = "softmax"
    alpha: float = bounded(0.0, low=0)  # 0: chosen on the validation part, together with beta
    beta: float = bounded(0.0, low=0)
    template: str = "a photo of a {}."
    preset: str = ""

    title = "Tip-Adapter-SA"
    needs = "regions"
    learned = ("keys", "values", "weights")
    PRESETS: ClassVar[Presets] = {
        "pocket": Preset(
            "Ours: validation mAP on the embedded data (docs/embedded.md)", normalisation="min-max"
        ),
    }

    def __post_init__(self) -> None:
        check_template(self.template)
        check_pair(self.alpha, self.beta)
        if self.normalisation not in per_class.NORMALISATIONS:
            raise ValueError(
                f"normalisation={self.normalisation!r} is none of {per_class.NORMALISATIONS}"
            )

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Fills the cache of each class, chooses α and β."""
        self.classes = train.classes
        drawn = [run.rng.permutation(np.flatnonzero(y == PRESENT))[: self.shots] for y in train.y.T]
        self.keys = torch.zeros(len(drawn), self.shots, clip.width, device=clip.device)
        self.values = torch.zeros(self.keys.shape[:2], device=clip.device)
        for c, rows in enumerate(drawn):
            for x, _ in train.batches(self.shots, rows=rows):
                self.keys[c, : len(rows)] = self._look(clip, x)[0][:, c]
                self.values[c, : len(rows)] = self.shots / len(rows)
        pair = (self.alpha or 0.5, self.beta or 1.0)
        if not self.alpha:
            found = [self._compare(clip, x) for x, _ in val.batches(100)]
            affinity, zero_shot = (torch.cat(parts) for parts in zip(*found, strict=True))
            score = partial(self._fuse, affinity, zero_shot)
            pair = choose_weights(val, itertools.product(ALPHAS, BETAS), score, run) or pair
        self.weights = torch.tensor(pair)

    def _look(self, clip: Clip, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class features (B, C, D) and zero-shot scores (B, C) of x (B, R, D)."""
        texts = class_features(clip, (*self.classes, *per_class.BACKGROUND), self.template)
        patches = x[:, 1:].float()  # the mean token stands first
        probability = (clip.scale * patches @ texts.T).softmax(-1)[..., : len(self.classes)]
        return per_class.class_features_of_regions(patches, probability), probability.amax(1)

    def _compare(self, clip: Clip, x: Tensor) -> tuple[Tensor, Tensor]:
        """Affinities (B, C, k) and zero-shot scores (B, C)."""
        own, zero_shot = self._look(clip, x)
        return per_class.class_affinity(own, self.keys), zero_shot

    def _fuse(self, affinity: Tensor, zero_shot: Tensor, alpha: float, beta: float) -> Tensor:
        cache = per_class.class_cache(affinity, beta, self.values)
        return per_class.fuse(zero_shot, cache, alpha, self.normalisation)

    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """Scores (B, len(classes)) of x (B, R, D), relative to all classes of the training."""
        return self.columns(self._fuse(*self._compare(clip, x), *self.weights.tolist()), classes)
