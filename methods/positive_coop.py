"""PositiveCoOp and NegativeCoOp: a prompt for one side, a free vector for the other."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from benchmark import Clip, Part, Preset, Presets, Run, bounded
from methods._closed_vocabulary import ClosedVocabulary
from methods._regions import aggregate_regions
from methods._sgd import Group, SgdMethod, fit_groups, weight_of_sum


@dataclass
class Method(ClosedVocabulary, SgdMethod):
    """Rawlekar et al. (WACV 2025): the text tower guides only one of the two features of a class.

    `prompted` "positive" is PositiveCoOp: t₊ = e + u and t₋ = v, where e is the text feature of the
    learned context before the class name and u, v are free vectors, all three per class; "negative"
    is NegativeCoOp, which exchanges the two. As in the official code u and v start as N(0,
    `free_scale`²), and the prompt learns at `prompt_rate` times their rate, after one epoch at
    `warm_up` for all. The regions are weighed by the positive feature. The official argument list
    gives the rates 0.001 (VOC) and 0.002 (COCO), its example 0.5 with 52 epochs; only the latter
    fits the warm-up rate, and the presets take it. `loss_weight` 0 means 0.015 / known fraction, as
    in our DualCoOp.
    """

    prompted: str = "positive"
    context_length: int = 16
    class_specific: bool = False
    free_scale: float = bounded(1.0, above=0)
    learning_rate: float = 0.5
    prompt_rate: float = bounded(0.01, low=0)
    warm_up: float = bounded(0.005, low=0)
    weight_decay: float = 0.0

    title = "PositiveCoOp"
    needs = "regions"
    learned = ("texts",)  # the features (2, C, D), positive first: all that a prediction needs
    PRESETS: ClassVar[Presets] = {
        "voc2007": Preset(
            "README's example: lr 0.5, 52 epochs, --csc", class_specific=True, epochs=52
        ),
        "coco2014": Preset("official batches of 100; rate of the README's example", batch_size=100),
        "pocket": Preset(
            "Ours: validation mAP on the embedded data (docs/embedded.md)",
            context_length=4,
            class_specific=True,
            epochs=16,
            batch_size=64,
            learning_rate=0.2,
        ),
    }

    def __post_init__(self) -> None:
        if self.prompted not in ("positive", "negative"):
            raise ValueError(f'prompted={self.prompted!r} should be "positive" or "negative"')

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Learns context, u and v."""
        self.classes, self.encoder = train.classes, clip.prompts(train.classes)
        copies = (len(train.classes),) if self.class_specific else ()
        context = 0.02 * torch.randn(*copies, self.context_length, self.encoder.width)
        free = self.free_scale * torch.randn(2, len(train.classes), clip.width)
        self.context, self.free = (nn.Parameter(start.to(run.device)) for start in (context, free))
        weight = weight_of_sum(train.y, self.loss_weight)

        def objective(x: Tensor, y: Tensor) -> Tensor:
            return weight * self.asymmetric_loss(self._logits(x, *self._texts()), y)

        rate = self.learning_rate
        groups = [
            Group([self.context], self.prompt_rate * rate),
            Group([self.free], rate),
        ]
        fit_groups(self, groups, objective, train, run, self._remember, self.warm_up)

    def _texts(self) -> tuple[Tensor, Tensor]:
        """Positive and negative features (C, D), not normalised."""
        prompted, free = self.encoder.encode(self.context)[0] + self.free[0], self.free[1]
        return (prompted, free) if self.prompted == "positive" else (free, prompted)

    @torch.no_grad()
    def _remember(self) -> None:
        self.texts = torch.stack(self._texts())

    def _logits(self, x: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        present, absent = aggregate_regions(x, positive, negative)
        return present - absent

    @torch.no_grad()
    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """z₊ - z₋ (B, len(classes)) of x (B, R, D)."""
        return self.columns(self._logits(x, *self.texts), classes)
