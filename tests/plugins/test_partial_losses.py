"""The losses for partial labels against the golden vectors of the official code."""

from functools import partial

import numpy as np
import pytest
import torch

from methods import _partial_losses as losses
from tests.fixtures.golden import close, golden


def reproduces(loss, logits, targets, value, gradient, tolerance=1e-5):
    """Loss and gradient of a pure function at float32 logits."""
    logits = torch.from_numpy(logits).requires_grad_()
    found = loss(logits, targets)
    found.backward()
    close(found, value, tolerance)
    close(logits.grad, gradient, tolerance)


def unknown_for_zero(labels):
    """The files of single-positive papers write 0 for unobserved; here that is -1."""
    return torch.from_numpy(np.where(labels == 1, 1, -1).astype(np.int8))


COLE = {
    "an": losses.assume_negative,
    "an_ls": partial(losses.assume_negative, smoothing=0.1),
    "an_ls_0p2": partial(losses.assume_negative, smoothing=0.2),
    "wan": losses.weak_assume_negative,
}


@pytest.mark.parametrize("name", COLE)
def test_losses_of_cole(name):
    data = golden("losses_cole.npz")
    targets = unknown_for_zero(data["labels_obs"])
    reproduces(COLE[name], data["logits"], targets, data[f"{name}_loss"], data[f"{name}_grad"])


def test_epr_and_ranking_of_cole():
    data = golden("losses_cole.npz")
    targets, expected = unknown_for_zero(data["labels_obs"]), float(data["expected_num_pos"])
    epr = partial(losses.expected_positive_regularization, expected=expected)
    reproduces(epr, data["logits"], targets, data["epr_loss"], data["epr_grad"])
    close(
        losses.expected_positives(torch.sigmoid(torch.from_numpy(data["logits"])), expected),
        data["epr_reg"],
    )

    def ranking(z, y):
        return losses.pairwise_ranking(torch.sigmoid(z), y) / z.numel()

    reproduces(ranking, data["logits"], targets, data["pr_loss"], data["pr_grad"])


def test_known_labels_alone_and_full_labels():
    data = golden("losses_cole.npz")
    mixed = torch.from_numpy(data["labels_mixed"])
    signed = torch.where(mixed == 0, -1, torch.where(mixed < 0, 0, 1))  # their -1 is absent
    reproduces(losses.ignore_unknown, data["logits"], signed, data["iu_loss"], data["iu_grad"])
    full = torch.from_numpy(data["labels_full"])
    reproduces(losses.assume_negative, data["logits"], full, data["bce_loss"], data["bce_grad"])
    smooth = partial(losses.assume_negative, smoothing=0.1)
    reproduces(smooth, data["logits"], full, data["bce_ls_loss"], data["bce_ls_grad"])
    reproduces(losses.ignore_unknown, data["logits"], full, data["bce_loss"], data["bce_grad"])


def test_entropy_maximization_with_and_without_pseudo_labels():
    data = golden("losses_em_apl.npz")
    soft = torch.from_numpy(data["labels_soft"])
    for i, (alpha, beta) in enumerate(data["alpha_beta"]):
        em = partial(losses.entropy_maximization, alpha=alpha)
        targets = unknown_for_zero(data["labels_obs"])
        reproduces(em, data["logits"], targets, data[f"EM_loss_{i}"], data[f"EM_grad_{i}"])
        apl = partial(em, beta=beta, pseudo=(-soft).clamp(min=0))
        targets = torch.where(soft == 1, 1, -1)
        reproduces(apl, data["logits"], targets, data[f"EM_APL_loss_{i}"], data[f"EM_APL_grad_{i}"])


def test_rounds_of_pseudo_labels():
    data = golden("losses_em_apl.npz")
    for j in (0, 1):
        epochs, warm_up, share = data[f"apl_cfg_{j}"]
        observed = torch.from_numpy(data["apl_labels_obs"] == 1)
        counts = (share * (~observed).sum(0) / (epochs - warm_up)).long()
        pseudo = torch.zeros(observed.shape)
        rounds = sum(key.startswith(f"apl_out_{j}_") for key in data)
        assert rounds == epochs - warm_up + 1
        for r in range(rounds):
            p = torch.sigmoid(torch.from_numpy(data[f"apl_logits_{j}_{r}"]))
            pseudo = pseudo + losses.pseudo_negatives(p, ~observed & (pseudo == 0), counts)
            close(observed.float() - pseudo, data[f"apl_out_{j}_{r}"])


