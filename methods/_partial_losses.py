"""Losses for labels of which many are unknown, as pure functions of (B, C) logits and targets.

Targets are 1 (known present), 0 (known absent) and -1 (unknown). The papers have single positive
labels, where every cell but one is unknown; a cell that is known to be absent gets the ordinary
negative term here, which is our extension. p = σ(logits); a mean is over all B · C cells.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# Inside the logarithms of Cole et al. and Zhou et al.: no cell costs more than 11.5. `eps` 0 is the
# exact cross entropy, as in the code of Tip-Adapter-SA.
EPS = 1e-5


def assume_negative(
    logits: Tensor, targets: Tensor, *, smoothing: float = 0.0, eps: float = EPS
) -> Tensor:
    """AN and AN-LS (Cole et al. 2021): unknown means absent.

    `smoothing` ε makes the target of a positive 1 - ε, that of every other cell ε."""
    p, present = torch.sigmoid(logits), targets == 1
    target = torch.where(present, 1 - smoothing, smoothing)
    return (target * _nll(p, eps) + (1 - target) * _nll(1 - p, eps)).mean()


def weak_assume_negative(logits: Tensor, targets: Tensor, *, eps: float = EPS) -> Tensor:
    """WAN (Cole et al. 2021): as AN, but the unknown cells of an image weigh 1 / (C - 1)
    each."""
    p = torch.sigmoid(logits)
    weight = torch.where(targets == 0, 1.0, 1.0 / max(1, logits.shape[1] - 1))
    return torch.where(targets == 1, _nll(p, eps), weight * _nll(1 - p, eps)).mean()


def ignore_unknown(logits: Tensor, targets: Tensor, *, eps: float = EPS) -> Tensor:
    """IU (Cole et al. 2021): cross entropy of the known cells, divided by the number of all
    cells."""
    return _known_nll(torch.sigmoid(logits), targets, eps).mean()


def expected_positives(probability: Tensor, expected: float) -> Tensor:
    """((1/B) Σ p - k)² / C² of (B, C) probabilities: a batch should hold k positives an image (Cole
    et al. 2021)."""
    return ((probability.sum(1).mean() - expected) / probability.shape[1]) ** 2


def expected_positive_regularization(logits: Tensor, targets: Tensor, *, expected: float) -> Tensor:
    """EPR (Cole et al. 2021): the known cells and `expected_positives`."""
    p = torch.sigmoid(logits)
    return _known_nll(p, targets).mean() + expected_positives(p, expected)


def role(logits: Tensor, estimates: Tensor, targets: Tensor, *, expected: float) -> Tensor:
    """ROLE (Cole et al. 2021): classifier and label estimator teach each other.

    `estimates` (B, C) are the logits of the estimated labels of these images. Each of the two gets
    EPR and the cross entropy with the other one, which is held constant in that term."""
    p, q = torch.sigmoid(logits), torch.sigmoid(estimates)

    def one_side(learner: Tensor, teacher: Tensor) -> Tensor:
        agreement = teacher * _nll(learner) + (1 - teacher) * _nll(1 - learner)
        return (_known_nll(learner, targets) + agreement).mean() + expected_positives(
            learner, expected
        )

    return (one_side(p, q.detach()) + one_side(q, p.detach())) / 2


def entropy_maximization(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float,
    beta: float = 0.0,
    pseudo: Tensor | None = None,
    eps: float = EPS,
) -> Tensor:
    """EM and EM + APL (Zhou et al. 2022): unknown cells gain α times their entropy.

    `pseudo` (B, C) holds the soft target of an unknown cell that was labelled as probably absent
    (see `_pseudo_labels`), and 0 elsewhere; such a cell costs β times the cross entropy."""
    p = torch.sigmoid(logits)
    unknown = -alpha * (p * _nll(p, eps) + (1 - p) * _nll(1 - p, eps))
    if pseudo is not None:
        soft = beta * (pseudo * _nll(p, eps) + (1 - pseudo) * _nll(1 - p, eps))
        unknown = torch.where(pseudo > 0, soft, unknown)
    return torch.where(targets < 0, unknown, _known_nll(p, targets, eps)).mean()


def pairwise_ranking(scores: Tensor, targets: Tensor, *, margin: float = 1.0) -> Tensor:
    """Σ over present i and other j of max(0, margin - s_i + s_j), summed over the images.

    Cole et al. rank probabilities and divide by B · C, TaI-DPT ranks logits and divides by B."""
    present = targets == 1
    gaps = F.relu(margin - scores[:, :, None] + scores[:, None, :])  # (B, i, j)
    return (gaps * (present[:, :, None] & ~present[:, None, :])).sum()


def hill(
    logits: Tensor,
    targets: Tensor,
    *,
    lam: float = 1.5,
    logit_margin: float = 1.0,
    gamma: float = 2.0,
) -> Tensor:
    """Hill loss (Zhang et al. 2021), summed: (λ - p) p² for unknown cells, which
    falls again for large p, and a focal term with a margin in the logit for positives."""
    p = torch.sigmoid(logits)
    known = torch.where(targets == 1, _focal(logits - logit_margin, gamma), F.softplus(logits))
    return torch.where(targets < 0, (lam - p) * p**2, known).sum()


def splc(
    logits: Tensor,
    targets: Tensor,
    *,
    epoch: int,
    threshold: float = 0.6,
    change_epoch: int = 1,
    logit_margin: float = 1.0,
    gamma: float = 2.0,
) -> Tensor:
    """Self-paced loss correction (Zhang et al. 2021), summed: from `change_epoch`
    on, counted from 0, an unknown cell with p > threshold counts as present in this batch."""
    shifted = logits - logit_margin * (targets == 1)
    target = targets == 1
    if epoch >= change_epoch:
        target = target | ((targets < 0) & (torch.sigmoid(shifted) > threshold))
    correct = torch.where(target, shifted, -shifted)  # the logit of the target being right
    return _focal(correct, gamma).sum()


def _focal(logit: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^γ ln p of σ(logit), the probability of what is right."""
    return -(torch.sigmoid(-logit) ** gamma) * F.logsigmoid(logit)


