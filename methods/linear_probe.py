"""Linear probe on frozen CLIP features: masked multi-label logistic regression, or a linear layer
trained with a loss for partial labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmark import (
    ABSENT,
    PRESENT,
    UNKNOWN,
    Clip,
    Member,
    Preset,
    Presets,
    bounded,
    upload,
)
from benchmark.metrics import average_precision
from methods import _linear_layer
from methods._logistic_regression import OPTIMUM, RANKING, LogisticRegression
from methods._loss_names import make_loss

COARSE = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)  # log10 C (Radford et al. 2021, appendix A.3)
# decades: the bracket around the best is halved down to 8 steps a decade
STEPS = (1.0, 0.5, 0.25, 0.125)
WITHOUT_VALIDATION = 0.316  # the C of CLIP's README


@dataclass
class Method(_linear_layer.Probe):
    """Logistic regression on global features (B, D), float64, one C for all classes.

    `C` 0 means: choose it by the masked mAP of the validation part, then fit train and validation
    part together (0.316 where no validation label is known). Candidates of the sweep are solved
    until a step changes their logits by 1 %, the final fit until 1e-6: to the optimum of
    scikit-learn. Features are standardised on the images that are fitted (`standardize`).
    `unknown` "negative" takes unknown labels as negatives; `balanced` weighs positives by n₋ / n₊.
    A class without a known positive or negative scores a constant; `constant_classes` in the
    history counts them.

    `loss` trains the layer by gradient instead (`_linear_layer`), with a loss that says what an
    unknown label means: "an", "ls", "wan", "epr", "em", "em_apl", "role", "hill", "splc", "ll_r",
    "ll_ct", "ll_cp", "gr", "csl", "iu", "vlpl", "cap", or one with constants, "em(alpha=0.1)"; see
    `_loss_names`. `constants` names the data set whose published constants it takes. The
    papers train the whole network; on frozen features rate, epochs and the zero start are ours,
    chosen by validation mAP at 50 % known labels with "iu" and "em" (pictograms, seed 0).
    """

    C: float = bounded(0.0, low=0)
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
    may_differ = ()
    PRESETS: ClassVar[Presets] = {
        "voc2007": Preset("constants of the losses: Cole et al., Zhou et al.", constants="voc"),
        "coco2014": Preset("constants of the losses: Cole et al., Zhou et al.", constants="coco"),
        "nus_wide": Preset("constants of the losses: Cole et al., Zhou et al.", constants="nus"),
        "pocket": Preset("Ours: the mean number of classes in a scene", constants="pocket"),
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

    @classmethod
    def fit_many(cls, clip: Clip, members: Sequence[Member]) -> list[Exception | None]:
        """Chooses C, then fits everything that is labelled: all candidates of all runs as one
        problem. With a loss the training part only, one run after the other."""
        methods = [cast(Method, member.method) for member in members]
        for method, member in zip(methods, members, strict=True):
            method.classes = member.train.classes
        if methods[0].loss:
            return [
                method._fit_layer(clip, own) for method, own in zip(methods, members, strict=True)
            ]
        log_c = np.log10([method.C or WITHOUT_VALIDATION for method in methods])
        searching = [
            i
            for i, (_, _, val, _) in enumerate(members)
            if not methods[i].C and (val.y == PRESENT).any()
        ]
        log_c[searching] = _choose([members[i] for i in searching])
        problem = _problem(
            [
                method._prepare(
                    torch.cat([train.features, val.features]), np.concatenate([train.y, val.y])
                )
                for method, (_, train, val, _) in zip(methods, members, strict=True)
            ]
        )
        c = upload(10 ** log_c[:, None], problem.x.device)
        solutions = problem.solve(c, None, OPTIMUM)[:, 0]
        for i, (method, member) in enumerate(zip(methods, members, strict=True)):
            method.weight, method.bias = method._plain(solutions[i])
            member.run.chosen["C"] = 10 ** float(log_c[i])
            member.run.log(log10_C=float(log_c[i]), constant_classes=method.constant)
        return [None] * len(members)

    @classmethod
    def bytes_a_member(cls, clip: Clip, member: Member) -> int:
        """Of the features in both precisions and of the curvature of all candidates."""
        cells = len(COARSE) * len(member.train.classes)
        return (len(member.train) + len(member.val)) * (4 * 8 * clip.width + 3 * 4 * cells)

    def _fit_layer(self, clip: Clip, member: Member) -> Exception | None:
        """By gradient; returns what went wrong."""
        _, train, _, run = member
        try:
            torch.manual_seed(run.seed)
            self._standardize(train.features.double())
            _linear_layer.fit(self, make_loss(self.loss, self.constants), clip, train, run)
        except Exception as error:
            return error
        return None

    def _prepare(self, x: Tensor, labels: np.ndarray) -> "_Cells":
        """Sets the statistics of x (n, D) and the bias of constant classes; what the others are
        fitted to."""
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
        # the rate, shrunk to the overall
        self.constant_bias = torch.logit((positives + overall) / (positives + negatives + 1))
        cells = ((y != UNKNOWN) & self.fitted).double()
        if self.balanced:
            ratio = negatives / positives.clamp(min=1)
            cells = torch.where(y == PRESENT, ratio * cells, cells)
        return _Cells((x - self.mean) / self.spread, y, cells)

    def _standardize(self, x: Tensor) -> None:
        """Sets mean and spread (D,) of x (n, D), 0 and 1 where nothing is to be standardised."""
        self.mean = x.mean(0) if self.standardize else torch.zeros_like(x[0])
        spread = x.std(0, correction=0) if self.standardize else torch.ones_like(x[0])
        self.spread = torch.where(spread > 0, spread, 1.0)

    def _plain(self, solution: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (…, C, D) and bias (…, C), for features that are not standardised, of a solution
        (…, C, D+1)."""
        weight = solution[..., :-1] / self.spread
        bias = solution[..., -1] - weight @ self.mean
        return weight, torch.where(self.fitted, bias, self.constant_bias)

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


