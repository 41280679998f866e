"""How often the bold marks are wrong, and how often they find a true difference: simulated.

    python -m tests.speed.significance [TABLES]

Prints docs/statistics.md's table. Three rules on the same data: all pairs by Holm (what the suite
did first), comparisons with the best by Holm, and the step-down that the suite uses.
"""

import itertools
import sys

import numpy as np

from reports.statistics import (
    LEVEL,
    Noise,
    against_best,
    compare,
    influence_of_average_precision,
    two_sided,
)

RULES = ("all pairs, Holm", "best only, Holm", "step-down")


def scores_table(rng, images, classes, skills, own_noise=0.5):
    """(M,) mAP and (M, N) influences of methods that share the images' difficulty."""
    targets = (rng.random((images, classes)) < 0.2).astype(np.int8)
    targets[:2] = 1
    shared = rng.normal(size=targets.shape)
    values, influences = [], []
    for skill in skills:
        scores = targets * skill + shared + own_noise * rng.normal(size=targets.shape)
        influence, precision = influence_of_average_precision(targets, scores.astype(np.float32))
        values.append(precision.mean())
        influences.append(influence.mean(axis=1))
    return np.array(values), np.array(influences)


def seeds_table(rng, means, noise=1.0, seeds=3):
    """(seeds, M) scores: every method with one error of images (sd 1) and one of each seed, whose
    sd runs from 0 for the first method to twice `noise` for the last."""
    size = len(means)
    sd = noise * np.linspace(0, 2, size)
    return means + rng.normal(size=size) + sd * rng.normal(size=(seeds, size))


def holm(p):
    """Adjusted p values (K,)."""
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1)


def below_best(values, noise, rules=RULES):
    """{rule: methods (M,) bool declared below the best}."""
    size, best = len(values), int(np.argmax(values))
    gap = values[:, None] - values[None, :]
    variance = np.nan_to_num(noise.pairs) / np.maximum(noise.seeds, 1)
    total = noise.images + variance
    with np.errstate(divide="ignore", invalid="ignore"):  # as the suite did first
        dof = np.where(variance > 0, (noise.seeds - 1) * (total / variance) ** 2, np.inf)
    p = two_sided(gap, np.sqrt(total), dof)
    found = {}
    if "all pairs, Holm" in rules:
        pairs = list(itertools.combinations(range(size), 2))
        everything = np.ones((size, size))
        for (i, j), one in zip(pairs, holm(np.array([p[pair] for pair in pairs])), strict=True):
            everything[i, j] = everything[j, i] = one
        found["all pairs, Holm"] = everything[best] < LEVEL
    if "best only, Holm" in rules:
        others = [k for k in range(size) if k != best]
        only = np.ones(size)
        only[others] = holm(p[others, best])
        found["best only, Holm"] = only < LEVEL
    verdicts = against_best(gap[:, best], noise, best)
    return found | {"step-down": np.array([not verdict.tied for verdict in verdicts])}


def one_seed(values, influences, rules=RULES):
    """Marks when only the images are noisy."""
    names = [str(k) for k in range(len(values))]
    compared = compare(
        {m: {0: value} for m, value in zip(names, values, strict=True)},
        {m: {0: influence} for m, influence in zip(names, influences, strict=True)},
    )
    return below_best(values, compared.noise, rules)


def several_seeds(scores, image_sd=1.0, rules=RULES):
    """Marks from scores (S, M), where the error of images is known."""
    gaps = scores[:, :, None] - scores[:, None, :]
    images = np.full(gaps.shape[1:], 2 * image_sd**2)
    seeds = np.full(images.shape, len(scores))
    sure = np.full(images.shape, np.inf)
    noise = Noise(
        images,
        sure,
        gaps.var(axis=0, ddof=1),
        seeds,
        scores.var(axis=0, ddof=1),
        np.full(len(sure), len(scores) - 1.0),
    )
    return below_best(scores.mean(axis=0), noise, rules)


