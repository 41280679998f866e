"""LM-CLIP: full fine-tuning of CLIP on label captions, with a balanced asymmetric loss;
docs/protocols.md has the values of the paper beside ours."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import benchmark
from benchmark import PRESENT, Clip, Part, Preset, Presets, Run, bounded, upload
from benchmark.clip.open_clip_types import Model
from benchmark.metrics import epoch_scalars
from methods._losses import balanced_asymmetric_loss, contrastive_loss
from methods._training import encode_texts


@dataclass
class Method(benchmark.Method):
    """Both towers and the logit scale are trained in float32; total loss = contrastive + λ ·
    balanced asymmetric loss.

    The defaults are the official VOC-MLT configuration for RN50; `PRESETS` holds all four. The
    official images are squashed and normalised with ImageNet's statistics: `long_tail` does so with
    preset="paper", and `RN50/openai@224+imagenet` anywhere.

    `balanced_weight` is λ. `class_weights_power` and `sample_weights_power` act where
    `weighted_loss` and `weighted_sampling` (with replacement) are on; an epoch draws `draws` × as
    many images as there are. `captions` "labels" describes an image by `prompt` and the names of
    its known positives in the order of the label file, "a photo of a cat, dog"; "given" takes the
    data set's own sentences, which may name labels that the mask hides. `batch_norm` "train" uses
    and updates batch statistics, "eval" does not. `channels_last` makes convolutions faster (1.5 ×
    on a CPU) and moves their gradients by rounding errors that batch statistics of small batches
    enlarge (up to 1e-2 relative), hence it is off by default.

    Unknown labels: no cell of the balanced loss, no name in a caption, no count in a weight. An
    image without a known positive (or without a given caption) takes no part in the contrastive
    loss; weighted sampling never draws it.
    """

    preset: str = ""
    epochs: int = 50
    batch_size: int = 8
    learning_rate: float = 2e-6
    weight_decay: float = 0.01
    balanced_weight: float = bounded(0.2, low=0)
    gamma_positive: float = 0.0
    gamma_negative: float = 12.0
    margin: float = 0.05
    eps: float = bounded(1e-8, low=0)
    label_smoothing: float = 0.01
    weighted_loss: bool = True
    class_weights_power: float = bounded(0.7, low=0)
    weighted_sampling: bool = True
    sample_weights_power: float = bounded(0.7, low=0)
    draws: float = 1.0
    captions: str = "labels"
    prompt: str = "a photo of a "
    batch_norm: str = "train"
    channels_last: bool = False
    augment: str = "flip"

    title = "LM-CLIP"
    needs = "pixels"
    open_vocabulary = True
    PRESETS: ClassVar[Presets] = {
        "voc_mlt_rn50": Preset(
            "configs of the official repository, VOC-MLT RN50: the defaults",
        ),
        "voc_mlt_vitb16": Preset(
            "configs of the official repository, VOC-MLT ViT-B/16",
            learning_rate=1e-06,
            balanced_weight=0.4,
            gamma_negative=9.8,
            label_smoothing=0.1,
            class_weights_power=1.35,
            sample_weights_power=1.35,
        ),
        "coco_mlt_rn50": Preset(
            "configs of the official repository, COCO-MLT RN50",
            learning_rate=1e-07,
            balanced_weight=6.0,
            gamma_negative=9.8,
            label_smoothing=0.1,
            class_weights_power=1.35,
            sample_weights_power=1.35,
        ),
        "coco_mlt_vitb16": Preset(
            "configs of the official repository, COCO-MLT ViT-B/16",
            learning_rate=1e-06,
            balanced_weight=5.0,
            gamma_negative=9.8,
            label_smoothing=0.1,
            class_weights_power=1.6,
            sample_weights_power=1.6,
        ),
        "pocket": Preset(
            "Ours: validation mAP on the embedded data",
            epochs=1,
            draws=0.5,
            batch_size=64,
            learning_rate=0.0002,
            balanced_weight=30.0,
            channels_last=True,
        ),
        "pocket_long_tail": Preset(
            "Ours: validation mAP on the embedded data",
            epochs=3,
            batch_size=32,
            learning_rate=0.0001,
            channels_last=True,
        ),
    }

    def __post_init__(self) -> None:
        if self.captions not in ("labels", "given"):
            raise ValueError(f'captions={self.captions!r} should be "labels" or "given"')
        if self.batch_norm not in ("train", "eval"):
            raise ValueError(f'batch_norm={self.batch_norm!r} should be "train" or "eval"')

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Trains a copy of the model. Raises `FloatingPointError` when the loss is not a number,
        at the latest at the end of the epoch."""
        if self.captions == "given" and train.captions is None:
            raise ValueError('this data set has no captions; use captions="labels"')
        self._copy(clip)
        self.trainable_parameters = sum(value.numel() for value in self.model.parameters())
        optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.learning_rate,
            betas=(0.9, 0.98),
            eps=1e-9,
            weight_decay=self.weight_decay,
            fused=True,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.epochs)
        counts = (train.y == PRESENT).sum(0)
        groups = {
            "head": counts >= 100,
            "medium": (counts >= 20) & (counts < 100),
            "tail": counts < 20,
        }
        for epoch in range(self.epochs):
            self.model.train(self.batch_norm == "train")
            losses, scores, targets = [], [], []
            for loss, logits, y in self._steps(train, run):
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                # they stay on the device: fetching them would make every step wait for it
                losses.append(loss.detach())
                scores.append(logits.detach())
                targets.append(y)
            schedule.step()
            self._forget()
            mean = torch.stack(losses).mean().item()
            if not math.isfinite(mean):
                raise FloatingPointError(
                    f"the loss is {mean} in epoch {epoch}; lower the learning rate"
                )
            # The official training scalars: over the stream as drawn, while the model changes.
            scalars = epoch_scalars(
                np.concatenate(targets), torch.cat(scores).cpu().numpy(), groups, "train"
            )
            run.end_of_epoch(epoch, self, **{"train/loss": mean}, **scalars)

    def _steps(self, train: Part, run: Run) -> Iterator[tuple[Tensor, Tensor, np.ndarray]]:
        """One epoch: total loss () and logits (B, C) of each batch on the device, its labels (B, C)
        on the host."""
        count = len(train)
        draws = max(1, round(self.draws * count))
        if self.weighted_sampling:
            chance = sample_weights(train.y, self.sample_weights_power)
            rows = run.rng.choice(count, draws, p=chance / chance.sum())
        else:
            rows = run.rng.permutation(count)[:draws]
        weights = None
        if self.weighted_loss:
            weights = torch.from_numpy(class_weights(train.y, self.class_weights_power)).to(
                run.device
            )
        names = [self.prompt + name for name in train.classes]
        batches = train.batches(self.batch_size, augment=self.augment, rows=rows)
        for step, (pixels, y) in enumerate(batches):
            drawn = rows[step * self.batch_size : step * self.batch_size + len(y)]
            captions = self._captions(train, drawn)
            described = [i for i, caption in enumerate(captions) if caption]
            images = self._images(pixels)
            texts = encode_texts(
                self.model, self.tokenizer, names + [captions[i] for i in described]
            )
            labels, captions_of = F.normalize(texts, dim=-1).split([len(names), len(described)])
            scale = self.model.logit_scale.exp()
            logits = scale * images @ labels.T
            loss = self.balanced_weight * balanced_asymmetric_loss(
                logits,
                y,
                gamma_positive=self.gamma_positive,
                gamma_negative=self.gamma_negative,
                margin=self.margin,
                eps=self.eps,
                class_weight=weights,
                label_smoothing=self.label_smoothing,
            )
            if described:
                if len(described) < len(images):
                    images = images[upload(np.array(described), images.device)]
                loss = loss + contrastive_loss(images, captions_of, scale)
            yield loss, logits, train.y[drawn]

    def _captions(self, train: Part, rows: np.ndarray) -> list[str]:
        """A caption for each image, "" where nothing is known about it."""
        if self.captions == "given":
            assert train.captions is not None, "fit has looked"
            return [train.captions[row] for row in rows]
        known = [[train.classes[column] for column in train.present(row)] for row in rows]
        return [self.prompt + ", ".join(names) if names else "" for names in known]

    def _forget(self) -> None:
        """What predictions remember of the towers as they are: texts, and the image tower made
        faster."""
        self._labels: dict[tuple[str, ...], Tensor] = {}
        self._tower: torch.nn.Module | None = None

    @torch.no_grad()
    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """(B, 3, H, W) -> s·cos (B, len(classes)) of the fine-tuned towers."""
        if classes not in self._labels:
            texts = [self.prompt + name for name in classes]
            features = encode_texts(self.model.eval(), self.tokenizer, texts)
            self._labels[classes] = F.normalize(features, dim=-1)
        images = self.image_features(clip, x)
        return self.model.logit_scale.exp() * images @ self._labels[classes].T

    @torch.no_grad()
    def image_features(self, clip: Clip, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> unit-norm (B, D) of the fine-tuned image tower, for the distances PD and
        ND (§4.9)."""
        # here: open_clip's towers take seconds to import, and a plan asks for parameters only
        from benchmark.clip.image_tower import frozen_copy, global_features

        if self._tower is None:
            self._tower = frozen_copy(self.model.visual)
        return F.normalize(global_features(self._tower, x), dim=-1)

    def state_dict(self) -> dict[str, Tensor]:
        """The whole model."""
        state: dict[str, Tensor] = self.model.state_dict()
        return state

    def load_state_dict(
        self, clip: Clip, classes: tuple[str, ...], state: dict[str, Tensor]
    ) -> None:
        """The inverse, also on a method that was never fitted."""
        self._copy(clip)
        self.model.load_state_dict(state)
        self._forget()

    def _copy(self, clip: Clip) -> None:
        """Other runs of this process share the encoder, so it is never changed itself."""
        self.model: Model = copy.deepcopy(clip.module)
        self.model.requires_grad_(True)
        self.tokenizer = clip.tokenizer
        self.model.to(memory_format=self._layout)
        self._forget()

    def _images(self, pixels: Tensor) -> Tensor:
        """Unit-norm features (B, D) of (B, 3, H, W)."""
        return F.normalize(
            self.model.encode_image(pixels.contiguous(memory_format=self._layout)), dim=-1
        )

    @property
    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


def class_weights(targets: np.ndarray, power: float) -> np.ndarray:
    """(N, C) -> (C,) float64 in [0, 1]: ((N / n_c) / max over classes)^power, n_c known positives
    (§4.5).

    A class without a known positive has weight 0: it has no positive term to weigh.
    """
    rarity = _rarity(targets)
    weights: np.ndarray = np.where(rarity > 0, (rarity / rarity.max()) ** power, 0.0)
    return weights


def sample_weights(targets: np.ndarray, power: float) -> np.ndarray:
    """(N, C) -> (N,) float64 in [0, 1]: (Σ over an image's known positives of N / n_c)^power,
    divided by the largest.

    An image without a known positive has weight 0.
    """
    total = (np.asarray(targets) == PRESENT) @ _rarity(targets)
    weights: np.ndarray = np.where(total > 0, total**power, 0.0)
    weights /= weights.max()
    return weights


def _rarity(targets: np.ndarray) -> np.ndarray:
    """N / n_c (C,), 0 where n_c is 0. Raises `ValueError` when no label is known to be present."""
    counts = (np.asarray(targets) == PRESENT).sum(0)
    if not counts.any():
        raise ValueError(
            "LM-CLIP weighs classes by their known positives, and there is none; use more labels"
        )
    rarity = np.zeros(len(counts))
    np.divide(len(targets), counts, out=rarity, where=counts > 0)
    return rarity