def test_hill_and_splc():
    data = golden("losses_hill_splc.npz")
    targets, logits = unknown_for_zero(data["labels_obs"]), data["logits"]
    for i, (lam, margin, gamma) in enumerate(data["hill_cfg"]):
        hill = partial(losses.hill, lam=lam, logit_margin=margin, gamma=gamma)
        reproduces(hill, logits, targets, data[f"hill_loss_{i}"], data[f"hill_grad_{i}"])
    for i, (threshold, change, margin, gamma, epoch) in enumerate(data["splc_cfg"]):
        splc = partial(
            losses.splc,
            epoch=epoch,
            threshold=threshold,
            change_epoch=change,
            logit_margin=margin,
            gamma=gamma,
        )
        reproduces(splc, logits, targets, data[f"splc_loss_{i}"], data[f"splc_grad_{i}"])


def large_loss_rate(scheme, clean_rate, delta, fixed):
    """Scheme and rate of a row. The first epoch (clean rate 1) is plain AN; only the repaired code
    gives "Cp" the same rate in every epoch."""
    rate = delta if scheme == 2 and fixed and clean_rate < 1 else 1 - clean_rate
    return ("reject" if scheme == 0 else "correct"), rate


@pytest.mark.parametrize("variant", ["orig", "fixed"])
def test_large_loss(variant):
    data = golden("losses_largeloss.npz")
    targets = unknown_for_zero(data["labels_obs"])
    for i, row in enumerate(data["cfg"]):
        scheme, rate = large_loss_rate(*row, fixed=variant == "fixed")

        def loss(z, y, scheme=scheme, rate=rate):
            return losses.large_loss(z, y, scheme=scheme, rate=rate)[0]

        value, gradient = data[f"{variant}_loss_{i}"], data[f"{variant}_grad_{i}"]
        reproduces(loss, data["logits"], targets, value, gradient)
        if variant == "fixed" and row[0] == 2:
            cells = losses.large_loss(
                torch.from_numpy(data["logits"]), targets, scheme=scheme, rate=rate
            )[1]
            np.testing.assert_array_equal(cells.numpy(), data[f"fixed_correct_{i}"] == 1)


def test_generalized_robust_and_its_schedule():
    data = golden("losses_gr.npz")
    for i, row in enumerate(data["cfg"]):
        w0, w1, b0, b1, m0, s0, m1, s1, q2, q3, n, epochs, epoch, *scheduled = row
        moved = losses.gr_schedule(
            epoch,
            epochs,
            warm_up=n,
            slope=(w0, w1),
            offset=(b0, b1),
            center=(m0, m1),
            width=(s0, s1),
        )
        close(list(moved.values()), scheduled)
        gr = partial(losses.generalized_robust, **moved, q_positive=q2, q_negative=q3)
        targets = unknown_for_zero(data["labels_obs"])
        reproduces(gr, data["logits"], targets, data[f"loss_{i}"], data[f"grad_{i}"])


MODES = ("negative", "negative", "ignore", "ignore_normalize", "selective", "selective")


def test_selective():
    data = golden("losses_csl.npz")
    for i, row in enumerate(data["cfg"]):
        mode, *constants = row
        names = ("gamma_positive", "gamma_negative", "gamma_unknown", "margin")
        names += ("alpha_positive", "alpha_negative", "alpha_unknown")
        prior = torch.from_numpy(data["prior"]) if mode == 5 else None
        loss = partial(
            losses.selective,
            **dict(zip(names, constants[:7], strict=True)),
            mode=MODES[int(mode)],
            likelihood_topk=int(row[8]),
            prior=prior,
            prior_threshold=row[9],
        )
        targets = torch.from_numpy(data["labels"])
        reproduces(loss, data["logits"], targets, data[f"loss_{i}"], data[f"grad_{i}"])
