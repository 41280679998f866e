"""What a bank's key is made from: code that makes features, and the pixels of rendered data."""

import dataclasses

import numpy as np
from PIL import Image

from benchmark import data, sources
from benchmark.features import bank
from benchmark.files import ROOT


def test_an_edit_of_what_makes_features_is_another_bank(monkeypatch):
    dataset = data.load("pictograms")
    base = bank.features_code(dataset)

    def after_an_edit_of(name: str) -> str:
        read = sources.as_loaded

        def edited(file):
            return read(file) + "\nA_NUMBER = 1\n" if file == ROOT / name else read(file)

        bank._code.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(bank, "as_loaded", edited)
            found = bank.features_code(dataset)
        bank._code.cache_clear()
        return found

    for name in ("clip/image_tower.py", "clip/preprocessing.py", "data/pictograms.py"):
        assert after_an_edit_of(f"benchmark/{name}") != base, name
    assert after_an_edit_of("benchmark/data/_scenes.py") != base
    assert after_an_edit_of("benchmark/metrics.py") == base


def test_other_pixels_of_a_rendered_data_set_are_another_bank(monkeypatch):
    dataset = data.load("pictograms")
    base = bank.rendered_pixels(dataset)
    assert base and bank.rendered_pixels(dataset) == base
    module = data.module("pictograms")
    white = Image.fromarray(np.full((96, 96, 3), 255, np.uint8))
    monkeypatch.setattr(module, "picture", lambda name, index: white)
    drawn = dataclasses.replace(dataset, open=lambda i: white)
    drawn.open.__module__ = module.__name__
    assert bank.rendered_pixels(drawn) != base
