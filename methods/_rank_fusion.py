"""SPARC (Miller et al. 2025): scores freed from images and classes that score high on everything,
and the fusion of a class's own prompt with prompts that name several classes."""

import itertools

import torch
from torch import Tensor

MOST = 100  # classes whose pairs are prompts


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


def pairs(classes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Every two of the classes. Raises `ValueError` for more classes than `MOST`."""
    if len(classes) > MOST:
        raise ValueError(f"{len(classes)} classes have too many pairs: leave out compound")
    return list(itertools.combinations(classes, 2))


def pair_members(count: int) -> Tensor:
    """(P, C) bool: the two classes of each of the `pairs` of `count` classes."""
    indices = torch.combinations(torch.arange(count))
    members = torch.zeros(len(indices), count, dtype=torch.bool)
    return members.scatter_(1, indices, True)


def ordered(ensemble: Tensor, compound: Tensor, members: Tensor) -> list[Tensor]:
    """For each class the columns of its order statistics, (n, k + 1): its k compound scores in
    ascending order, then its own score, from `ensemble` (n, C), `compound` (n, P) and `members` (P,
    C) bool, the classes that a compound prompt names, best on the host: it is an index."""
    return [
        torch.cat([compound[:, own].sort(dim=1).values, ensemble[:, c, None]], dim=1)
        for c, own in enumerate(members.T)
    ]


def principal_direction(columns: Tensor) -> Tensor:
    """(k,) of data (n, k), n > k: its first principal direction with a positive mean, divided by
    the sum of its absolute values."""
    centred = columns - columns.mean(0)
    direction: Tensor = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    return direction * direction.mean().sign() / direction.abs().sum()


def fuse(ensemble: Tensor, columns: list[Tensor], directions: list[Tensor]) -> Tensor:
    """(n, C): half the class's own score, half its order statistics (`ordered`) along its
    direction; a class without compound prompts keeps its own score."""
    scores = [own @ direction for own, direction in zip(columns, directions, strict=True)]
    return (ensemble + torch.stack(scores, dim=1)) / 2
