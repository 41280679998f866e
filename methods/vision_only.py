"""Vision-only: the baseline of PositiveCoOp, one linear layer on the regions, no text at all."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.task import Part, Run
from methods._losses import asymmetric_loss
from methods._prompts import fit_groups, weight_of_sum


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
    activation = region_scale * F.linear(regions.float(), weight, bias)  # (B, R, 2C)
    pooled = logit_scale * (activation.softmax(dim=1) * activation).sum(1)
    negative, positive = pooled.chunk(2, dim=1)
    return positive, negative


@dataclass
class Method:
    """The baseline of Rawlekar et al. (WACV 2025): what DualCoOp sees, without prompts.

    From the paper: layer, aggregation, loss, SGD without weight decay, a cosine after one epoch at
    the warm-up rate. Ours: the bank holds regions of unit norm, whose logits `region_scale` = 20
    brings into the range of DualCoOp's cosines (the official tokens are not normalised), the
    weights start as N(0, 0.01²), and `loss_weight` 0 means 0.015 / known fraction, as in our
    DualCoOp. The preset "pocket" was chosen by
    validation mAP at 50 % known labels among six rates (pictograms, seed 0).
    """

    region_scale: float = 20.0
    loss_weight: float = 0.0
    gamma_positive: float = 1.0
    gamma_negative: float = 2.0
    margin: float = 0.05
    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 0.005
    warm_up: float = 0.005
    momentum: float = 0.9
    weight_decay: float = 0.0
    views: int = 1
    augment: str = ""
    preset: str = ""

    needs: ClassVar[str] = "regions"
    open_vocabulary: ClassVar[bool] = False
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "voc2007": {"epochs": 52},
        "coco2014": {"batch_size": 100},
        "pocket": {
            "epochs": 8,
            "batch_size": 64,
            "learning_rate": 5e-4,
            "warm_up": 1e-5,
        },
    }

    def fit(self, clip: Any, train: Part, val: Part, run: Run) -> None:
        """Learns weight (2C, D) and bias (2C,)."""
        self.classes = train.classes
        layer = nn.Linear(clip.width, 2 * len(train.classes), device=run.device)
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
        self.weight, self.bias = layer.weight, layer.bias
        weight = weight_of_sum(train.y, self.loss_weight)

        def objective(x: Tensor, y: Tensor) -> Tensor:
            return weight * asymmetric_loss(
                self._logits(x),
                y,
                gamma_positive=self.gamma_positive,
                gamma_negative=self.gamma_negative,
                clip=self.margin,
            )

        groups = [{"params": list(layer.parameters()), "peak": self.learning_rate}]
        fit_groups(self, groups, objective, train, run, warm_up=self.warm_up)

    def _logits(self, x: Tensor) -> Tensor:
        scale = self.region_scale
        positive, negative = aggregate_linear(x, self.weight, self.bias, region_scale=scale)
        return positive - negative

    @torch.no_grad()
    def predict(self, clip: Any, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """z₊ - z₋ (B, len(classes)) of x (B, R, D)."""
        return self._logits(x)[:, [self.classes.index(name) for name in classes]]

    def state_dict(self) -> dict[str, Tensor]:
        """Weight and bias, the rows for absence first."""
        return {"weight": self.weight.detach().clone(), "bias": self.bias.detach().clone()}

    def load_state_dict(
        self, clip: Any, classes: tuple[str, ...], state: dict[str, Tensor]
    ) -> None:
        """The inverse; `classes` are those of the training labels."""
        self.classes = classes
        self.weight, self.bias = (state[name].to(clip.device) for name in ("weight", "bias"))
