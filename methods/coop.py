"""CoOp for several labels per image: a learned context before every class name, on the global image
feature."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from benchmark import PRESENT, UNKNOWN, Clip, Part, Preset, Presets
from methods._prompt_method import PromptMethod
from methods._prompts import Prompts
from methods._sgd import Group

# Of scale and bias: at the larger rates of some presets the scale falls until contexts stall.
CALIBRATION_RATE = 0.002


@dataclass
class Method(PromptMethod):
    """CoOp (Zhou et al. 2022) with the masked asymmetric loss of DualCoOp, encoders frozen and in
    evaluation mode.

    `context_length` M vectors stand before the class name, shared by all classes or
    `class_specific`; they start as N(0, 0.02²) or as the words of `init`, which then gives M. The
    logit of image feature f and text feature t is "calibrated": a·(cos(f, t) - c) + b with learned
    a (starts at CLIP's scale) and b (starts at the log odds of the known labels), c the mean cosine
    over the training images at the start; or "raw": CLIP's scale·cos(f, t), as in LMPT, whose
    sigmoid is saturated, so that positives have almost no gradient. The loss is summed over the
    known cells of a batch and multiplied by `loss_weight`, 0 meaning 0.015 / known fraction of the
    training labels. SGD, its rate a cosine over the epochs after one at 1e-5. No paper publishes
    CoOp for several labels with a configuration: the defaults are CoOp's own (16 shared vectors,
    SGD 0.002, momentum 0.9, decay 5e-4, batch 32, 50 epochs); the presets "lmpt_…" are what LMPT's
    code runs, hardly learn, and are taken only by name.
    """

    context_length: int = 16
    class_specific: bool = False
    init: str = ""
    variant: str = "calibrated"

    title = "CoOp"
    needs = "global"
    learned = ("log_scale", "bias", "center")
    may_differ = ("learning_rate", "init", "loss_weight")
    PRESETS: ClassVar[Presets] = {
        "lmpt_voc_mlt": Preset(
            "LMPT lmpt/train.py, perhaps the CoOp rows of VOC-MLT: 'a photo of a', raw logits, ASL "
            "4/0/0.05 as a mean over 64 x 20 cells, lr 0.01, decay 1e-4; almost no gradient",
            init="a photo of a",
            variant="raw",
            loss_weight=0.00078125,
            gamma_positive=0.0,
            gamma_negative=4.0,
            batch_size=64,
            learning_rate=0.01,
            weight_decay=1e-4,
        ),
        "lmpt_coco_mlt": Preset(
            "LMPT lmpt/train.py, perhaps the CoOp rows of COCO-MLT: as lmpt_voc_mlt, the mean "
            "over 64 x 80 cells",
            init="a photo of a",
            variant="raw",
            loss_weight=0.0001953125,
            gamma_positive=0.0,
            gamma_negative=4.0,
            batch_size=64,
            learning_rate=0.01,
            weight_decay=1e-4,
        ),
        "pocket": Preset(
            "Ours: validation mAP at 50 % known labels on the embedded data",
            context_length=4,
            class_specific=True,
            epochs=10,
            batch_size=64,
            learning_rate=0.1,
        ),
        "pocket_long_tail": Preset(
            "Ours: chosen on validation images (docs/embedded.md)",
            init="a photo of a",
            epochs=10,
            batch_size=64,
            learning_rate=0.005,
        ),
        "pocket_zero_shot": Preset(
            "Ours: validation mAP on the embedded data",
            init="a photo of a",
            epochs=10,
            batch_size=64,
            learning_rate=0.005,
        ),
    }

    def __post_init__(self) -> None:
        if self.variant not in ("calibrated", "raw"):
            raise ValueError(f'variant={self.variant!r} should be "calibrated" or "raw"')

    def start(self, clip: Clip, classes: tuple[str, ...]) -> Prompts:
        """One context."""
        return Prompts(clip, classes, (self.init,), self.context_length, self.class_specific)

    def begin(self, clip: Clip, train: Part) -> None:
        """The context, and scale, bias and center."""
        super().begin(clip, train)
        (text,) = self.prompts.features(train.classes)
        calibrated = self.variant == "calibrated"
        center = (train.features @ text.T).mean() if calibrated else torch.tensor(0.0)
        self.center = center.to(clip.device)
        scale = torch.tensor(clip.scale, device=clip.device).log()
        self.log_scale: Tensor = nn.Parameter(scale, requires_grad=calibrated)
        # so that the many negatives need not pull everything down
        bias = torch.tensor(log_odds(train.y) if calibrated else 0.0, device=clip.device)
        self.bias: Tensor = nn.Parameter(bias, requires_grad=calibrated)

    def groups(self) -> list[Group]:
        """Scale and bias at a rate of their own, when they learn."""
        learned = [p for p in (self.log_scale, self.bias) if isinstance(p, nn.Parameter)]
        more = [Group(learned, CALIBRATION_RATE, weight_decay=0.0)]
        return super().groups() + (more if self.variant == "calibrated" else [])

    @classmethod
    def logits(cls, methods: Sequence[PromptMethod], x: Tensor, texts: Tensor) -> Tensor:
        """exp(scale) · (cosine - center) + bias."""
        own = [cast(Method, method) for method in methods]
        values = zip(*((m.log_scale, m.bias, m.center) for m in own), strict=True)
        scale, bias, center = (torch.stack(some)[:, None, None] for some in values)
        return scale.exp() * (x @ texts[:, 0].mT - center) + bias

    @torch.no_grad()
    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """Logits (B, len(classes)) of x (B, D)."""
        (text,) = self.prompts.features(classes)
        return self.log_scale.exp() * (x @ text.T - self.center) + self.bias


def log_odds(y: np.ndarray) -> float:
    """log(p / (1 - p)) of the fraction p of known labels (n, C) that are present, p kept within
    0.001 of 0 and 1."""
    known = y[y != UNKNOWN]
    fraction = np.clip((known == PRESENT).mean(), 0.001, 0.999) if len(known) else 0.5
    return float(np.log(fraction / (1 - fraction)))
