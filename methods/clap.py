"""CLAP: class prototypes that start as the class texts and are held near them, class by class."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import PRESENT, UNKNOWN, Clip, Part, Preset, Presets, Run
from methods._closed_vocabulary import ClosedVocabulary
from methods._learning_rates import learning_rate
from methods._prototypes import CONSTRAINTS, distances, grow, multipliers, prototype_logits
from methods._templates import check_template, class_features


@dataclass
class Method(ClosedVocabulary):
    """Silva-Rodríguez et al. (CVPR 2024), CLAP and with `constraint` "none" its ZS-LP.

    Prototypes under full-batch SGD, last epoch, no validation.
    From the paper: logits, constraint and its weights, rate, momentum, the cosine with one warm-up
    epoch. Ours, for several labels an image: the cross entropy of every known cell by itself with a
    learned offset for each class, summed over the classes, instead of the softmax over classes; λ
    from the known positives; texts of unit norm; one feature an image instead of twenty augmented
    ones. The loss is the mean over the images, so the rate does not depend on their number.
    """

    constraint: str = "class"
    template: str = "a photo of a {}."
    epochs: int = 300
    learning_rate: float = 0.1
    momentum: float = 0.9
    preset: str = ""

    title = "CLAP"
    needs = "global"
    learned = ("prototypes", "offset")
    PRESETS: ClassVar[Presets] = {
        "pocket": Preset(
            "Ours: validation mAP on the embedded data (docs/embedded.md)", template="ensemble"
        ),
    }

    def __post_init__(self) -> None:
        check_template(self.template)
        if self.constraint not in CONSTRAINTS:
            raise ValueError(f"constraint={self.constraint!r} should be one of {CONSTRAINTS}")

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Learns prototypes (C, D) and offsets (C,)."""
        self.classes, x = train.classes, train.features
        y = torch.from_numpy(train.y).to(x.device)
        present, texts = y == PRESENT, class_features(clip, train.classes, self.template)
        logits = prototype_logits(x, texts, clip.scale)
        weights = multipliers(logits.softmax(1), present, self.constraint)
        self.prototypes: Tensor = nn.Parameter(texts.clone())
        self.offset: Tensor = nn.Parameter(-logits.mean(0))
        rate, before = self.learning_rate, torch.zeros_like(weights)
        optimizer = torch.optim.SGD([self.prototypes, self.offset], rate, momentum=self.momentum)
        for epoch in range(self.epochs):
            optimizer.param_groups[0]["lr"] = learning_rate(epoch, self.epochs, rate)
            cells = F.binary_cross_entropy_with_logits(
                self._logits(x, clip.scale), present.to(x), reduction="none"
            )
            cross_entropy = torch.where(y == UNKNOWN, 0.0, cells).sum() / len(y)
            loss = cross_entropy + (weights * distances(self.prototypes, texts)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if self.constraint == "adaptive":
                now = distances(self.prototypes.detach(), texts)
                weights, before = grow(weights, now, before), now
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"The training loss is {loss.item()}: lower the learning rate."
            )
        run.end_of_epoch(self.epochs - 1, self, **{"train/loss": loss.item()})

    def _logits(self, x: Tensor, scale: float) -> Tensor:
        return prototype_logits(x, self.prototypes, scale) + self.offset

    @torch.no_grad()
    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """Logits (B, len(classes)) of x (B, D)."""
        return self.columns(self._logits(x, clip.scale), classes)
