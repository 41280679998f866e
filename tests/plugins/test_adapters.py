"""Tip-Adapter, LP++ and SPARC's normalisation against golden vectors, and their choices."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark import metrics
from benchmark.task import ABSENT, PRESENT, UNKNOWN, Part, Run
from methods import _class_specific as per_class
from methods import (
    _prototypes,
    _rank_fusion,
    clap,
    lp_plus_plus,
    sparc,
    tip_adapter,
    tip_adapter_sa,
)
from methods._learning_rates import learning_rate
from methods._regions import boost_regions
from tests.fixtures.golden import close, golden

CLASSES = ("anchor", "bird", "cow", "dice")


def tensors(name):
    return {key: torch.from_numpy(np.asarray(value)) for key, value in golden(name).items()}


def make_clip():
    """Class texts point along the first axes."""

    def text(prompts):
        axes = [next(i for i, name in enumerate(CLASSES) if name in prompt) for prompt in prompts]
        return torch.eye(8)[axes]

    return SimpleNamespace(device=torch.device("cpu"), width=8, scale=100.0, text=text)


def part(known=0.7, n=80, seed=0):
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 4)) < 0.4).astype(np.int8)
    directions = rng.standard_normal((4, 8))
    x = F.normalize(torch.tensor(y @ directions + 0.4 * rng.standard_normal((n, 8))).float(), dim=1)
    masked = np.where(rng.random(y.shape) < known, y, UNKNOWN).astype(np.int8)
    return Part(CLASSES, masked, None, rng, torch.device("cpu"), x=x), y


@pytest.fixture
def run(tmp_path):
    return Run(seed=0, device=torch.device("cpu"), folder=tmp_path)


# ---- golden vectors ------------------------------------------------------------------------------


def test_cache_of_tip_adapter():
    data = tensors("tip_adapter_sa.npz")
    image, keys = F.normalize(data["img"], dim=-1), F.normalize(data["keys"], dim=-1)
    texts = F.normalize(data["text"], dim=-1)
    for alpha, beta in ((1.0, 1.0), (2.5, 5.0)):
        found = tip_adapter.look_up(image, keys, data["values"], beta)
        close(found, golden("tip_adapter_sa.npz")[f"tip_cache_{alpha}_{beta}"])
        expected = golden("tip_adapter_sa.npz")[f"tip_logits_{alpha}_{beta}"]
        close(100 * image @ texts.T + alpha * found, expected)


def test_trained_keys_of_tip_adapter():
    """Full-batch epochs of twenty planned ones: four, and one with two labels an image."""
    data, vectors = tensors("tip_adapter_sa.npz"), golden("tip_adapter_sa.npz")
    x, keys, texts = (
        F.normalize(data[name], dim=-1) for name in ("train_raw_features", "keys", "text")
    )
    options = {"epochs": 20, "batch_size": 999, "learning_rate": 0.01, "weight_decay": 0.001}
    in_order = SimpleNamespace(permutation=np.arange)
    for targets, epochs, name in (("values", 4, "tipF"), ("multi_labels", 1, "tipF_multi")):
        learned = tip_adapter.train_keys(
            keys, data["values"], 100 * x @ texts.T, options, in_order, x, data[targets]
        )
        losses, states = zip(*itertools.islice(learned, epochs), strict=True)
        expected = "tipF_losses" if epochs == 4 else "tipF_multi_loss"
        close(torch.tensor(losses).squeeze(), vectors[expected])
        close(states[-1], vectors[f"{name}_keys_after{epochs}"])


def test_affinities_of_each_class_and_their_fusion():
    data, vectors = tensors("tip_adapter_sa.npz"), golden("tip_adapter_sa.npz")
    keys = data["keys"].unflatten(0, (-1, int(data["k"])))  # class-major
    affinity = per_class.class_affinity(data["class_features"], keys)
    close(affinity.flatten(1), vectors["sa_affinity"])
    for beta in (1.0, 5.5):
        close(per_class.class_cache(affinity, beta), vectors[f"sa_out_beta{beta}"])
    cache = per_class.class_cache(affinity, 1.0)
    for kind in per_class.NORMALISATIONS:
        close(per_class.normalise_scores(data["zeroshot"], kind), vectors[f"norm_{kind}"])
        close(per_class.fuse(data["zeroshot"], cache, 0.5, kind), vectors[f"fused_{kind}"])


def test_features_of_each_class():
    """The probabilities of the file are of five classes and of background words."""
    data, vectors = tensors("tip_adapter_sa.npz"), golden("tip_adapter_sa.npz")
    found = per_class.class_features_of_regions(
        data["csf_patch"][None], data["csf_logits"][None, :, : data["csf_label"].shape[1]]
    )[0]
    close(found, vectors["csf_out_all"])
    close(found[data["csf_label"][0] == 1], vectors["csf_out"])
    flat = per_class.class_features_of_regions(torch.randn(1, 4, 3), torch.full((1, 4, 2), 0.3))
    assert not flat.any() and not per_class.class_affinity(flat, torch.randn(2, 3, 3)).any()


def test_metrics_of_tip_adapter_sa():
    """Its F1 predicts what exceeds the middle of an image's scores."""
    vectors = golden("tip_adapter_sa.npz")
    y, scores = vectors["ev_labels"].astype(np.int8), vectors["ev_scores"]
    scaled = per_class.normalise_scores(torch.from_numpy(scores), "min-max").numpy()
    rates = metrics.precision_recall_f1(y, scaled, 0.5)
    found = [100 * np.nanmean(metrics.average_precision(y, scores))]
    found += [rates[name] for name in ("OF1", "OP", "OR")]
    np.testing.assert_allclose(found, 100 * vectors["ev_mAP_F1_P_R"], rtol=1e-6)
    threshold, *expected = vectors["ev_best_threshold"]
    rates = metrics.precision_recall_f1(y, scaled, threshold)
    found = [rates[name] for name in ("OF1", "OP", "OR")]
    np.testing.assert_allclose(found, 100 * np.array(expected), rtol=1e-6)


