"""What `loss=` of the linear probe can be: each loss with its constants and what it remembers.

The formulas are the pure functions of `_partial_losses`; here stand the constants of the papers,
per data set, and the state that some losses keep between batches and epochs.
"""

import ast
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import _partial_losses as losses
from methods._logistic_regression import LogisticRegression

# What the papers set for each data set (Cole et al. 2021; Zhou et al. 2022, official code), and
# "pocket": the number of classes that scenes of the embedded data sets show on average.
CONSTANTS: dict[str, dict[str, dict[str, float]]] = {
    data: {
        "epr": {"expected": expected},
        "role": {"expected": expected},
        "em": {"alpha": alpha},
        "em_apl": {"alpha": alpha, "beta": beta, "warm_up": warm_up},
    }
    for data, expected, alpha, beta, warm_up in (
        ("voc", 1.5, 0.2, 0.02, 0.5),
        ("coco", 2.9, 0.1, 0.9, 0.5),
        ("nus", 1.9, 0.1, 0.2, 0.4),
        ("cub", 31.4, 0.01, 0.4, 0.3),
        ("pocket", 2.5, 0.2, 0.02, 0.5),
    )
}


@dataclass
class Loss:
    """One loss over one training: `start`, then `start_epoch` and the steps of every epoch.

    `y` (n, C) holds the training labels, `rows` (B,) says which of them a batch has."""

    y: Tensor = field(init=False, repr=False)

    def start(self, x: Tensor, y: Tensor, epochs: int) -> None:
        """Before the first epoch, with features (n, D) and labels (n, C) in {1, 0, -1}."""
        self.y, self.epochs, self.epoch = y, epochs, 0

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
            self.pseudo += losses.pseudo_negatives(probability(), still_open, counts)

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        return losses.entropy_maximization(
            logits, self.y[rows], alpha=self.alpha, beta=self.beta, pseudo=self.pseudo[rows]
        )


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
            solution = LogisticRegression(x, y[:, fitted], (y[:, fitted] >= 0)).solve(
                1.0, None, 100
            )
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


LOSSES: dict[str, type[Loss]] = {
    "an": AssumeNegative,
    "ls": LabelSmoothing,
    "wan": WeakAssumeNegative,
    "iu": IgnoreUnknown,
    "epr": ExpectedPositives,
    "role": Role,
    "em": EntropyMaximization,
    "em_apl": EntropyWithPseudoLabels,
    "hill": Hill,
    "splc": Splc,
    "ll_r": LargeLoss,
    "ll_ct": LargeLossTemporary,
    "ll_cp": LargeLossPermanent,
    "gr": GeneralizedRobust,
    "csl": Selective,
}


def make_loss(text: str, constants: str = "") -> Loss:
    """The loss of a text such as "em" or "em(alpha=0.1)"; what it leaves open is taken from
    `CONSTANTS` of that name, else from the defaults. Raises `ValueError` that lists the choices."""
    name, given = _parse(text)
    if name not in LOSSES:
        raise ValueError(f"loss={text!r} should be one of {', '.join(LOSSES)}, e.g. em(alpha=0.1)")
    if constants and constants not in CONSTANTS:
        raise ValueError(f"constants={constants!r} should be one of {', '.join(CONSTANTS)}")
    known = [entry.name for entry in dataclasses.fields(LOSSES[name]) if entry.init]
    wrong = sorted(set(given) - set(known))
    if wrong:
        has = ", ".join(known) or "none"
        raise ValueError(f"loss {name!r} has no constant {wrong[0]!r}; it has: {has}")
    return LOSSES[name](**{**CONSTANTS.get(constants, {}).get(name, {}), **given})


def _parse(text: str) -> tuple[str, dict[str, float]]:
    try:
        node = ast.parse(text, mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, {}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            return node.func.id, {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
    except (SyntaxError, ValueError):
        pass
    raise ValueError(f"cannot read loss={text!r}; write a name or name(constant=value)")
