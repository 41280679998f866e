"""SPARC: zero-shot scores normalised over images and classes, and fused with scores of prompts that
name two classes."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

import benchmark
from benchmark import Clip, Part, Preset, Presets, Run
from methods._rank_fusion import (
    fuse,
    normalise_columns,
    normalise_rows,
    ordered,
    pair_members,
    pairs,
    principal_direction,
)
from methods._templates import check_template, class_features


@dataclass
class Method(benchmark.Method):
    """Miller et al. (CVPR 2025): nothing is trained, no label is used.

    Cosines with the class texts, normalised over the classes of an image, then over images: the
    paper's "normalise only" row. With `compound`, a sentence with two {}, every pair of classes has
    a prompt, and a class's own score is fused with its pairs' by `ordered` and `fuse`. The paper
    takes statistics and directions from the whole test set; here they come from the training
    images, so that every test image is scored by itself. Ours, too: all pairs of classes, where the
    paper writes its compound prompts for each data set.
    """

    template: str = "a photo of a {}."
    compound: str = ""
    preset: str = ""

    title = "SPARC"
    needs = "global"
    open_vocabulary = True
    PRESETS: ClassVar[Presets] = {
        "pocket": Preset(
            "Ours: validation mAP on the embedded data (docs/embedded.md)",
            template="ensemble",
            compound="a photo of a {} and a {}.",
        )
    }

    def __post_init__(self) -> None:
        check_template(self.template)
        if self.compound and self.compound.count("{}") != 2:
            raise ValueError(f"compound={self.compound!r} should hold {{}} twice, or be empty")

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Keeps the training images' features."""
        self._start(train.features)

    def _start(self, sample: Tensor) -> None:
        self.sample = sample
        self.known: dict[tuple[str, ...], tuple[list[Tensor], list[Tensor]]] = {}

    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """(B, len(classes)) of x (B, D)."""
        if classes not in self.known:
            rows = self._rows(clip, self.sample, classes)
            columns = self._ordered([normalise_columns(part) for part in rows])
            self.known[classes] = rows, [principal_direction(own) for own in columns]
        sample, directions = self.known[classes]
        rows = self._rows(clip, x, classes)
        scores = [normalise_columns(part, of) for part, of in zip(rows, sample, strict=True)]
        return fuse(scores[0], self._ordered(scores), directions) if self.compound else scores[0]

    def _rows(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> list[Tensor]:
        """Normalised scores of the classes (B, C) and, with `compound`, of their pairs (B, P)."""
        own = normalise_rows(x @ class_features(clip, classes, self.template).T)
        if not self.compound:
            return [own]
        texts = [self.compound.format(*pair) for pair in pairs(classes)]
        single = class_features(clip, classes, "a photo of a {}.")
        return [own, normalise_rows(x @ clip.text(texts).T, x @ single.T)]

    def _ordered(self, scores: list[Tensor]) -> list[Tensor]:
        if not self.compound:
            return []
        own, compound = scores
        return ordered(own, compound, pair_members(own.shape[1]))

    def state_dict(self) -> dict[str, Tensor]:
        """The training images' features (n, D)."""
        return {"sample": self.sample}

    def load_state_dict(
        self, clip: Clip, classes: tuple[str, ...], state: dict[str, Tensor]
    ) -> None:
        """The inverse."""
        self._start(state["sample"].to(clip.device))
