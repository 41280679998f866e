"""Tip-Adapter, LP++ and SPARC's normalisation against golden vectors, and their choices."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.task import ABSENT, PRESENT, UNKNOWN, Part, Run
from methods import lp_plus_plus, sparc, tip_adapter
from tests.fixtures.golden import close, golden

CLASSES = ("anchor", "bird", "cow", "dice")


def tensors(name):
    return {key: torch.from_numpy(np.asarray(value)) for key, value in golden(name).items()}


def clip():
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
            x, keys, data["values"], data[targets], 100 * x @ texts.T, options, in_order
        )
        losses, states = zip(*itertools.islice(learned, epochs), strict=True)
        expected = "tipF_losses" if epochs == 4 else "tipF_multi_loss"
        close(torch.tensor(losses).squeeze(), vectors[expected])
        close(states[-1], vectors[f"{name}_keys_after{epochs}"])


def test_start_and_descent_of_lp_plus_plus():
    data = tensors("lp_plus_plus.npz")
    x, labels = data["features"], data["labels"]
    present = F.one_hot(labels).bool()
    texts = data["text_weights_DxK"].T
    blend, *rates = lp_plus_plus.start(x, present, texts)
    close(blend.weight, data["init_W"].numpy())
    assert rates[0] == pytest.approx(float(data["lr_w"]), rel=1e-5)
    assert rates[1] == pytest.approx(float(data["lr_alpha"]), rel=1e-5)
    assert float(blend.alpha[0]) == pytest.approx(float(data["init_alpha"]), rel=1e-5)
    blend.bias = data["init_bias"].clone()
    losses = lp_plus_plus.descend(blend, lambda z: F.cross_entropy(z, labels), x, rates, 40)
    for epoch in (1, 2, 3, 10, 11, 21, 40):
        value = float(data[f"loss_after_{epoch}"])
        assert losses[epoch - 1] == pytest.approx(value, rel=2e-4, abs=1e-8), epoch


def test_rows_and_columns_of_sparc():
    data = tensors("sparc.npz")
    vectors = golden("sparc.npz")
    rows = sparc.normalise_rows(data["ensemble_cossim"])
    close(rows, vectors["ens_row"])
    close(sparc.normalise_columns(rows), vectors["ens_calib"])
    compound = sparc.normalise_rows(data["compound_cossim"], data["single_cossim"])
    close(compound, vectors["comp_row"])
    close(sparc.normalise_columns(compound), vectors["comp_calib"])


# ---- the methods ---------------------------------------------------------------------------------


METHODS = {
    "tip_adapter": lambda: tip_adapter.Method(),
    "tip_adapter_f": lambda: tip_adapter.Method(finetune=True, epochs=2),
    "lp_plus_plus": lambda: lp_plus_plus.Method(epochs=30),
    "sparc": lambda: sparc.Method(template="ensemble"),
}


@pytest.mark.parametrize("name", METHODS)
def test_state_survives_and_columns_follow(name, run):
    method, (train, _) = METHODS[name](), part()
    val, _ = part(seed=1)
    method.fit(clip(), train, val, run)
    scores = method.predict(clip(), val.x, CLASSES)
    fresh = METHODS[name]()
    fresh.load_state_dict(clip(), CLASSES, method.state_dict())
    torch.testing.assert_close(fresh.predict(clip(), val.x, CLASSES), scores)
    if name != "sparc":
        torch.testing.assert_close(
            method.predict(clip(), val.x, ("dice", "anchor")), scores[:, [3, 0]]
        )


def test_weights_are_chosen_on_validation_and_said(run):
    train, _ = part()
    val, _ = part(seed=1)
    method = tip_adapter.Method()
    method.fit(clip(), train, val, run)
    assert run.trials == 72 and run.chosen["alpha"] in tip_adapter.ALPHAS


def test_without_known_absences_nothing_is_chosen(run):
    train, _ = part()
    val, _ = part(seed=1)
    val.y = np.where(val.y == ABSENT, UNKNOWN, val.y)
    assert (val.y == PRESENT).any()
    method = tip_adapter.Method()
    method.fit(clip(), train, val, run)
    assert run.trials == 1 and method.weights.tolist() == [1.0, 1.0]


def test_bad_fields():
    with pytest.raises(ValueError, match="Give both alpha and beta"):
        tip_adapter.Method(alpha=1.0)
    with pytest.raises(ValueError, match=r"should hold {} for the class name"):
        sparc.Method(template="a photo")
