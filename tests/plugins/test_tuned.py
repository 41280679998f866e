"""The wrapper that chooses hyper-parameters on the validation part."""

import dataclasses

import numpy as np
import pytest
import torch

from benchmark import registry, staleness
from benchmark.spec import Encoder, Spec
from benchmark.task import ABSENT, UNKNOWN, Run
from methods.coop import Method as CoOp
from methods.tuned import Method
from tests.fixtures.tiny_prompts import CLASSES, make_clip, make_part

SEARCH = "coop(context_length=2, epochs=4, learning_rate=[1e-9, 0.1])"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    clip = make_clip()
    train, x, _ = make_part(clip, "global")
    val, _, _ = make_part(clip, "global", count=60, seed=1)
    run = Run(seed=0, device=torch.device("cpu"), folder=tmp_path_factory.mktemp("run"))
    method = Method(SEARCH)
    method.fit(clip, train, val, run)
    return clip, train, val, x, run, method


def test_the_better_candidate_is_kept_and_said(tuned):
    _, _, _, _, run, method = tuned
    assert run.trials == 2 and run.chosen["method"] == "coop(learning_rate=0.1)"
    scores = {name: found["val/mAP"] for name, found in run.chosen["candidates"].items()}
    assert max(scores, key=scores.get) == run.chosen["method"] and len(set(scores.values())) == 2
    assert [row["candidate"] for row in run.history] == [0, 1]
    assert all(row["seconds"] > 0 for row in run.history)
    assert method.trainable_parameters == method.best.trainable_parameters > 0


def test_it_ends_as_the_chosen_method_would_by_itself(tuned, tmp_path):
    clip, train, val, x, run, method = tuned
    alone = CoOp(context_length=2, epochs=4, learning_rate=0.1)
    torch.manual_seed(run.seed)
    own = dataclasses.replace(train, rng=np.random.default_rng(run.seed))
    alone.fit(clip, own, val, Run(seed=0, device=torch.device("cpu"), folder=tmp_path))
    expected = alone.predict(clip, x, CLASSES)
    torch.testing.assert_close(method.predict(clip, x, CLASSES), expected)
    fresh = Method(SEARCH)
    fresh.load_state_dict(clip, CLASSES, method.state_dict())
    torch.testing.assert_close(fresh.predict(clip, x, CLASSES), expected)


def test_candidates_do_not_see_the_validation_part(tuned, tmp_path, monkeypatch):
    clip, train, val, *_ = tuned
    sizes = []
    monkeypatch.setattr(CoOp, "fit", lambda self, clip, train, val, run: sizes.append(len(val)))
    monkeypatch.setattr(CoOp, "predict", lambda self, clip, x, classes: torch.zeros(len(x), 5))
    run = Run(seed=0, device=torch.device("cpu"), folder=tmp_path)
    Method("coop(epochs=[1, 2, 3])").fit(clip, train, val, run)
    assert (
        sizes == [0, 0, 0, 60] and run.chosen["method"] == "coop(epochs=1)"
    )  # the first of equals


def test_without_labels_to_choose_by_it_says_what_to_do(tuned, tmp_path):
    clip, train, val, *_ = tuned
    run = Run(seed=0, device=torch.device("cpu"), folder=tmp_path)
    blind = dataclasses.replace(val, y=np.where(val.y == ABSENT, UNKNOWN, val.y))
    with pytest.raises(ValueError, match="raise the setting's val_fraction"):
        Method(SEARCH).fit(clip, train, blind, run)


def test_needs_and_preset_are_those_of_the_candidates():
    regions = Method("dualcoop(learning_rate=[0.1, 0.2])", inner_preset="pocket")
    assert regions.needs == "regions" and not regions.open_vocabulary
    preset = registry.make("methods", "dualcoop", {}, "pocket")
    assert {c.batch_size for c in regions.candidates.values()} == {preset.batch_size}
    assert list(Method("coop(epochs=3)").candidates) == ["coop"]
    assert not Method("coop(class_specific=[True, False])").open_vocabulary
    assert Method("coop(class_specific=False)").open_vocabulary
    with pytest.raises(ValueError, match="differ in 'copies'"):
        Method('coop(copies=[0, 2], augment="flip")')
    with pytest.raises(ValueError, match="Did you mean 'dualcoop'"):
        Method("dualcop")
    with pytest.raises(ValueError, match="coop has no parameter 'epoch'"):
        Method("coop(epoch=3)")


def test_a_change_of_the_inner_method_makes_a_record_stale():
    setting = registry.make("settings", "partial", {})

    def digest(text):
        choice = registry.describe("tuned", Method(text))
        encoder = Encoder("pocket-RN", "shipped", 96)
        spec = Spec(choice, registry.describe("partial", setting), encoder)
        return staleness.code_digest(spec.methods, "partial", "pictograms")

    assert digest("coop(epochs=[1, 2])") == digest("coop(epochs=[1, 3])")
    assert digest("coop(epochs=[1, 2])") != digest("dualcoop(epochs=[1, 2])")