def large_loss(
    logits: Tensor, targets: Tensor, *, scheme: str, rate: float
) -> tuple[Tensor, Tensor]:
    """Large-loss modification (Kim et al. 2022) of AN; also says which cells it changed (B,
    C) bool.

    The unknown cells whose loss is at least the k-th largest of the batch, k = ⌈B · C · rate⌉, are
    left out (`scheme` "reject") or taken as present ("correct"); the mean stays over all cells."""
    unknown = targets < 0
    y = (targets == 1).to(logits)
    losses = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    count = min(_ceil(logits.numel() * rate), int(unknown.sum()))
    if count == 0:
        return losses.mean(), torch.zeros_like(unknown)
    smallest = losses.detach()[unknown].topk(count).values[-1]
    large = unknown & (losses.detach() >= smallest)
    other = F.binary_cross_entropy_with_logits(logits, 1 - y, reduction="none")
    changed = torch.zeros_like(losses) if scheme == "reject" else other
    return torch.where(large, changed, losses).mean(), large


def _ceil(value: float) -> int:
    return int(-(-value // 1))


def generalized_robust(
    logits: Tensor,
    targets: Tensor,
    *,
    slope: float,
    offset: float,
    center: float,
    width: float,
    q_positive: float = 0.01,
    q_negative: float = 1.0,
) -> Tensor:
    """GR loss (Chen et al. 2024): an unknown cell is present with confidence κ = σ(slope · p +
    offset), and weighs exp(-½ ((p - center) / width)²); neither carries a gradient.

    `gr_schedule` says how the four numbers move with the epoch."""
    p = torch.sigmoid(logits)
    confidence, weight = gr_confidence(p.detach(), slope, offset, center, width)
    # (1 - p^q) / q by logarithms: the power itself has no gradient where p is 0
    as_present = -torch.expm1(q_positive * F.logsigmoid(logits)) / q_positive
    as_absent = -torch.expm1(q_negative * F.logsigmoid(-logits)) / q_negative
    unknown = weight * (confidence * as_present + (1 - confidence) * as_absent)
    known = torch.where(targets == 1, -(p + 1e-7).log(), -(1 - p + 1e-7).log())
    return torch.where(targets < 0, unknown, known).mean()


def gr_confidence(
    p: Tensor, slope: float, offset: float, center: float, width: float
) -> tuple[Tensor, Tensor]:
    """Confidence κ and weight of unknown cells with these probabilities, of any shape."""
    weight = torch.exp(-0.5 * ((p - center) / width) ** 2)
    return torch.sigmoid(slope * p + offset), weight


def gr_schedule(
    epoch: int,
    epochs: int,
    *,
    warm_up: int = 0,
    slope: tuple[float, float] = (0.0, 2.0),
    offset: tuple[float, float] = (-2.0, -2.0),
    center: tuple[float, float] = (0.5, 0.8),
    width: tuple[float, float] = (2.0, 0.5),
) -> dict[str, float]:
    """The four numbers of `generalized_robust` in `epoch` 1 … epochs, each linear from its first to
    its last value after `warm_up` epochs. The defaults are the published ones, of VOC; the first
    two start to move an epoch later than the others, as in the official code."""
    late = max(epoch - warm_up - 1, 0) / (epochs - warm_up)
    soon = max(epoch - warm_up, 0) / (epochs - warm_up)
    moved = {"slope": (slope, late), "offset": (offset, late)}
    moved |= {"center": (center, soon), "width": (width, soon)}
    return {name: first + (last - first) * t for name, ((first, last), t) in moved.items()}


def selective(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma_positive: float = 0.0,
    gamma_negative: float = 1.0,
    gamma_unknown: float = 4.0,
    margin: float = 0.0,
    alpha_positive: float = 1.0,
    alpha_negative: float = 1.0,
    alpha_unknown: float = 1.0,
    mode: str = "selective",
    likelihood_topk: int = 5,
    prior: Tensor | None = None,
    prior_threshold: float = 0.5,
) -> Tensor:
    """Class-aware selective loss (Ben-Baruch et al. 2022), summed: an asymmetric loss with
    its own focus for unknown cells.

    `mode` "negative" takes all unknown cells as absent, "ignore" none; "ignore_normalize" also
    weighs an image by 1 + 1 / (1 + known labels). "selective" leaves out the unknown cells of
    classes whose `prior` (C,) exceeds the threshold, and the `likelihood_topk` · B unknown cells of
    the batch with the largest p. The focus carries no gradient."""
    p, present, unknown = torch.sigmoid(logits), targets == 1, targets < 0
    q = (1 - p + margin).clamp(max=1)
    alpha = torch.where(unknown, alpha_unknown, alpha_negative)
    log_likelihood = torch.where(
        present, alpha_positive * p.clamp(min=1e-8).log(), alpha * q.clamp(min=1e-8).log()
    )
    gamma = torch.where(unknown, gamma_unknown, gamma_negative).masked_fill(present, gamma_positive)
    focus = (1 - torch.where(present, p, q).detach()) ** gamma
    weight = torch.ones_like(p)
    if mode != "negative":
        weight = weight.masked_fill(unknown & _left_out(q, unknown, mode, likelihood_topk), 0.0)
    if mode == "ignore_normalize":
        weight = weight * (1 + 1 / (1 + (~unknown).sum(1, keepdim=True)))
    if mode == "selective" and prior is not None:
        weight = weight.masked_fill(unknown & (prior > prior_threshold), 0.0)
    return -(weight * focus * log_likelihood).sum()


def _left_out(q: Tensor, unknown: Tensor, mode: str, likelihood_topk: int) -> Tensor:
    """(B, C) bool: all cells, or in the mode "selective" those with the smallest q of the batch."""
    if mode != "selective":
        return torch.ones_like(unknown)
    count = min(likelihood_topk * len(q), q.numel())
    chosen = torch.zeros_like(unknown)
    likely = torch.where(unknown, q.detach(), torch.inf).flatten().topk(count, largest=False)
    chosen.view(-1)[likely.indices] = True
    return chosen


def _nll(p: Tensor, eps: float = EPS) -> Tensor:
    return -(p + eps).clamp(min=torch.finfo(p.dtype).tiny).log()


def _known_nll(p: Tensor, targets: Tensor, eps: float = EPS) -> Tensor:
    """(B, C): the cross entropy of known cells, 0 where the target is unknown."""
    return (targets == 1) * _nll(p, eps) + (targets == 0) * _nll(1 - p, eps)