def null_error(methods, tables, rng, kind="scores", rules=RULES, seeds=3, noise=1.0):
    """{rule: share of tables with any method falsely below the best}, all equal."""
    wrong = dict.fromkeys(rules, 0)
    for _ in range(tables):
        if kind == "scores":
            found = one_seed(*scores_table(rng, 200, 3, np.ones(methods)), rules)
        else:
            table = seeds_table(rng, np.zeros(methods), noise, seeds)
            found = several_seeds(table, rules=rules)
        for rule in rules:
            wrong[rule] += found[rule].any()
    return {rule: n / tables for rule, n in wrong.items()}


def power(methods, tables, rng, skill=0.03, rules=RULES):
    """The planted gap and {rule: share of the methods below it that are found}; the first is
    better."""
    found = dict.fromkeys(rules, 0.0)
    gap = 0.0
    for _ in range(tables):
        values, influences = scores_table(
            rng, 1000, 10, np.r_[1.5 + skill, np.full(methods - 1, 1.5)], own_noise=0.15
        )
        gap += values[0] - values[1:].mean()
        for rule, below in one_seed(values, influences, rules).items():
            found[rule] += below[1:].mean()
    return gap / tables, {rule: n / tables for rule, n in found.items()}


def power_over_seeds(methods, tables, rng, noise, seeds=3, gap=5.0):
    """The same from seeds; the gap is 5 image errors."""
    found = dict.fromkeys(RULES, 0.0)
    for _ in range(tables):
        table = seeds_table(rng, np.r_[gap, np.zeros(methods - 1)], noise, seeds)
        for rule, below in several_seeds(table).items():
            found[rule] += below[1:].mean()
    return {rule: n / tables for rule, n in found.items()}


def flips(tables, rng, methods=5, hopeless=10, rules=RULES):
    """{rule: tables in which hopeless methods change a mark of the others}, half of the tables
    with one seed, half with three."""
    changed = dict.fromkeys(rules, 0)
    for table in range(tables):
        if table % 2:
            skills = np.r_[1.5 + 0.06 * rng.random(methods), np.full(hopeless, 0.6)]
            values, influences = scores_table(rng, 300, 3, skills, own_noise=0.25)
            few = one_seed(values[:methods], influences[:methods], rules)
            many = one_seed(values, influences, rules)
        else:
            scores = seeds_table(rng, np.r_[8 * rng.random(methods), np.full(hopeless, -60.0)])
            few = several_seeds(scores[:, :methods], rules=rules)
            many = several_seeds(scores, rules=rules)
        for rule in rules:
            changed[rule] += int((few[rule] != many[rule][:methods]).any())
    return changed


def line(title, values):
    print(f"| {title} |", " | ".join(f"{value:.3f}" for value in values.values()), "|", flush=True)


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    generator = np.random.default_rng(0)
    print("| |", " | ".join(RULES), "|")
    for size in (2, 5, 12, 30):
        line(f"null, {size} methods, one seed", null_error(size, number, generator))
    for seeds, noise in itertools.product((2, 3, 5), (0.3, 1.0, 3.0)):
        for size in (5, 12, 30):
            found = null_error(size, number, generator, "seeds", seeds=seeds, noise=noise)
            line(f"null, {size} methods, {seeds} seeds, seed noise {noise:g}", found)
    for size in (2, 5, 12):
        planted, found = power(size, max(number // 5, 50), generator)
        line(f"planted {planted:.2f} points, {size} methods", found)
    for noise, size in itertools.product((0.1, 0.3, 1.0), (5, 12)):
        found = power_over_seeds(size, max(number // 5, 50), generator, noise)
        line(f"planted 5 errors, {size} methods, 3 seeds, seed noise {noise:g}", found)
    print("tables of 200 in which hopeless methods change a mark:", flips(200, generator))
