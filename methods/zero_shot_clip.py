"""Zero-shot CLIP: one text per class, nothing is learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import benchmark
from benchmark import Clip, Member, Preset, Presets, bounded
from methods._regions import aggregate_regions, score_regions
from methods._templates import check_template, class_features


@dataclass
class Method(benchmark.Method):
    """Logits s·cos(f, t) of the global image feature; names, resizing and statistics are not ours.

    With `regions` every class weighs the regions of the image by the softmax of `region_scale`
    times their cosine with its text, and the logit is s times the weighted mean of the cosines: the
    positive half of DualCoOp's aggregation (Sun et al. 2022, eq. 3-4) with a hand-written prompt,
    what that method starts from. `template` holds {} for the class name, e.g. "a photo of a {}"
    (LM-CLIP), or is "ensemble": the unit-norm mean of `ENSEMBLE`. `score` "cos" returns raw logits;
    "softmax" returns the logarithm of the softmax over the classes asked for, as LM-CLIP ranks
    (every record holds mAP_softmax of the raw logits as well).
    """

    template: str = "a photo of a {}."
    score: str = "cos"
    regions: bool = False
    region_scale: float = bounded(20.0, above=0)

    title = "Zero-shot CLIP"
    open_vocabulary = True
    learns = False
    may_differ = ()
    PRESETS: ClassVar[Presets] = {
        "long_tail": Preset(
            "LM-CLIP test.py --zeroshot: 'a photo of a ' and the name, no period; its softmax over "
            "the classes is the metric mAP_softmax_all of every record",
            template="a photo of a {}",
        ),
    }

    def __post_init__(self) -> None:
        check_template(self.template)
        if self.score not in ("cos", "softmax"):
            raise ValueError(f'score={self.score!r} should be "cos" or "softmax"')

    @property
    def needs(self) -> str:
        """ "regions" or "global"."""
        return "regions" if self.regions else "global"

    @classmethod
    def fit_many(cls, clip: Clip, members: Sequence[Member]) -> list[Exception | None]:
        """Nothing to learn; the engine computes the scores once for all."""
        return [None] * len(members)

    @classmethod
    def bytes_a_member(cls, clip: Clip, member: Member) -> int:
        """Next to nothing."""
        return 1

    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """(B, D), or (B, R, D) with `regions`, -> (B, len(classes))."""
        texts = class_features(clip, classes, self.template)
        if self.regions:
            scales = {"region_scale": self.region_scale, "logit_scale": 1 / self.region_scale}
            cosines, _ = aggregate_regions(x, texts, texts, **scales)
        else:
            cosines = x @ texts.T
        logits = clip.scale * cosines
        return torch.log_softmax(logits, dim=1) if self.score == "softmax" else logits

    def region_weights(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor | None:
        """(B, R, C) with `regions`: how much each region counts for each class."""
        if not self.regions:
            return None
        texts = class_features(clip, classes, self.template)
        return score_regions(x, texts[None], self.region_scale)[1].permute(1, 2, 0)
