"""TF32 is off unless the encoder says so; a precision is another encoder, bank and run."""

import dataclasses

import numpy as np
import pytest
import torch

from benchmark.clip.encoder import Clip
from benchmark.clip.encoder_name import parse_encoder
from benchmark.clip.precision import switched
from benchmark.features.bank import FeatureBank
from benchmark.plan import Axes, make_plan
from benchmark.run.cohort import execute  # what a sweep calls
from benchmark.run.execute import Attempt
from benchmark.spec import Encoder
from benchmark.store import Store
from benchmark.task import Dataset


def test_the_precision_is_part_of_the_name_and_comes_back():
    plain = parse_encoder("pocket-RN")
    assert plain.precision == "fp32" and "precision" not in plain.to_json()  # ids stay
    for flag in ("tf32", "bf16"):
        encoder = parse_encoder(f"pocket-RN+crop+{flag}")
        assert encoder == dataclasses.replace(plain, resize="crop", precision=flag)
        assert encoder.text == f"pocket-RN+crop+{flag}" and parse_encoder(encoder.text) == encoder
        assert Encoder.from_json(encoder.to_json()) == encoder
    with pytest.raises(ValueError, match="two precisions"):
        parse_encoder("pocket-RN+tf32+bf16")


def test_banks_of_two_precisions_are_two(tmp_path):
    nothing = np.zeros((1, 0), np.int8)
    dataset = Dataset("d", (), (), ("0.jpg",), np.zeros(1, np.int64), nothing, {}, None)
    keys = {
        FeatureBank(tmp_path, dataset, Clip(parse_encoder(f"pocket-RN{flag}")), "global").key
        for flag in ("", "+tf32", "+bf16")
    }
    assert len(keys) == 3


def switches() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def test_a_run_turns_tf32_off_and_puts_the_switches_back(tmp_path, monkeypatch):
    before, seen = switches(), []

    def look(attempt, *arguments):
        seen.append(switches())

    def look_and_fail(attempt):
        look(attempt)
        raise RuntimeError("seen enough")

    monkeypatch.setattr(Attempt, "start", look)
    monkeypatch.setattr(Attempt, "fit", look)
    monkeypatch.setattr(Attempt, "score", look_and_fail)
    encoders = ("pocket-RN", "pocket-RN+tf32", "pocket-RN+bf16")
    settings = ("partial(known=.5,dataset='pictograms')",)
    axes = Axes(("zero_shot_clip",), settings, encoders=encoders)
    for row in make_plan(axes, Store(tmp_path)):
        execute(row.job(), tmp_path)
        assert switches() == before
    assert seen == [(False, False)] * 3 + [(True, True)] * 3 + [(False, False)] * 3
    with pytest.raises(KeyError), switched("tf32"):
        raise KeyError
    assert switches() == before


def test_bfloat16_is_close_and_is_not_float32():
    clips = [Clip(parse_encoder(f"pocket-ViT{flag}")) for flag in ("", "+bf16")]
    pixels = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    for features in (
        lambda clip: clip.image(pixels),
        lambda clip: clip.regions(pixels),
        lambda clip: clip.text(["a photo of a cat"]),
    ):
        exact, rounded = (features(clip) for clip in clips)
        assert rounded.dtype == torch.float32
        assert 0 < (exact - rounded).abs().max() < 0.05
