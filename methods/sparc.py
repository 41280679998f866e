"""SPARC's normalisation: zero-shot scores freed from images and classes that score high on
everything."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

import benchmark
from benchmark import Clip, Part, Presets, Run
from methods._templates import check_template, class_features


def normalise_rows(scores: Tensor, reference: Tensor | None = None) -> Tensor:
    """(n, C) with mean 0 and standard deviation 1 over the classes of each image, by the statistics
    of `reference` (n, C') where another set of prompts is to be brought on its scale (Miller et al.
    2025)."""
    reference = scores if reference is None else reference
    spread = reference.std(1, keepdim=True).clamp(min=1e-12)
    return (scores - reference.mean(1, keepdim=True)) / spread


def normalise_columns(scores: Tensor, sample: Tensor | None = None) -> Tensor:
    """(n, C) with mean 0 and standard deviation 1 over the images of each class, by the statistics
    of the images of `sample` (m, C)."""
    sample = scores if sample is None else sample
    return (scores - sample.mean(0)) / sample.std(0).clamp(min=1e-12)


@dataclass
class Method(benchmark.Method):
    """The "normalise only" row of Miller et al. (CVPR 2025): nothing is trained, no label is used.

    Cosines with the class texts, normalised over the classes of an image, then over images. The
    paper takes the statistics of the latter from the whole test set; here they come from the
    training images, so that every test image is scored by itself. Its further step, the fusion with
    prompts that name several classes, is not here. The preset "pocket" was chosen as in LP++.
    """

    template: str = "a photo of a {}."
    preset: str = ""

    title = "SPARC"
    needs = "global"
    open_vocabulary = True
    PRESETS: ClassVar[Presets] = {"pocket": {"template": "ensemble"}}

    def __post_init__(self) -> None:
        check_template(self.template)

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Keeps the training images' features."""
        self.sample = train.features
        self.statistics: dict[tuple[str, ...], Tensor] = {}

    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """(B, len(classes)) of x (B, D)."""
        texts = class_features(clip, classes, self.template)
        if classes not in self.statistics:
            self.statistics[classes] = normalise_rows(self.sample @ texts.T)
        return normalise_columns(normalise_rows(x @ texts.T), self.statistics[classes])

    def state_dict(self) -> dict[str, Tensor]:
        """The training images' features (n, D)."""
        return {"sample": self.sample}

    def load_state_dict(
        self, clip: Clip, classes: tuple[str, ...], state: dict[str, Tensor]
    ) -> None:
        """The inverse."""
        self.sample, self.statistics = state["sample"].to(clip.device), {}
