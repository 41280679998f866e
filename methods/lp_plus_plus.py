"""LP++: a linear probe blended with the class texts, its rates and its start in closed form."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark import PRESENT, UNKNOWN, Clip, Part, Preset, Presets, Run
from methods._blend import Blend, descend, start
from methods._closed_vocabulary import ClosedVocabulary
from methods._templates import check_template, class_features


@dataclass
class Method(ClosedVocabulary):
    """Huang et al. (CVPR 2024): x Wᵀ + b + α · cosine with the text, rates that need no tuning.

    From the paper: start, rates, `descend`. Ours, for several labels an image: the cross entropy of
    every known cell by itself, summed over the classes and averaged over the images, for which the
    same rate of W is safe (its curvature is at most λ_max / 4n), instead of the softmax over
    classes; and the last epoch, where the paper takes the best one on few validation images.
    """

    template: str = "a photo of a {}."
    epochs: int = 300
    preset: str = ""

    title = "LP++"
    needs = "global"
    learned = ("weight", "bias", "alpha", "texts")
    PRESETS: ClassVar[Presets] = {
        "voc2007": Preset("the paper has no constants per data set; nothing to tune"),
        "coco2014": Preset("the paper has no constants per data set; nothing to tune"),
        "pocket": Preset(
            "Ours: validation mAP on the embedded data (docs/embedded.md)", template="ensemble"
        ),
    }

    def __post_init__(self) -> None:
        check_template(self.template)

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Learns weight, bias and α."""
        self.classes, x = train.classes, train.features
        y = torch.from_numpy(train.y).to(run.device)
        texts = class_features(clip, train.classes, self.template)
        blend, *rates = start(x, y == PRESENT, texts)

        def loss(logits: Tensor) -> Tensor:
            cells = F.binary_cross_entropy_with_logits(
                logits, (y == PRESENT).to(logits), reduction="none"
            )
            return torch.where(y == UNKNOWN, 0.0, cells).sum() / len(y)

        losses = descend(blend, loss, x, (rates[0], rates[1]), self.epochs)
        self.weight, self.bias, self.alpha = blend.weight, blend.bias, blend.alpha
        self.texts = texts
        self.trainable_parameters = blend.weight.numel() + 2 * len(texts)
        run.end_of_epoch(self.epochs - 1, self, **{"train/loss": losses[-1]})

    @torch.no_grad()
    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """Logits (B, len(classes)) of x (B, D)."""
        blend = Blend(self.weight, self.bias, self.alpha, self.texts)
        return self.columns(blend(x), classes)
