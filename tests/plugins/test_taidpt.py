"""TaI-DPT against golden vectors, on a tiny CLIP, and its place in the plan."""

import numpy as np
import pytest
import torch

from benchmark import data
from benchmark.plan import Axes, make_plan
from benchmark.store import Store
from methods import taidpt
from methods._partial_losses import pairwise_ranking
from tests.fixtures.golden import close, golden
from tests.fixtures.miniatures import build_all
from tests.fixtures.tiny_prompts import CLASSES, fit, make_clip, make_part


def test_captions_and_images_as_in_the_official_code():
    vectors = golden("taidpt.npz")
    sequence, tokens = (
        torch.from_numpy(vectors[k]) for k in ("caption_seq_features", "caption_tokens")
    )
    whole, local = (
        torch.from_numpy(vectors[k]).requires_grad_() for k in ("text_global", "text_local")
    )
    end = sequence[torch.arange(len(sequence)), tokens.argmax(-1)]
    far = taidpt.global_logits(end, whole)
    near = taidpt.local_logits(sequence, local, 50.0, tokens == 0)
    close(far, vectors["txt50_logits_global"])
    close(near, vectors["txt50_logits_local"])
    y = torch.from_numpy(vectors["y"])
    loss = (pairwise_ranking(far, y) + pairwise_ranking(near, y)) / len(y)
    loss.backward()
    close(loss, vectors["txt50_loss"])
    close(whole.grad, vectors["txt50_grad_global"])
    close(local.grad, vectors["txt50_grad_local"])
    regions = torch.from_numpy(vectors["img_regions"]).mT
    image = torch.from_numpy(vectors["img_global"])
    for scale in (40, 4):
        close(
            taidpt.local_logits(regions, local, float(scale)), vectors[f"img{scale}_logits_local"]
        )
        close(taidpt.global_logits(image, whole), vectors[f"img{scale}_logits_global"])


def test_token_features_end_where_the_text_ends():
    clip = make_clip()
    tokens, ends = taidpt.token_features(clip, ["a cat", "a cat and a potted plant in a garden"])
    expected = clip.module.encode_text(clip.tokenizer(["a cat"]))
    torch.testing.assert_close(ends[:1], expected)
    length = int((tokens[0] != 0).any(-1).sum())
    torch.testing.assert_close(tokens[0, length - 1], expected[0])
    assert length == 4 < tokens.shape[1]


def test_labels_of_captions_are_whole_words():
    y = taidpt.named_classes(["Two cats and an oxen", "a POTTED plant", "concatenate"], CLASSES)
    np.testing.assert_array_equal(y[:, :3], [[1, 0, 0], [0, 1, 0], [0, 0, 0]])


def test_learns_from_captions_and_its_state_survives(tmp_path):
    clip = make_clip()
    part, x, y = make_part(clip, "regions")
    names = [[n for n, label in zip(CLASSES, row, strict=True) if label] for row in y]
    part.captions = tuple(" and ".join(row) for row in names)
    method = taidpt.Method(context_length=2, epochs=6, batch_size=16, learning_rate=0.05)
    run = fit(method, clip, part, tmp_path)
    assert run.history[-1]["train/loss"] < run.history[1]["train/loss"]
    scores = method.predict(clip, x, CLASSES)
    fresh = taidpt.Method(context_length=2)
    fresh.load_state_dict(clip, CLASSES, method.state_dict())
    torch.testing.assert_close(fresh.predict(clip, x, CLASSES), scores)
    part.captions = None
    with pytest.raises(ValueError, match="learns from captions that name classes"):
        fit(method, clip, part, tmp_path)


def test_not_applicable_with_a_reason_where_there_are_no_captions(tmp_path, monkeypatch):
    (row,) = make_plan(Axes(("taidpt",), ("partial(known=0.5)",)), Store(tmp_path / "out"))
    assert (
        row.state == "n/a"
        and row.reason == "no captions: pictograms has no sentences to learn from"
    )
    monkeypatch.setenv("LOWLABEL_DATA", str(build_all(tmp_path / "data")))
    assert data.has_captions("coco_mlt") and not data.has_captions("voc2007")
