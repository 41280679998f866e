"""CoOp for several labels per image: a learned context before every class name, on the global image
feature."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from benchmark import PRESENT, UNKNOWN, Clip, Member, Part, Preset, Presets, Run
from methods._prompts import Prompts, encode_together, remember_together
from methods._sgd import Group, Learner, SgdMethod, fit_together, weight_of_sum

# Of scale and bias: at the larger rates of some presets the scale falls until contexts stall.
CALIBRATION_RATE = 0.002


@dataclass
class Method(SgdMethod):
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

    @property
    def open_vocabulary(self) -> bool:
        """A shared context goes before any name."""
        return not self.class_specific

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Learns the context, and scale and bias when calibrated."""
        (failure,) = self.fit_many(clip, [Member(self, train, val, run)])
        if failure is not None:
            raise failure

    @classmethod
    def fit_many(cls, clip: Clip, members: Sequence[Member]) -> list[Exception | None]:
        """All contexts in one pass of the text tower."""
        methods, weights = [cast(Method, member.method) for member in members], []
        for method, (_, train, _, run) in zip(methods, members, strict=True):
            torch.manual_seed(run.seed)
            method._begin(clip, train)
            weights.append(weight_of_sum(train.y, method.loss_weight))
        first, prompts = methods[0], [method.prompts for method in methods]
        weight = torch.tensor(weights, device=clip.device)

        def objective(x: Tensor, y: Tensor) -> Tensor:
            cosines = x @ encode_together(prompts)[:, 0].mT  # (G, B, C)
            scale, bias, center = (
                torch.stack(values)[:, None, None]
                for values in zip(*((m.log_scale, m.bias, m.center) for m in methods), strict=True)
            )
            logits = scale.exp() * (cosines - center) + bias
            return weight * first.asymmetric_loss(logits, y)

        learners = [
            Learner(method, method._groups(), train, run)
            for method, (_, train, _, run) in zip(methods, members, strict=True)
        ]
        return fit_together(learners, objective, functools.partial(remember_together, prompts))

    @classmethod
    def bytes_a_member(cls, clip: Clip, member: Member) -> int:
        """Of the text tower; the rest is small."""
        return cast(Method, member.method)._start(clip, member.train.classes).bytes_a_step()

    def _begin(self, clip: Clip, train: Part) -> None:
        """Everything learned, at its start."""
        self.prompts = self._start(clip, train.classes)
        (text,) = self.prompts.features(train.classes)
        calibrated = self.variant == "calibrated"
        self.center = (
            (train.features @ text.T).mean() if calibrated else torch.zeros((), device=clip.device)
        )
        self.log_scale = nn.Parameter(
            torch.tensor(clip.scale, device=clip.device).log(), requires_grad=calibrated
        )
        # so that the many negatives need not pull everything down
        start = log_odds(train.y) if calibrated else 0.0
        self.bias = nn.Parameter(torch.tensor(start, device=clip.device), requires_grad=calibrated)

    def _groups(self) -> list[Group]:
        groups = [Group([self.prompts.context], self.learning_rate)]
        if self.variant == "calibrated":
            groups.append(Group([self.log_scale, self.bias], CALIBRATION_RATE, weight_decay=0.0))
        return groups

    def _start(self, clip: Clip, classes: tuple[str, ...]) -> Prompts:
        return Prompts(clip, classes, (self.init,), self.context_length, self.class_specific)

    def _logits(self, x: Tensor, text: Tensor) -> Tensor:
        return self.log_scale.exp() * (x @ text.T - self.center) + self.bias

    @torch.no_grad()
    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """Logits (B, len(classes)) of x (B, D)."""
        return self._logits(x, *self.prompts.features(classes))

    def state_dict(self) -> dict[str, Tensor]:
        """The context (1, M, W) or (1, C, M, W), log scale, bias and center."""
        state = {
            "context": self.prompts.context,
            "log_scale": self.log_scale,
            "bias": self.bias,
            "center": self.center,
        }
        return {name: value.detach().clone() for name, value in state.items()}

    def load_state_dict(
        self, clip: Clip, classes: tuple[str, ...], state: dict[str, Tensor]
    ) -> None:
        """The inverse; `classes` are those of the training labels."""
        self.prompts = self._start(clip, classes)
        self.prompts.replace(state["context"])
        self.log_scale, self.bias = (
            nn.Parameter(state[name].to(clip.device)) for name in ("log_scale", "bias")
        )
        self.center = state["center"].to(clip.device)


def log_odds(y: np.ndarray) -> float:
    """log(p / (1 - p)) of the fraction p of known labels (n, C) that are present, p kept within
    0.001 of 0 and 1."""
    known = y[y != UNKNOWN]
    fraction = np.clip((known == PRESENT).mean(), 0.001, 0.999) if len(known) else 0.5
    return float(np.log(fraction / (1 - fraction)))
