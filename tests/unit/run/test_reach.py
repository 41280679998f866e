"""Whether a hidden label can be reached from what a method is handed, and whether we see it."""

import functools

import numpy as np
import torch

from benchmark.commands import check
from benchmark.run import parts
from benchmark.run.reach import reachable, ways_to

LABELS = np.random.default_rng(0).integers(0, 2, (6, 3)).astype(np.int8)


def test_ways_through_closures_attributes_views_and_tensors_are_found():
    class Holder:
        pass

    def closure(hidden):
        return lambda: hidden

    holder = Holder()
    holder.deep = [functools.partial(closure(LABELS))]
    whole = np.concatenate([np.zeros((2, 3), np.int8), LABELS])
    assert ways_to(LABELS, closure(LABELS)) and ways_to(LABELS, holder)
    assert ways_to(LABELS, whole[:1])  # a view: its base holds all
    assert ways_to(LABELS, torch.from_numpy(LABELS.astype(np.float32)))
    assert not ways_to(LABELS, closure(1 - LABELS), whole[:4].copy())


def test_what_any_code_can_import_is_nobodys_gift():
    assert not any(item is LABELS for _, item in reachable(test_reach_globals))


def test_reach_globals():
    assert LABELS.shape == (6, 3)


def test_the_check_sees_a_part_that_holds_its_data_set(monkeypatch):
    check.no_hidden_label_is_in_reach("zero_shot_clip")
    monkeypatch.setattr(parts, "without_labels", lambda dataset: dataset)
    try:
        check.no_hidden_label_is_in_reach("zero_shot_clip")
    except AssertionError as error:
        assert "Dataset" in str(error)
    else:
        raise AssertionError("not seen")
