"""Losses of the linear probe that label unknown cells, or drop them, during the training."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from methods import _partial_losses as losses
from methods import _pseudo_labels
from methods._losses import asymmetric_loss
from methods._training_losses import Loss


@dataclass
class EntropyWithPseudoLabels(Loss):
    """EM + APL: after the part `warm_up` of the epochs, every epoch labels further cells of each
    class as probably absent, the least probable first, `share` of the unknown ones in the end."""

    alpha: float = 0.2
    beta: float = 0.02
    warm_up: float = 0.5
    share: float = 0.9

    def start(self, x: Tensor, y: Tensor, epochs: int) -> None:
        super().start(x, y, epochs)
        self.pseudo = torch.zeros(y.shape, device=y.device)

    def start_epoch(self, epoch: int, probability: Callable[[], Tensor]) -> None:
        super().start_epoch(epoch, probability)
        first = round(self.warm_up * self.epochs)
        if epoch >= first:
            unknown = self.y < 0
            counts = (self.share * unknown.sum(0) / (self.epochs - first)).long()
            still_open = unknown & (self.pseudo == 0)
            self.pseudo += _pseudo_labels.pseudo_negatives(probability(), still_open, counts)

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        return losses.entropy_maximization(
            logits, self.y[rows], alpha=self.alpha, beta=self.beta, pseudo=self.pseudo[rows]
        )


@dataclass
class SimilarityPseudoLabels(Loss):
    """VLPL: CLIP's own guesses, softmax at temperature 0.01, count as soft positives from the
    second epoch on."""

    threshold: float = 0.3
    alpha: float = 0.2
    beta: float = 0.7

    def ask(self, cosines: Callable[[], Tensor]) -> None:
        self.similarity = (100 * cosines()).softmax(dim=1)

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        return _pseudo_labels.similarity_pseudo_labels(
            logits,
            self.y[rows],
            similarity=self.similarity[rows],
            threshold=self.threshold if self.epoch > 0 else 1.0,
            alpha=self.alpha,
            beta=self.beta,
        )


@dataclass
class ClassAwarePseudoLabels(Loss):
    """CAP: images without any label take part after `warm_up` of the epochs, with the labels that
    keep the classes as frequent as they are among the labelled images; the model labels them anew
    in every epoch (the official one is a moving average)."""

    gamma_negative: float = 4.0
    warm_up: float = 0.3

    def start(self, x: Tensor, y: Tensor, epochs: int) -> None:
        super().start(x, y.clone(), epochs)
        self.unlabelled = (y < 0).all(dim=1)
        known = y[~self.unlabelled]
        self.frequency = (known == 1).sum(0) / (known >= 0).sum(0).clamp(min=1)

    def start_epoch(self, epoch: int, probability: Callable[[], Tensor]) -> None:
        super().start_epoch(epoch, probability)
        if epoch >= self.warm_up * self.epochs and self.unlabelled.any():
            scores = probability()[self.unlabelled]
            present, trusted = _pseudo_labels.class_aware_pseudo_labels(scores, self.frequency)
            labels = torch.where(trusted, present.to(self.y.dtype), -1)
            self.y[self.unlabelled] = labels.to(self.y.dtype)

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        gamma = self.gamma_negative
        return asymmetric_loss(
            logits, self.y[rows], gamma_positive=0.0, gamma_negative=gamma, eps=1e-8
        )


@dataclass
class LargeLoss(Loss):
    """LL-R: leaves out the unknown cells with the largest losses, `delta` of all cells more in
    every tenth of the epochs (the official training has ten epochs; Kim et al. 2023)."""

    delta: float = 0.005
    scheme: str = field(default="reject", init=False)

    def rate(self) -> float:
        """Of this epoch: 0 in the first one."""
        return 10 * self.delta * self.epoch / self.epochs

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        rate = self.rate()
        return losses.large_loss(logits, self.y[rows], scheme=self.scheme, rate=rate)[0]


@dataclass
class LargeLossTemporary(LargeLoss):
    """LL-Ct: takes them as present in this batch."""

    delta: float = 0.002
    scheme: str = field(default="correct", init=False)


@dataclass
class LargeLossPermanent(LargeLoss):
    """LL-Cp: takes `delta` of the cells of every batch as present for good, after a first tenth of
    the epochs (the repaired code; the first release never wrote a label)."""

    delta: float = 0.001
    scheme: str = field(default="correct", init=False)

    def start(self, x: Tensor, y: Tensor, epochs: int) -> None:
        super().start(x, y.clone(), epochs)

    def rate(self) -> float:
        """`delta` belongs to ten passes over the images; of more passes each takes less."""
        return 0.0 if self.epoch < self.epochs / 10 else 10 * self.delta / self.epochs

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        loss, cells = losses.large_loss(logits, self.y[rows], scheme=self.scheme, rate=self.rate())
        self.y[rows] = torch.where(cells, 1, self.y[rows])
        return loss
