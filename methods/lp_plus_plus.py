"""LP++: a linear probe blended with the class texts, its rates and its start in closed form."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

import benchmark
from benchmark import PRESENT, UNKNOWN, Clip, Part, Presets, Run
from methods._blend import Blend, descend, start
from methods._templates import check_template, class_features


@dataclass
class Method(benchmark.Method):
    """Huang et al. (CVPR 2024): x Wᵀ + b + α · cosine with the text, rates that need no tuning.

    From the paper: start, rates, `descend`. Ours, for several labels an image: the cross entropy of
    every known cell by itself, summed over the classes and averaged over the images, for which the
    same rate of W is safe (its curvature is at most λ_max / 4n), instead of the softmax over
    classes; and the last epoch, where the paper takes the best one on few validation images. The
    preset "pocket" was chosen by validation mAP at 50 % known labels between the one sentence and
    "ensemble" (pictograms, seed 0).
    """

    template: str = "a photo of a {}."
    epochs: int = 300
    preset: str = ""

    title = "LP++"
    needs = "global"
    PRESETS: ClassVar[Presets] = {"voc2007": {}, "coco2014": {}, "pocket": {"template": "ensemble"}}

    def __post_init__(self) -> None:
        check_template(self.template)

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Learns weight, bias and α."""
        self.classes, x = train.classes, train.features
        y = torch.from_numpy(train.y).to(run.device)
        texts = class_features(clip, train.classes, self.template)
        self.blend, *rates = start(x, y == PRESENT, texts)

        def loss(logits: Tensor) -> Tensor:
            cells = F.binary_cross_entropy_with_logits(
                logits, (y == PRESENT).to(logits), reduction="none"
            )
            return torch.where(y == UNKNOWN, 0.0, cells).sum() / len(y)

        losses = descend(self.blend, loss, x, (rates[0], rates[1]), self.epochs)
        run.end_of_epoch(self.epochs - 1, self, **{"train/loss": losses[-1]})

    @torch.no_grad()
    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """Logits (B, len(classes)) of x (B, D)."""
        return self.blend(x)[:, [self.classes.index(name) for name in classes]]

    def state_dict(self) -> dict[str, Tensor]:
        """weight (C, D), bias (C,), alpha (C,)."""
        names = ("weight", "bias", "alpha")
        return {name: getattr(self.blend, name).detach().clone() for name in names}

    def load_state_dict(
        self, clip: Clip, classes: tuple[str, ...], state: dict[str, Tensor]
    ) -> None:
        """The inverse; `classes` are those of the training labels."""
        self.classes = classes
        texts = class_features(clip, classes, self.template)
        learned = {name: value.to(clip.device) for name, value in state.items()}
        self.blend = Blend(**learned, texts=texts)
