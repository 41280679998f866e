"""What `loss=` of the linear probe can be: the losses over a training, with their constants.

The formulas are the pure functions of `_partial_losses`. Losses that label unknown cells as they go
stand in `_labelling_losses`, the names of all in `_loss_names`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import _partial_losses as losses
from methods._logistic_regression import OPTIMUM, LogisticRegression


@dataclass
class Loss:
    """One loss over one training: `start`, then `start_epoch` and the steps of every epoch.

    `y` (n, C) holds the training labels, `rows` (B,) says which of them a batch has."""

    y: Tensor = field(init=False, repr=False)

    def start(self, x: Tensor, y: Tensor, epochs: int) -> None:
        """Before the first epoch, with features (n, D) and labels (n, C) in {1, 0, -1}."""
        self.y, self.epochs, self.epoch = y, epochs, 0

    def ask(self, cosines: Callable[[], Tensor]) -> None:
        """Before `start`; `cosines` gives those (n, C) of the images with their classes' texts."""

    def start_epoch(self, epoch: int, probability: Callable[[], Tensor]) -> None:
        """Before every epoch, counted from 0; `probability` gives (n, C) of the model as it is."""
        self.epoch = epoch

    def parameters(self) -> list[nn.Parameter]:
        """What is learned beside the classifier, at ten times its rate."""
        return []

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The loss () of logits (B, C)."""
        raise NotImplementedError


@dataclass
class AssumeNegative(Loss):
    """AN: unknown means absent."""

    smoothing: float = 0.0

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        return losses.assume_negative(logits, self.y[rows], smoothing=self.smoothing)


@dataclass
class LabelSmoothing(AssumeNegative):
    """AN-LS."""

    smoothing: float = 0.1


@dataclass
class WeakAssumeNegative(Loss):
    """WAN."""

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        return losses.weak_assume_negative(logits, self.y[rows])


@dataclass
class IgnoreUnknown(Loss):
    """IU: the known cells only; with single positives, all that is learned is "present"."""

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        return losses.ignore_unknown(logits, self.y[rows])


@dataclass
class ExpectedPositives(Loss):
    """EPR; `expected` is the mean number of present classes in an image."""

    expected: float = 1.5

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        return losses.expected_positive_regularization(logits, self.y[rows], expected=self.expected)


@dataclass
class Role(Loss):
    """ROLE: one learned logit per training cell. They start uniform within ±logit(0.6) where the
    label is unknown and at ±logit(0.995) where it is known."""

    expected: float = 1.5

    def start(self, x: Tensor, y: Tensor, epochs: int) -> None:
        super().start(x, y, epochs)
        span, sure = torch.logit(torch.tensor([0.6, 0.995])).tolist()
        start = span * (2 * torch.rand(y.shape, device=y.device) - 1)
        start = torch.where(y == 1, sure, torch.where(y == 0, -sure, start))
        self.estimates = nn.Parameter(start)

    def parameters(self) -> list[nn.Parameter]:
        return [self.estimates]

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        return losses.role(logits, self.estimates[rows], self.y[rows], expected=self.expected)


@dataclass
class EntropyMaximization(Loss):
    """EM."""

    alpha: float = 0.2

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        return losses.entropy_maximization(logits, self.y[rows], alpha=self.alpha)


@dataclass
class Hill(Loss):
    """Hill."""

    lam: float = 1.5
    logit_margin: float = 1.0
    gamma: float = 2.0

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        constants = {"lam": self.lam, "logit_margin": self.logit_margin, "gamma": self.gamma}
        return losses.hill(logits, self.y[rows], **constants)


@dataclass
class Splc(Loss):
    """SPLC; COCO with three quarters of the labels left takes threshold 0.65."""

    threshold: float = 0.6
    change_epoch: int = 1
    logit_margin: float = 1.0
    gamma: float = 2.0

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        return losses.splc(
            logits,
            self.y[rows],
            epoch=self.epoch,
            threshold=self.threshold,
            change_epoch=self.change_epoch,
            logit_margin=self.logit_margin,
            gamma=self.gamma,
        )


@dataclass
class GeneralizedRobust(Loss):
    """GR, with the published constants, which are those of VOC."""

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        moved = losses.gr_schedule(self.epoch + 1, self.epochs)
        return losses.generalized_robust(logits, self.y[rows], **moved)


@dataclass
class Selective(Loss):
    """CSL. The class priors are the mean probabilities that a logistic regression on the known
    labels gives the training images; where no label is known to be absent there are none, and only
    the likelihood rule acts."""

    gamma_negative: float = 1.0
    gamma_unknown: float = 4.0
    likelihood_topk: int = 5
    prior_threshold: float = 0.5

    def start(self, x: Tensor, y: Tensor, epochs: int) -> None:
        super().start(x, y, epochs)
        fitted = (y == 1).any(0) & (y == 0).any(0)
        self.prior = None
        if fitted.any():
            known = y[None, :, fitted]
            problem = LogisticRegression(x[None], known, known >= 0)
            solution = problem.solve(x.new_ones(1, 1), None, OPTIMUM)[0, 0]
            logits = F.linear(x.double(), solution[:, :-1], solution[:, -1])
            self.prior = torch.zeros(y.shape[1], device=y.device)
            self.prior[fitted] = torch.sigmoid(logits).mean(0).float()

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        return losses.selective(
            logits,
            self.y[rows],
            gamma_negative=self.gamma_negative,
            gamma_unknown=self.gamma_unknown,
            likelihood_topk=self.likelihood_topk,
            prior=self.prior,
            prior_threshold=self.prior_threshold,
        )
