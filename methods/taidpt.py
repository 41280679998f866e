"""TaI-DPT: prompts learned from captions instead of images, a global and a local one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmark import Clip, Part, Preset, Presets, Run, bounded
from methods._captions import global_logits, local_logits, named_classes, token_features
from methods._partial_losses import pairwise_ranking
from methods._prompts import Prompts
from methods._sgd import Group, SgdMethod, fit_groups


@dataclass
class Method(SgdMethod):
    """Guo et al. (CVPR 2023): no image and no image label is used in training.

    The data set's training captions are the images of the training, their words its regions; a
    caption's labels are the classes it names. The loss is the sum of two ranking losses, of the
    global context with the caption's end token and of the local one with its tokens; a test image
    is scored by the mean of its two logits, where `spatial_scale` weighs the regions. Ours: a
    caption's labels come from the class names themselves, not from lists of synonyms and a tagger;
    the global feature of an image is its mean token; regions keep their positional embedding.
    """

    context_length: int = 16
    spatial_scale: float = bounded(40.0, above=0)  # of regions; NUS-WIDE takes 4
    word_scale: float = bounded(50.0, above=0)
    epochs: int = 20
    batch_size: int = 512
    learning_rate: float = 1e-4

    title = "TaI-DPT"
    needs = "regions"
    needs_captions = True
    open_vocabulary = True
    PRESETS: ClassVar[Presets] = {
        "voc2007": Preset("official yaml: lr 1e-4, image scale 40, text scale 50"),
        "coco2014": Preset("official yaml: lr 1e-4, image scale 40, text scale 50"),
        "nus_wide": Preset("official yaml", learning_rate=1e-3, spatial_scale=4.0),
        "pocket": Preset(
            "Ours, tuned by nobody: the embedded data sets have no captions",
            batch_size=32,
            learning_rate=0.01,
        ),
    }

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Raises `ValueError` where no caption names a class."""
        y = named_classes(train.captions or (), train.classes)
        captions = [text for text, row in zip(train.captions or (), y, strict=True) if row.any()]
        y = y[y.any(axis=1)]
        if not captions:
            raise ValueError(
                "TaI-DPT learns from captions that name classes, and this data set has none: "
                "take a data set with captions, e.g. coco_mlt with coco_lt_captions.txt"
            )
        self.prompts = Prompts(clip, train.classes, ("", ""), self.context_length, False)

        def words(batches: Iterable[np.ndarray], _: str, __: object) -> Iterator[Tensor]:
            """(B, 1 + L, D): the end token's feature, then every token's."""
            for rows in batches:
                tokens, ends = token_features(clip, [captions[row] for row in rows])
                yield torch.cat([ends[:, None], tokens], dim=1)

        def objective(x: Tensor, y: Tensor) -> Tensor:
            whole, local = self.prompts.encode()
            padding = (x[:, 1:] == 0).all(-1)
            logits = local_logits(x[:, 1:], local, self.word_scale, padding)
            ranking = pairwise_ranking(global_logits(x[:, 0], whole), y)
            return (ranking + pairwise_ranking(logits, y)) / len(y)

        part = Part(train.classes, y, words, train.rng, run.device)
        groups = [Group([self.prompts.context], self.learning_rate)]
        fit_groups(self, groups, objective, part, run, self.prompts.cache.clear)

    @torch.no_grad()
    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """(B, len(classes)) of x (B, R, D), the mean token first."""
        whole, local = self.prompts.features(classes)
        near = local_logits(x[:, 1:].float(), local, self.spatial_scale)
        return (global_logits(x[:, 0].float(), whole) + near) / 2

    def state_dict(self) -> dict[str, Tensor]:
        """The contexts (2, M, W), global first."""
        return {"context": self.prompts.context.detach().clone()}

    def load_state_dict(
        self, clip: Clip, classes: tuple[str, ...], state: dict[str, Tensor]
    ) -> None:
        """The inverse; `classes` are those of the training labels."""
        self.prompts = Prompts(clip, classes, ("", ""), self.context_length, False)
        self.prompts.replace(state["context"])
