"""Vision-only: the baseline of PositiveCoOp, one linear layer on the regions, no text at all."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import Clip, Part, Preset, Presets, Run, bounded
from methods._closed_vocabulary import ClosedVocabulary
from methods._sgd import Group, SgdMethod, fit_groups, weight_of_sum


def aggregate_linear(
    regions: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    region_scale: float = 1.0,
    logit_scale: float = 5.0,
) -> tuple[Tensor, Tensor]:
    """(positive, negative) logits (B, C) of regions (B, R, D), any norm, weight (2C, D) and bias
    (2C,), the first C rows for absence (Rawlekar et al. 2025, official code).

    o = region_scale · (W g + b); every one of the 2C channels is 5 · Σ_r softmax_r(o) · o with its
    own softmax over the regions."""
    activation = region_scale * F.linear(regions.to(weight.dtype), weight, bias)  # (B, R, 2C)
    pooled = logit_scale * (activation.softmax(dim=1) * activation).sum(1)
    negative, positive = pooled.chunk(2, dim=1)
    return positive, negative


@dataclass
class Method(ClosedVocabulary, SgdMethod):
    """The baseline of Rawlekar et al. (WACV 2025): what DualCoOp sees, without prompts.

    From the paper: layer, aggregation, loss, SGD without weight decay, a cosine after one epoch at
    the warm-up rate. Ours: the bank holds regions of unit norm, whose logits `region_scale` = 20
    brings into the range of DualCoOp's cosines (the official tokens are not normalised), the
    weights start as N(0, 0.01²), and `loss_weight` 0 means 0.015 / known fraction, as in our
    DualCoOp.
    """

    region_scale: float = bounded(20.0, above=0)
    learning_rate: float = 0.005
    warm_up: float = bounded(0.005, low=0)
    weight_decay: float = 0.0

    title = "Vision-only"
    needs = "regions"
    learned = ("weight", "bias")  # the rows for absence first
    PRESETS: ClassVar[Presets] = {
        "voc2007": Preset("README's example: lr 0.5 (times 0.01), 52 epochs", epochs=52),
        "coco2014": Preset("official batches of 100; rate of the README's example", batch_size=100),
        "pocket": Preset(
            "Ours: validation mAP on the embedded data (docs/embedded.md)",
            epochs=30,
            batch_size=64,
            learning_rate=2e-4,
            warm_up=1e-5,
        ),
    }

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Learns weight (2C, D) and bias (2C,)."""
        self.classes = train.classes
        layer = nn.Linear(clip.width, 2 * len(train.classes), device=run.device)
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
        self.weight: Tensor = layer.weight
        self.bias: Tensor = layer.bias
        weight = weight_of_sum(train.y, self.loss_weight)

        def objective(x: Tensor, y: Tensor) -> Tensor:
            return weight * self.asymmetric_loss(self._logits(x), y)

        groups = [Group(list(layer.parameters()), self.learning_rate)]
        fit_groups(self, groups, objective, train, run, warm_up=self.warm_up)

    def _logits(self, x: Tensor) -> Tensor:
        scale = self.region_scale
        positive, negative = aggregate_linear(x, self.weight, self.bias, region_scale=scale)
        return positive - negative

    @torch.no_grad()
    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """z₊ - z₋ (B, len(classes)) of x (B, R, D)."""
        return self.columns(self._logits(x), classes)