CONSTRAINTS = {
    "class": "l2",
    "balanced": "l2_balanced",
    "corrected": "l2_corrected",
    "constant": "l2_constant",
    "adaptive": "l2_adaptative",
}


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_constraint_of_clap(constraint):
    """Three full-batch steps of SGD at a constant rate."""
    data, vectors, name = tensors("clap.npz"), golden("clap.npz"), CONSTRAINTS[constraint]
    texts, x, labels = data["base_text_features"], data["features"], data["labels"]
    scale = float(data["logit_scale"])
    logits = _prototypes.prototype_logits(x, texts, scale)
    close(logits, vectors["zs_logits"])
    present = F.one_hot(labels, len(texts)).bool()
    weights = _prototypes.multipliers(logits.softmax(1), present, constraint)
    close(weights, vectors[f"{name}_alpha0"])
    prototypes, before = texts.clone().requires_grad_(), torch.zeros_like(weights)
    optimizer = torch.optim.SGD([prototypes], lr=0.1, momentum=0.9)
    for step in range(3):
        loss = F.cross_entropy(_prototypes.prototype_logits(x, prototypes, scale), labels)
        constraint_loss = (weights * _prototypes.distances(prototypes, texts)).mean()
        close(loss, vectors[f"{name}_ce_{step}"])
        close(constraint_loss, vectors[f"{name}_con_{step}"])
        optimizer.zero_grad()
        (loss + constraint_loss).backward()
        if step == 1:
            close(prototypes.grad, vectors[f"{name}_grad1"])
        optimizer.step()
        if constraint == "adaptive":
            now = _prototypes.distances(prototypes.detach(), texts)
            weights, before = _prototypes.grow(weights, now, before), now
    close(prototypes, vectors[f"{name}_proto3"])
    close(weights, vectors[f"{name}_alpha_end"])


def test_rates_of_clap_and_its_own_tip_adapter():
    """Which looks up features that are not normalised."""
    data, vectors = tensors("clap.npz"), golden("clap.npz")
    expected = golden("lr_schedules.npz")["clap"][:, 0]
    found = [learning_rate(epoch, len(expected), 0.1) for epoch in range(len(expected))]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    x, count = data["features"], len(data["base_text_features"])
    keys = F.normalize(x[:count], dim=-1)
    cache = tip_adapter.look_up(x, keys, torch.eye(count), 3.0)
    close(
        torch.from_numpy(vectors["zs_logits"]) + 2 * cache, vectors["clap_tipa_logits_alpha2_beta3"]
    )


@pytest.mark.parametrize("boost", [1.0, 5.0])
def test_boosted_regions(boost):
    data = tensors("vlpl_boostlu.npz")
    cam = data["boostlu_cam"].flatten(2).mT  # their regions are the last two axes
    close(
        boost_regions(cam, boost=boost), golden("vlpl_boostlu.npz")[f"boostlu_logits_alpha{boost}"]
    )


def test_start_and_descent_of_lp_plus_plus():
    data = tensors("lp_plus_plus.npz")
    x, labels = data["features"], data["labels"]
    present = F.one_hot(labels).bool()
    texts = data["text_weights_DxK"].T

    def begin():
        blend, *rates = lp_plus_plus.start(x, present, texts)
        blend.bias = data["init_bias"].clone()
        return blend, rates

    blend, rates = begin()
    close(blend.weight, data["init_W"].numpy())
    assert rates[0] == pytest.approx(float(data["lr_w"]), rel=1e-5)
    assert rates[1] == pytest.approx(float(data["lr_alpha"]), rel=1e-5)
    assert float(blend.alpha[0]) == pytest.approx(float(data["init_alpha"]), rel=1e-5)
    losses = lp_plus_plus.descend(blend, lambda z: F.cross_entropy(z, labels), x, rates, 40)
    for epoch in (1, 2, 3, 10, 11, 21, 40):
        value = float(data[f"loss_after_{epoch}"])
        assert losses[epoch - 1] == pytest.approx(value, rel=2e-4, abs=1e-8), epoch
        some, _ = begin()
        lp_plus_plus.descend(some, lambda z: F.cross_entropy(z, labels), x, rates, epoch)
        right = some(data["test_features"]).argmax(1) == data["test_labels"]
        value = float(data[f"acc_test_{epoch}"])
        assert 100 * right.float().mean().item() == pytest.approx(value, rel=1e-5), epoch


