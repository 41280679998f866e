"""Tip-Adapter and Tip-Adapter-F: the labelled images as a cache that is looked up by similarity."""

import itertools
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from benchmark import PRESENT, Clip, Part, Preset, Presets, Run, bounded
from methods._closed_vocabulary import ClosedVocabulary
from methods._key_value_cache import check_pair, choose_weights, look_up, train_keys
from methods._templates import check_template, class_features

ALPHAS = (0.01, 0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
BETAS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


@dataclass
class Method(ClosedVocabulary):
    """Zhang et al. (ECCV 2022) in the multi-label form of Tip-Adapter-SA's code.

    Logits s · f Tᵀ + α · `look_up`, where the values are the label rows of the training images, 1
    for known present and 0 for everything else.
    `finetune` is Tip-Adapter-F: the keys learn (`train_keys`). α and β are chosen by the masked mAP
    of the validation part among 72 pairs (the official code chooses them on test), and are 1 where
    nothing there is known to be absent. Ours, too: `template` instead of 85 sentences, one feature
    an image instead of the mean over ten crops.
    """

    finetune: bool = False
    alpha: float = bounded(0.0, low=0)  # 0: chosen on the validation part, together with beta
    beta: float = bounded(0.0, low=0)
    template: str = "a photo of a {}."
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.01
    weight_decay: float = 0.001
    preset: str = ""

    title = "Tip-Adapter"
    needs = "global"
    learned = ("keys", "values", "weights")
    PRESETS: ClassVar[Presets] = {
        "voc2012": Preset("Tip-Adapter-SA's code: AdamW 0.01, decay 0.001, 20 epochs of 64"),
        "coco2014": Preset("Tip-Adapter-SA's code: AdamW 0.01, decay 0.001, 20 epochs of 64"),
        "pocket": Preset("Ours: validation mAP on the embedded data (docs/embedded.md)"),
    }

    def __post_init__(self) -> None:
        check_template(self.template)
        check_pair(self.alpha, self.beta)

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Fills the cache, trains its keys when asked, chooses α and β."""
        self.classes, x = train.classes, train.features
        present = torch.from_numpy(train.y == PRESENT).to(x)
        self.keys, self.values = x[present.any(1)], present[present.any(1)]
        if self.finetune:
            plain = clip.scale * self.keys @ class_features(clip, self.classes, self.template).T
            learned = train_keys(self.keys, self.values, plain, vars(self), run.rng)
            for epoch, (loss, self.keys) in enumerate(learned):
                run.log(epoch=epoch, **{"train/loss": loss})
        self.trainable_parameters = self.keys.numel() if self.finetune else 0
        pair = (self.alpha or 1.0, self.beta or 1.0)
        if not self.alpha:
            grid = itertools.product(ALPHAS, BETAS)
            score = partial(self._logits, clip, val.features)
            pair = choose_weights(val, grid, score, run) or pair
        self.weights = torch.tensor(pair)

    def _logits(self, clip: Clip, x: Tensor, alpha: float, beta: float) -> Tensor:
        zero_shot: Tensor = clip.scale * x @ class_features(clip, self.classes, self.template).T
        return zero_shot + alpha * look_up(x, self.keys, self.values, beta)

    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """Logits (B, len(classes)) of x (B, D)."""
        return self.columns(self._logits(clip, x, *self.weights.tolist()), classes)
