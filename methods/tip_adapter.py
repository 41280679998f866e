"""Tip-Adapter and Tip-Adapter-F: the labelled images as a cache that is looked up by similarity."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

import benchmark
from benchmark import ABSENT, PRESENT, Clip, Part, Presets, Run
from benchmark.metrics import average_precision
from methods._key_value_cache import look_up, train_keys
from methods._templates import check_template, class_features

ALPHAS = (0.01, 0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
BETAS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


@dataclass
class Method(benchmark.Method):
    """Zhang et al. (ECCV 2022) in the multi-label form of Tip-Adapter-SA's code: s · f Tᵀ + α ·
    `look_up`, where the values are the label rows of the training images, 1 for known present and 0
    for everything else.

    `finetune` is Tip-Adapter-F: the keys learn (`train_keys`). α and β are chosen by the masked mAP
    of the validation part among 72 pairs (the official code chooses them on test), and are 1 where
    nothing there is known to be absent. Ours, too: `template` instead of 85 sentences, one feature
    an image instead of the mean over ten crops. The preset "pocket" was chosen by validation mAP at
    50 % known labels between the one sentence and "ensemble" (pictograms, seed 0).
    """

    finetune: bool = False
    alpha: float = 0.0  # 0: chosen on the validation part, together with beta
    beta: float = 0.0
    template: str = "a photo of a {}."
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.01
    weight_decay: float = 0.001
    preset: str = ""

    title = "Tip-Adapter"
    needs = "global"
    PRESETS: ClassVar[Presets] = {"voc2012": {}, "coco2014": {}, "pocket": {}}

    def __post_init__(self) -> None:
        check_template(self.template)
        if (self.alpha > 0) != (self.beta > 0):
            raise ValueError("Give both alpha and beta, or neither: they are chosen together.")

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Fills the cache, trains its keys when asked, chooses α and β."""
        self.classes, x = train.classes, train.features
        present = torch.from_numpy(train.y == PRESENT).to(x)
        labelled = present.any(1)
        self.keys, self.values = x[labelled], present[labelled]
        if self.finetune:
            texts = class_features(clip, train.classes, self.template)
            plain = clip.scale * self.keys @ texts.T
            learned = train_keys(
                self.keys, self.keys, self.values, self.values, plain, vars(self), run.rng
            )
            for epoch, (loss, keys) in enumerate(learned):
                run.log(epoch=epoch, **{"train/loss": loss})
                self.keys = keys
        self.trainable_parameters = self.keys.numel() if self.finetune else 0
        self.weights = torch.tensor(self._choose(clip, val, run))

    def _choose(self, clip: Clip, val: Part, run: Run) -> tuple[float, float]:
        """α and β with the best masked mAP; of equally good ones the first."""
        if self.alpha or not (val.y == ABSENT).any():
            return self.alpha or 1.0, self.beta or 1.0
        scores = {}
        for pair in itertools.product(ALPHAS, BETAS):
            self.weights = torch.tensor(pair)
            found = self.predict(clip, val.features, val.classes).cpu().numpy()
            scores[pair] = float(np.nanmean(average_precision(val.y, found)))
        run.trials = len(scores)
        best = max(scores, key=scores.__getitem__)
        run.chosen |= {"alpha": best[0], "beta": best[1]}
        return best

    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """Logits (B, len(classes)) of x (B, D)."""
        alpha, beta = self.weights.tolist()
        values = self.values[:, [self.classes.index(name) for name in classes]]
        zero_shot: Tensor = clip.scale * x @ class_features(clip, classes, self.template).T
        cached: Tensor = alpha * look_up(x, self.keys, values, beta)
        return zero_shot + cached

    def state_dict(self) -> dict[str, Tensor]:
        """Keys (n, D), values (n, C), and α and β (2,)."""
        return {"keys": self.keys, "values": self.values, "weights": self.weights}

    def load_state_dict(
        self, clip: Clip, classes: tuple[str, ...], state: dict[str, Tensor]
    ) -> None:
        """The inverse; `classes` are those of the training labels."""
        self.classes, self.weights = classes, state["weights"]
        self.keys, self.values = (state[name].to(clip.device) for name in ("keys", "values"))
