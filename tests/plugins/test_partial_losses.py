"""The losses for partial labels against the golden vectors of the official code."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from methods import _partial_losses as losses
from methods import _pseudo_labels
from methods._losses import asymmetric_loss
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
    p = torch.sigmoid(torch.from_numpy(data["logits"]))
    close(losses.expected_positives(p, expected), data["epr_reg"])
    others = [name for name in data if name.endswith("_reg") and name != "epr_reg"]
    assert len(others) == 8 and not any(data[name] for name in others)  # the only one with a term

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
            pseudo = pseudo + _pseudo_labels.pseudo_negatives(p, ~observed & (pseudo == 0), counts)
            close(observed.float() - pseudo, data[f"apl_out_{j}_{r}"])


@pytest.mark.parametrize("i", range(4))
def test_labels_by_similarity(i):
    """VLPL; in its warm-up epochs (2 of the 4 rows) it is entropy maximisation."""
    data = golden("vlpl_boostlu.npz")
    image, text = (F.normalize(torch.from_numpy(data[k]), dim=-1) for k in ("image", "text"))
    similarity = (image @ text.T / 0.05).softmax(dim=1)
    close(similarity, data["similarity_T0.05"])
    threshold, epoch, warm_up, alpha, beta = data["cfg"][i]
    targets = unknown_for_zero(data["labels_obs"])
    pseudo = (similarity > threshold) & (targets < 0)
    np.testing.assert_array_equal(pseudo.float().numpy(), data[f"pseudo_{i}"])
    loss = partial(
        _pseudo_labels.similarity_pseudo_labels,
        similarity=similarity,
        threshold=threshold if epoch > warm_up else 1.0,
        alpha=alpha,
        beta=beta,
    )
    reproduces(loss, data["logits"], targets, data[f"loss_{i}"], data[f"grad_{i}"])


@pytest.mark.parametrize("as_released", [False, True])
def test_class_aware_pseudo_labels_bit_for_bit(as_released):
    data = golden("setting_cap.npz")
    scores, frequency = (torch.from_numpy(data[k]) for k in ("logits_ub", "pos_label_freq"))
    for i, (present, absent) in enumerate(data["per_cfg"]):
        pseudo, trusted = _pseudo_labels.class_aware_pseudo_labels(
            scores, frequency, present=present, absent=absent, as_released=as_released
        )
        np.testing.assert_array_equal(pseudo.numpy(), data[f"pseudo_{i}"])
        np.testing.assert_array_equal(trusted.numpy(), data[f"mask_{i}"])


def test_a_class_that_no_labelled_image_shows_is_present_nowhere():
    scores, frequency = torch.randn(20, 2), torch.tensor([0.0, 0.5])
    pseudo, trusted = _pseudo_labels.class_aware_pseudo_labels(scores, frequency)
    assert not pseudo[:, 0].any() and trusted.all() and pseudo[:, 1].sum() == 10
    released, _ = _pseudo_labels.class_aware_pseudo_labels(scores, frequency, as_released=True)
    assert released[:, 0].all()


def test_hill_and_splc():
    data = golden("losses_hill_splc.npz")
    targets, logits = unknown_for_zero(data["labels_obs"]), data["logits"]
    cells = torch.from_numpy(logits)
    close(losses.hill(cells, targets) / cells.numel(), data["hill_mean"])
    close(losses.splc(cells, targets, epoch=2) / cells.numel(), data["splc_mean"])
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


ASYMMETRIC = {  # cross entropy, focal and asymmetric loss of the repository of Hill: γ₊, γ₋, margin
    "BCE": (0, 0, 0.0),
    "Focal": (2, 2, 0.0),
    "Asl": (0, 4, 0.05),
}


@pytest.mark.parametrize("name", ASYMMETRIC)
def test_asymmetric_loss_of_the_repository_of_hill(name):
    data = golden("losses_hill_splc.npz")
    positive, negative, margin = ASYMMETRIC[name]
    loss = partial(
        asymmetric_loss, gamma_positive=positive, gamma_negative=negative, margin=margin, eps=1e-8
    )
    targets = torch.from_numpy(data["labels_obs"] == 1).long()
    reproduces(loss, data["logits"], targets, data[f"{name}_loss"], data[f"{name}_grad"])


def test_exact_cross_entropies_of_the_second_implementation():
    """Tip-Adapter-SA's code has the losses of Cole et al. without 1e-5 in the logarithm."""
    data = golden("tip_adapter_sa.npz")
    targets = unknown_for_zero(data["loss_labels"])
    for name, loss in (
        ("IU", losses.ignore_unknown),
        ("AN", losses.assume_negative),
        ("AN-LS", partial(losses.assume_negative, smoothing=0.1)),
        ("WAN", losses.weak_assume_negative),
        ("EM", partial(losses.entropy_maximization, alpha=0.2)),
    ):
        exact = partial(loss, eps=0.0)
        reproduces(exact, data["loss_logits"], targets, data[f"loss_{name}"], data[f"grad_{name}"])


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
        logits = torch.from_numpy(data["logits"])
        cells = losses.large_loss(logits, targets, scheme=scheme, rate=rate)[1]
        if variant == "orig" and cells.any():  # what it reports leaves the smallest of them out
            cells[cells.clone()] = logits[cells] > logits[cells].min()
        np.testing.assert_array_equal(cells.numpy(), data[f"{variant}_correct_{i}"] == 1)


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
        p = torch.sigmoid(torch.from_numpy(data["logits"]))
        confidence, weight = losses.gr_confidence(p, **moved)
        close(confidence, data[f"K_{i}"])
        close(weight, data[f"V_{i}"])
        targets = unknown_for_zero(data["labels_obs"])
        reproduces(gr, data["logits"], targets, data[f"loss_{i}"], data[f"grad_{i}"])


def test_other_losses_in_the_file_of_gr():
    """Its Hill loss has neither margin nor focus, its EPR no expected number; both are means."""
    data = golden("losses_gr.npz")
    targets, logits = unknown_for_zero(data["labels_obs"]), data["logits"]

    def hill(z, y):
        return losses.hill(z, y, logit_margin=0.0, gamma=0.0) / z.numel()

    reproduces(hill, logits, targets, data["hill_loss"], data["hill_loss_grad"])
    known = partial(losses.ignore_unknown, eps=1e-7)
    reproduces(known, logits, targets, data["EPR_loss"], data["EPR_loss_grad"])

    def weighed(z, y):
        """Its positives weigh 8, of nine classes; the unknown cells 0.9, all of them as absent."""
        confident = {"slope": 0.0, "offset": -torch.inf, "center": 0.0, "width": torch.inf}
        absent = losses.generalized_robust(z, y, **{**confident, "q_negative": 0.99})
        return 0.9 * absent + (8 - 0.9) * known(z, y)

    reproduces(weighed, logits, targets, data["weight_loss"], data["weight_loss_grad"])


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
