"""Zero-shot CLIP against the formula, with a text tower that hashes its prompts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.task import seed_for
from methods._templates import ENSEMBLE
from methods.zero_shot_clip import Method

CLASSES = ("cat", "dining table", "dog")


class FakeClip:
    scale = 50.0

    def text(self, prompts):
        rows = [np.random.default_rng(seed_for(prompt)).normal(size=8) for prompt in prompts]
        return F.normalize(torch.tensor(np.stack(rows), dtype=torch.float32), dim=-1)


@pytest.fixture
def x():
    return F.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), dim=-1)


@pytest.mark.parametrize("template", ["a photo of a {}.", "a photo of a {}"])
def test_scores_are_scaled_cosines(x, template):
    scores = Method(template=template).predict(FakeClip(), x, CLASSES)
    texts = FakeClip().text([template.replace("{}", name) for name in CLASSES])
    torch.testing.assert_close(scores, 50 * x @ texts.T)


def test_ensemble_is_the_normalised_mean_of_the_templates(x):
    scores = Method(template="ensemble").predict(FakeClip(), x, CLASSES)
    for c, name in enumerate(CLASSES):
        mean = FakeClip().text([template.format(name) for template in ENSEMBLE]).mean(0)
        torch.testing.assert_close(scores[:, c], 50 * x @ (mean / mean.norm()))


def test_softmax_is_over_the_classes_of_an_image(x):
    scores = Method(score="softmax").predict(FakeClip(), x, CLASSES)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(5))
    raw = Method().predict(FakeClip(), x, CLASSES)
    torch.testing.assert_close(scores.exp(), torch.softmax(raw, 1))
    # it changes the order within a class, which is why both are recorded
    assert (scores.argsort(0) != raw.argsort(0)).any()


@pytest.mark.parametrize("arguments", [{"template": "a photo"}, {"score": "sigmoid"}])
def test_wrong_options_are_refused(arguments):
    with pytest.raises(ValueError, match="should"):
        Method(**arguments)


def test_regions_are_weighed_by_their_own_cosines(x):
    """The formula, written out for one image and one class."""
    regions = torch.stack([x, x.roll(1, 0), -x], dim=1)  # (5, 3, 8)
    method = Method(regions=True, region_scale=7.0)
    scores = method.predict(FakeClip(), regions, CLASSES)
    text = FakeClip().text(["a photo of a dog."])[0]
    cosines = regions[3] @ text
    weights = torch.softmax(7.0 * cosines, 0)
    torch.testing.assert_close(scores[3, 2], 50 * (weights * cosines).sum())
    torch.testing.assert_close(
        method.region_weights(FakeClip(), regions, CLASSES)[3, :, 2], weights
    )
    assert method.needs == "regions" and Method().needs == "global"
    assert Method().region_weights(FakeClip(), x, CLASSES) is None


def test_equal_regions_are_the_global_feature(x):
    regions = x[:, None].repeat(1, 4, 1)
    torch.testing.assert_close(
        Method(regions=True).predict(FakeClip(), regions, CLASSES),
        Method().predict(FakeClip(), x, CLASSES),
    )