class _Cells(NamedTuple):
    """What one run is fitted to: standardised x (n, D), labels y and weights of cells (n, C)."""

    x: Tensor
    y: Tensor
    cells: Tensor


def _problem(runs: list[_Cells]) -> LogisticRegression:
    """All as one; where a run has fewer images than another, images without weight are added."""
    columns = zip(*runs, strict=True)
    return LogisticRegression(*(pad_sequence(list(some), batch_first=True) for some in columns))


class _Search:
    """The candidates that a run has looked at."""

    def __init__(self, member: Member) -> None:
        self.method, (_, _, self.val, self.run) = cast(Method, member.method), member
        self.found: dict[float, tuple[float, Tensor]] = {}  # log10 C -> (mAP, solution (C, D+1))

    def best(self) -> float:
        """The log10 C with the best mAP; the smallest of equally good ones."""
        return max(sorted(self.found), key=lambda log_c: self.found[log_c][0])

    def wanted(self, step: float) -> list[float]:
        """What to look at next, both sides of the best."""
        sides = (self.best() - step, self.best() + step)
        return [c for c in sides if c not in self.found and COARSE[0] <= c <= COARSE[-1]]

    def nearest(self, log_c: float) -> Tensor:
        """The solution of the nearest candidate."""
        return self.found[min(self.found, key=lambda other: abs(other - log_c))][1]

    def look_at(self, log_cs: Sequence[float], solutions: Tensor) -> None:
        """Scores solutions (K, C, D+1) by the masked mAP of the validation part."""
        weight, bias = self.method._plain(solutions)
        x = self.val.features.double()
        scores = (x @ weight.flatten(0, 1).T + bias.flatten()).view(len(x), *bias.shape)
        columns = scores.float().cpu().numpy()  # (n, K, C)
        for i, log_c in enumerate(log_cs):
            score = 100 * float(np.nanmean(average_precision(self.val.y, columns[:, i])))
            self.found[log_c] = score, solutions[i]
            self.run.log(**{"log10_C": log_c, "val/mAP": score})


def _choose(members: Sequence[Member]) -> list[float]:
    """For each run log10 of the C with the best masked mAP on its validation part."""
    if not members:
        return []
    searches = [_Search(member) for member in members]
    problem = _problem(
        [
            search.method._prepare(member.train.features, member.train.y)
            for search, member in zip(searches, members, strict=True)
        ]
    )

    def solve(wanted: list[list[float]], start: Tensor | None) -> None:
        c = upload(10 ** np.array(wanted), problem.x.device)
        solutions = problem.solve(c, start, RANKING)
        for search, log_cs, own in zip(searches, wanted, solutions, strict=True):
            new = [i for i, log_c in enumerate(log_cs) if log_c not in search.found]
            search.look_at([log_cs[i] for i in new], own[new])

    solve([list(COARSE)] * len(searches), None)
    for step in STEPS:
        wanted = [search.wanted(step) for search in searches]
        width = max(map(len, wanted))
        if width:
            # filled up with the best, which is solved already
            wanted = [
                [*some, *[search.best()] * (width - len(some))]
                for search, some in zip(searches, wanted, strict=True)
            ]
            start = torch.stack(
                [
                    torch.stack([search.nearest(log_c) for log_c in some])
                    for search, some in zip(searches, wanted, strict=True)
                ]
            )
            solve(wanted, start)
    for search in searches:
        search.run.trials = len(search.found)
    return [search.best() for search in searches]