def test_rows_columns_and_fusion_of_sparc():
    data, vectors, sparc = tensors("sparc.npz"), golden("sparc.npz"), _rank_fusion
    rows = sparc.normalise_rows(data["ensemble_cossim"])
    close(rows, vectors["ens_row"])
    close(sparc.normalise_columns(rows), vectors["ens_calib"])
    compound = sparc.normalise_rows(data["compound_cossim"], data["single_cossim"])
    close(compound, vectors["comp_row"])
    close(sparc.normalise_columns(compound), vectors["comp_calib"])
    close(sparc.principal_direction(data["pca_in"]), vectors["pca_dir"])
    close(data["pca_in"] @ sparc.principal_direction(data["pca_in"]), vectors["pca_out"])
    ensemble, compound = sparc.normalise_columns(rows), sparc.normalise_columns(compound)
    members = data["compound_class"][:, None] == torch.arange(ensemble.shape[1])
    columns = sparc.ordered(ensemble, compound, members)
    directions = [sparc.principal_direction(own) for own in columns]
    scores = [own @ direction for own, direction in zip(columns, directions, strict=True)]
    close(torch.stack(scores, 1), vectors["pca_scores"])
    fused = sparc.fuse(ensemble, columns, directions)
    close(fused, vectors["fused"])
    some = {"raw": data["ensemble_cossim"], "normalize_only": ensemble, "sparc": fused}
    for name, scores in some.items():
        found = 100 * metrics.average_precision(vectors["gts"].astype(np.int8), scores.numpy())
        close(found, vectors[f"AP_{name}"])


# ---- the methods ---------------------------------------------------------------------------------


METHODS = {
    "tip_adapter": lambda: tip_adapter.Method(),
    "tip_adapter_f": lambda: tip_adapter.Method(finetune=True, epochs=2),
    "lp_plus_plus": lambda: lp_plus_plus.Method(epochs=30),
    "sparc": lambda: sparc.Method(template="ensemble"),
    "sparc_fused": lambda: sparc.Method(compound="a photo of a {} and a {}."),
    "clap": lambda: clap.Method(epochs=30),
    "clap_adaptive": lambda: clap.Method(constraint="adaptive", epochs=30, learning_rate=0.01),
}


@pytest.mark.parametrize("name", METHODS)
def test_state_survives_and_columns_follow(name, run):
    method, (train, _) = METHODS[name](), part()
    val, _ = part(seed=1)
    method.fit(make_clip(), train, val, run)
    scores = method.predict(make_clip(), val.x, CLASSES)
    fresh = METHODS[name]()
    fresh.load_state_dict(make_clip(), CLASSES, method.state_dict())
    torch.testing.assert_close(fresh.predict(make_clip(), val.x, CLASSES), scores)
    if "sparc" not in name:
        torch.testing.assert_close(
            method.predict(make_clip(), val.x, ("dice", "anchor")), scores[:, [3, 0]]
        )


def test_weights_are_chosen_on_validation_and_said(run):
    train, _ = part()
    val, _ = part(seed=1)
    method = tip_adapter.Method()
    method.fit(make_clip(), train, val, run)
    assert run.trials == 72 and run.chosen["alpha"] in tip_adapter.ALPHAS


def test_without_known_absences_nothing_is_chosen(run):
    train, _ = part()
    val, _ = part(seed=1)
    val.y = np.where(val.y == ABSENT, UNKNOWN, val.y)
    assert (val.y == PRESENT).any()
    method = tip_adapter.Method()
    method.fit(make_clip(), train, val, run)
    assert run.trials == 1 and method.weights.tolist() == [1.0, 1.0]


def test_a_constraint_that_grows_without_bound_is_said(run):
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        clap.Method(constraint="adaptive", epochs=60).fit(make_clip(), part()[0], part()[0], run)


def test_bad_fields():
    with pytest.raises(ValueError, match="Give both alpha and beta"):
        tip_adapter.Method(alpha=1.0)
    with pytest.raises(ValueError, match=r"should hold {} for the class name"):
        sparc.Method(template="a photo")
    with pytest.raises(ValueError, match=r"should hold {} twice"):
        sparc.Method(compound="a {}")
    with pytest.raises(ValueError, match="constraint='l2' should be one of"):
        clap.Method(constraint="l2")
    with pytest.raises(ValueError, match="normalisation='l1' is none of"):
        tip_adapter_sa.Method(normalisation="l1")
