"""DualCoOp++: a third prompt finds the regions, and at each region the classes compete."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from benchmark import Clip, Part, Preset, Presets, Run
from methods._closed_vocabulary import ClosedVocabulary
from methods._prompts import Prompts
from methods._regions import VARIANTS, aggregate_evidence
from methods._sgd import Group, SgdMethod, fit_groups


@dataclass
class Method(ClosedVocabulary, SgdMethod):
    """Hu et al. (TPAMI 2024), after the authors' code: three contexts per class.

    Evidence, positive and negative context, `variant` as in `aggregate_evidence`, a learned
    temperature that starts at 3.
    The loss is `loss_weight` times the masked asymmetric loss summed over the batch, whatever its
    size and the ratio. Ours: the bank's regions keep their positional embedding, which the official
    ones lack, and no image is cut or recoloured.
    """

    context_length: int = 21
    variant: str = "pos_norm"
    loss_weight: float = 0.02
    batch_size: int = 64
    learning_rate: float = 0.005

    title = "DualCoOp++"
    needs = "regions"
    learned = ("texts", "temperature")  # the features (3, C, D), evidence first
    PRESETS: ClassVar[Presets] = {
        "voc2007": Preset("authors' logs of VOC2007, at 512 pixels", variant="pos200"),
        "coco2014": Preset("authors' logs of COCO, at 448 pixels", variant="pos_norm"),
        "nus_wide": Preset("authors' logs of NUS-WIDE", variant="pos200", batch_size=192),
        "pocket": Preset(
            "Ours: validation mAP on the embedded data (docs/embedded.md)",
            variant="pos200",
            context_length=4,
            epochs=8,
            learning_rate=0.3,
        ),
    }

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant={self.variant!r} should be one of {', '.join(VARIANTS)}")

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Learns three contexts per class and the temperature."""
        self.classes = train.classes
        prompts = Prompts(clip, train.classes, ("", "", ""), self.context_length, True)
        temperature = nn.Parameter(torch.tensor(3.0, device=clip.device))
        self.temperature: Tensor = temperature

        def objective(x: Tensor, y: Tensor) -> Tensor:
            logits = self._logits(x, *prompts.encode())
            return self.loss_weight * self.asymmetric_loss(logits, y, eps=1e-8)

        @torch.no_grad()
        def remember() -> None:
            self.texts = torch.stack(prompts.encode())

        groups = [Group([prompts.context, temperature], self.learning_rate)]
        fit_groups(self, groups, objective, train, run, remember)

    def _logits(self, x: Tensor, evidence: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Without the mean token, which stands first."""
        present, absent = aggregate_evidence(
            x[:, 1:], evidence, positive, negative, self.temperature, variant=self.variant
        )
        return present - absent

    @torch.no_grad()
    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """z₊ - z₋ (B, len(classes)) of x (B, R, D); every class competes with all of the
        training."""
        return self.columns(self._logits(x, *self.texts), classes)
