"""Linear probe on frozen CLIP features: masked multi-label logistic regression, or a linear layer
trained with a loss for partial labels."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmark import ABSENT, PRESENT, UNKNOWN, Clip, Part, Presets, Run
from benchmark.metrics import average_precision
from methods import _linear_layer
from methods._logistic_regression import LogisticRegression
from methods._loss_names import make_loss

COARSE = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)  # log10 C (Radford et al. 2021, appendix A.3)
# decades: the bracket around the best is halved down to 8 steps a decade
STEPS = (1.0, 0.5, 0.25, 0.125)
SWEEP_ITERATIONS, ITERATIONS = 100, 1000
WITHOUT_VALIDATION = 0.316  # the C of CLIP's README


@dataclass
class Method(_linear_layer.Probe):
    """Logistic regression on global features (B, D), float64, one C for all classes.

    `C` 0 means: choose it by the masked mAP of the validation part, then fit train and validation
    part together (0.316 where no validation label is known). Candidates of the sweep get at most
    100 iterations from the neighbour's solution, the final fit 1,000. Features are standardised on
    the images that are fitted (`standardize`). `unknown` "negative" takes unknown labels as
    negatives; `balanced` weighs positives by n₋ / n₊. A class without a known positive or negative
    scores a constant; `constant_classes` in the history counts them.

    `loss` trains the layer by gradient instead (`_linear_layer`), with a loss that says what an
    unknown label means: "an", "ls", "wan", "epr", "em", "em_apl", "role", "hill", "splc", "ll_r",
    "ll_ct", "ll_cp", "gr", "csl", "iu", "vlpl", "cap", or one with constants, "em(alpha=0.1)"; see
    `_loss_names`. `constants` names the data set whose published constants it takes. The
    papers train the whole network; on frozen features rate, epochs and the zero start are ours,
    chosen by validation mAP at 50 % known labels with "iu" and "em" (pictograms, seed 0).
    """

    C: float = 0.0
    unknown: str = "ignore"
    balanced: bool = False
    standardize: bool = True
    loss: str = ""
    constants: str = ""
    epochs: int = 100
    batch_size: int = 256
    learning_rate: float = 0.001
    preset: str = ""

    title = "Linear probe"
    needs = "global"
    PRESETS: ClassVar[Presets] = {
        "voc2007": {"constants": "voc"},
        "coco2014": {"constants": "coco"},
        "nus_wide": {"constants": "nus"},
        "pocket": {"constants": "pocket"},
    }

    def __post_init__(self) -> None:
        if self.unknown not in ("ignore", "negative"):
            raise ValueError(f'unknown={self.unknown!r} should be "ignore" or "negative"')
        if not self.loss:
            self.constants = self.preset = ""  # no difference: one protocol, one run id
        else:
            make_loss(self.loss, self.constants)
            if self.C or self.balanced or self.unknown != "ignore":
                raise ValueError(
                    "C, balanced and unknown belong to the logistic regression: leave them out, or "
                    f"leave out loss={self.loss!r}"
                )

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Chooses C, then fits everything that is labelled; with a loss, the training part only."""
        self.classes = train.classes
        if self.loss:
            self._standardize(train.features.double())
            _linear_layer.fit(self, make_loss(self.loss, self.constants), clip, train, run)
            return
        log_c = float(np.log10(self.C)) if self.C else self._choose(clip, train, val, run)
        run.chosen["C"] = 10**log_c
        x, y = torch.cat([train.features, val.features]), np.concatenate([train.y, val.y])
        self._solve(self._prepare(x, y), log_c, None, ITERATIONS)
        run.log(log10_C=log_c, constant_classes=self.constant)

    def _choose(self, clip: Clip, train: Part, val: Part, run: Run) -> float:
        """log10 of the C with the best masked mAP on the validation part; the smallest of equally
        good ones."""
        if not (val.y == PRESENT).any():
            return float(np.log10(WITHOUT_VALIDATION))
        problem = self._prepare(train.features, train.y)
        found: dict[float, tuple[float, Tensor | None]] = {}  # log10 C -> (mAP, solution)

        def look_at(log_c: float) -> None:
            if log_c in found or not COARSE[0] <= log_c <= COARSE[-1]:
                return
            near = min(found, key=lambda other: abs(other - log_c), default=None)
            solution = self._solve(
                problem, log_c, None if near is None else found[near][1], SWEEP_ITERATIONS
            )
            scores = self.predict(clip, val.features, val.classes).cpu().numpy()
            score = 100 * float(np.nanmean(average_precision(val.y, scores)))
            found[log_c] = score, solution
            run.log(**{"log10_C": log_c, "val/mAP": score})

        def best() -> float:
            return max(sorted(found), key=lambda log_c: found[log_c][0])

        for log_c in COARSE:
            look_at(log_c)
        for step in STEPS:
            peak = best()
            look_at(peak - step)
            look_at(peak + step)
        run.trials = len(found)
        return best()

    def _prepare(self, x: Tensor, labels: np.ndarray) -> LogisticRegression | None:
        """Sets statistics of x (n, D) and the constant classes' bias; the problem of the others,
        None without any."""
        x = x.double()
        self._standardize(x)
        y = torch.from_numpy(labels).to(x.device)
        if self.unknown == "negative":
            y = torch.where(y == UNKNOWN, ABSENT, y)
        positives, negatives = (y == PRESENT).sum(0), (y == ABSENT).sum(0)
        self.fitted = (positives > 0) & (negatives > 0)
        self.constant = int((~self.fitted).sum())
        overall = (
            (positives.sum() / (y != UNKNOWN).sum().clamp(min=1)).double().clamp(1e-6, 1 - 1e-6)
        )
        self.weight = x.new_zeros(len(positives), x.shape[1])
        # the rate, shrunk to the overall
        self.bias = torch.logit((positives + overall) / (positives + negatives + 1))
        if not self.fitted.any():
            return None
        y, ratio = y[:, self.fitted], (negatives / positives)[self.fitted]
        cells = (y != UNKNOWN).double()
        if self.balanced:
            cells = torch.where(y == PRESENT, ratio, cells)
        return LogisticRegression((x - self.mean) / self.spread, y, cells)

    def _standardize(self, x: Tensor) -> None:
        """Sets mean and spread (D,) of x (n, D), 0 and 1 where nothing is to be standardised."""
        self.mean = x.mean(0) if self.standardize else torch.zeros_like(x[0])
        spread = x.std(0, correction=0) if self.standardize else torch.ones_like(x[0])
        self.spread = torch.where(spread > 0, spread, 1.0)

    def _solve(
        self, problem: LogisticRegression | None, log_c: float, start: Tensor | None, most: int
    ) -> Tensor | None:
        """Sets weight and bias, for features that are not standardised; returns the solution to
        start others from."""
        if problem is None:
            return None
        solution = problem.solve(10**log_c, start, most)
        weight = solution[:, :-1] / self.spread
        self.weight[self.fitted] = weight
        self.bias[self.fitted] = solution[:, -1] - weight @ self.mean
        return solution

    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """Logits (B, len(classes)) of x (B, D)."""
        columns = [self.classes.index(name) for name in classes]
        return (x.double() @ self.weight.T + self.bias)[:, columns].float()

    def state_dict(self) -> dict[str, Tensor]:
        """What was learned: weight (C, D), bias (C,)."""
        return {"weight": self.weight, "bias": self.bias}

    def load_state_dict(
        self, clip: Clip, classes: tuple[str, ...], state: dict[str, Tensor]
    ) -> None:
        """The inverse; `classes` are those of the training labels."""
        self.classes = classes
        self.weight, self.bias = state["weight"].to(clip.device), state["bias"].to(clip.device)
