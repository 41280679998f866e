"""Zero-shot CLIP: one text per class, nothing is learned."""

from dataclasses import dataclass

import torch
from torch import Tensor

import benchmark
from benchmark import Clip, Part, Run
from methods._templates import check_template, class_features


@dataclass
class Method(benchmark.Method):
    """Logits s·cos(f, t) of the global image feature (methods.md §1.4); names, resizing and
    statistics are not ours.

    `template` holds {} for the class name, e.g. "a photo of a {}" (LM-CLIP), or is "ensemble": the
    unit-norm mean of `ENSEMBLE`. `score` "cos" returns raw logits; "softmax" returns the logarithm
    of the softmax over the classes asked for, as LM-CLIP ranks (every record holds mAP_softmax of
    the raw logits as well).
    """

    template: str = "a photo of a {}."
    score: str = "cos"

    needs = "global"
    open_vocabulary = True

    def __post_init__(self) -> None:
        check_template(self.template)
        if self.score not in ("cos", "softmax"):
            raise ValueError(f'score={self.score!r} should be "cos" or "softmax"')

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Nothing to learn."""

    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """(B, D) -> (B, len(classes))."""
        logits = clip.scale * x @ class_features(clip, classes, self.template).T
        return torch.log_softmax(logits, dim=1) if self.score == "softmax" else logits
