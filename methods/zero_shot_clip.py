"""Zero-shot CLIP: one text per class, nothing is learned."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.task import Part, Run

# Our own sentences about photographs; not the 80 ImageNet templates of Radford et al., which were
# tuned on ImageNet.
ENSEMBLE = (
    "a photo of a {}.",
    "a photo that shows a {}.",
    "a photo of a {} and other things.",
    "there is a {} in this picture.",
    "a scene with a {} in it.",
    "part of a {} can be seen.",
    "a {} in the foreground.",
    "a {} far away in the background.",
)


@dataclass
class Method:
    """Logits s·cos(f, t) of the global image feature (methods.md §1.4); names, resizing and
    statistics are not ours.

    `template` holds {} for the class name, e.g. "a photo of a {}" (LM-CLIP), or is "ensemble": the
    unit-norm mean of `ENSEMBLE`. `score` "cos" returns raw logits; "softmax" returns the logarithm
    of the softmax over the classes asked for, as LM-CLIP ranks (every record holds mAP_softmax of
    the raw logits as well).
    """

    template: str = "a photo of a {}."
    score: str = "cos"

    needs: ClassVar[str] = "global"
    open_vocabulary: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.template != "ensemble" and "{}" not in self.template:
            raise ValueError(
                f'template={self.template!r} should hold {{}} for the class name, or be "ensemble"'
            )
        if self.score not in ("cos", "softmax"):
            raise ValueError(f'score={self.score!r} should be "cos" or "softmax"')

    def fit(self, clip: Any, train: Part, val: Part, run: Run) -> None:
        """Nothing to learn."""

    def predict(self, clip: Any, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """(B, D) -> (B, len(classes))."""
        templates = ENSEMBLE if self.template == "ensemble" else (self.template,)
        # (T·C, D)
        texts = clip.text([template.format(name) for template in templates for name in classes])
        class_features = F.normalize(texts.view(len(templates), len(classes), -1).mean(0), dim=-1)
        logits = clip.scale * x @ class_features.T
        return torch.log_softmax(logits, dim=1) if self.score == "softmax" else logits
