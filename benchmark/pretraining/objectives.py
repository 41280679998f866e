"""What a pocket CLIP is trained on: the targets of scenes, the table of class vectors, and the
losses of a batch.

Losses, each a function of one batch of scenes:
  plain    images against prompts of ALL classes that say nothing of style (a class is present or
  not);
  style    images against prompts that name a style: positive only where class AND style are there,
  so that the
           words around a class name matter;
  regions  projected regions against the plain prompts (positive where an object covers the region);
  captions symmetric cross entropy between images and noisy captions, as in CLIP.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.clip.open_clip_types import Model
from benchmark.clip.pocket import MEAN, STD
from benchmark.pretraining import captions, corpus, towers
from benchmark.pretraining.text import Vocabulary

# classes of a step's style prompts that are read, captions of a step
STYLE_CLASSES, CAPTIONS = 32, 24


def pixels_of(scenes: list[corpus.Scene]) -> Tensor:
    """Normalised pixels (B, 3, S, S) float32."""
    pixels = torch.from_numpy(np.stack([scene.picture for scene in scenes])).float().div_(255)
    return pixels.sub_(torch.tensor(MEAN)[:, None, None]).div_(torch.tensor(STD)[:, None, None])


def present(scenes: list[corpus.Scene]) -> np.ndarray:
    """Which classes are in which scene: (B, C) float32."""
    targets = np.zeros((len(scenes), len(captions.CLASSES)), np.float32)
    for row, scene in enumerate(scenes):
        targets[row, scene.labels] = 1
    return targets


def region_targets(scenes: list[corpus.Scene], cells: int) -> tuple[Tensor, Tensor]:
    """Classes that cover each cell of a cells × cells grid: targets and weights, both (B, cells²,
    C) float32.

    A class is present where an object has 40 % of its box in the cell or fills 45 % of the cell,
    and left out of the loss (weight 0) where it only touches the cell.
    """
    side = scenes[0].picture.shape[-1]
    edges = np.arange(cells) * side / cells
    targets = np.zeros((len(scenes), cells, cells, len(captions.CLASSES)), np.float32)
    weights = np.ones_like(targets)
    for row, scene in enumerate(scenes):
        for label, (top, left, bottom, right) in zip(scene.labels, scene.boxes, strict=True):
            high = (np.minimum(edges + side / cells, bottom) - np.maximum(edges, top)).clip(0)
            wide = (np.minimum(edges + side / cells, right) - np.maximum(edges, left)).clip(0)
            shared = high[:, None] * wide
            covered = (shared > 0.4 * (bottom - top) * (right - left)) | (
                shared > 0.45 * (side / cells) ** 2
            )
            targets[row, :, :, label] = covered
            weights[row, :, :, label] = covered | (shared == 0)
    shape = (len(scenes), cells * cells, -1)
    return torch.from_numpy(targets).view(shape), torch.from_numpy(weights).view(shape)


class Table(nn.Module):
    """What stands in for the text tower at first: a vector per class, and a shift and a gain per
    style word.

    It learns much faster than a text tower, which is then taught to say the same. Also one bias for
    each sigmoid loss.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words = [word for words in captions.FACTORS.values() for word in words]
        self.classes = nn.Parameter(torch.randn(len(captions.CLASSES), width) * width**-0.5)
        self.shift = nn.Parameter(torch.randn(len(self.words), width) * 0.3 * width**-0.5)
        self.gain = nn.Parameter(torch.zeros(len(self.words), width))
        self.plain, self.style, self.regions = (
            nn.Parameter(torch.tensor(start)) for start in (-4.0, -5.0, -5.0)
        )

    def forward(self, words: tuple[str, ...] = ()) -> Tensor:
        """Unit-norm vectors (C, D) of all classes in a style."""
        rows = [self.words.index(word) for word in words]
        return F.normalize(
            self.classes * (1 + self.gain[rows].sum(0)) + self.shift[rows].sum(0), dim=-1
        )


def losses(
    model: Model,
    table: Table,
    vocabulary: Vocabulary,
    scenes: list[corpus.Scene],
    random: np.random.Generator,
    read: bool,
) -> dict[str, Tensor]:
    """The losses of one batch; `read`: prompts go through the text tower, else the table stands in
    for it."""
    pixels, targets = pixels_of(scenes), torch.from_numpy(present(scenes))
    images, regions = towers.image_features(
        model.visual, pixels.contiguous(memory_format=torch.channels_last)
    )
    scale, names = model.logit_scale.exp(), captions.CLASSES

    example = scenes[random.integers(len(scenes))]
    words = tuple(
        str(word) for word in random.permutation(example.styles)[: 1 + (random.random() < 0.4)]
    )
    fits = torch.tensor([all(word in scene.styles for word in words) for scene in scenes]).float()[
        :, None
    ]
    some = random.permutation(len(names))[: STYLE_CLASSES if read else len(names)]
    if read:
        template = captions.plain_template(random)
        plain = towers.text_features(model, vocabulary([template.format(name) for name in names]))
        template = captions.style_template(random, words)
        styled = towers.text_features(model, vocabulary([template.format(names[c]) for c in some]))
    else:
        plain, styled = table(), table(words)[some]

    result = {"plain": sigmoid_loss(images @ plain.T * scale + table.plain, targets)}
    if (targets.sum(1) == 1).all():
        result["plain"] = (
            2 * F.cross_entropy(images @ plain.T * scale, targets) + 0.2 * result["plain"]
        )
    result["style"] = sigmoid_loss(images @ styled.T * scale + table.style, targets[:, some] * fits)
    wanted, weights = region_targets(scenes, round(regions.shape[1] ** 0.5))
    result["regions"] = sigmoid_loss(regions @ plain.T * scale + table.regions, wanted, weights)
    result["captions"] = torch.zeros(())
    if read:
        told = [captions.caption(random, scene.labels, scene.styles) for scene in scenes[:CAPTIONS]]
        logits = images[:CAPTIONS] @ towers.text_features(model, vocabulary(told)).T * scale
        same = torch.arange(CAPTIONS)
        result["captions"] = (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
    return result


def sigmoid_loss(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross entropy, summed over classes and averaged over everything else."""
    loss = F.binary_cross_entropy_with_logits(logits, targets, weight=weights, reduction="sum")
    return loss / (logits.numel() / logits.shape[-1])
