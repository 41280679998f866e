"""Cohorts through the engine: a record for each run, failures alone, and one by one where all
fail."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from benchmark import plan
from benchmark.plan import Axes, make_plan
from benchmark.run import cohort
from benchmark.run import execute as execution
from benchmark.run.execute import execute
from benchmark.store import Store
from methods import coop

AXES = Axes(
    methods=("coop(epochs=2)",),
    settings=("partial(known=[.3,.6,.9], dataset='digits')",),
    encoders=("pocket-RN",),
)


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("results")


def jobs(out, axes=AXES):
    found = [row.job() for row in make_plan(axes, Store(out))]
    assert len({job.cohort for job in found}) == 1 and found[0].cohort
    return found


def test_records_and_scores_are_those_of_single_runs(out):
    store = Store(out)
    records = cohort.execute_cohort(jobs(out), out)
    assert [record["status"] for record in records] == ["done"] * 3
    assert [record["cost"]["cohort"] for record in records] == [3] * 3
    assert len({record["cost"]["fit_s"] for record in records}) == 1  # equal shares
    together = store.scores(jobs(out)[1].id)
    alone = execute(jobs(out)[1], out)
    assert alone["status"] == "done" and alone["cost"]["cohort"] == 1
    assert np.abs(store.scores(alone["id"]) - together).max() < 1e-4
    assert alone["metrics"]["all"] == pytest.approx(records[1]["metrics"]["all"], rel=1e-3)


def test_a_member_that_fails_fails_alone(out, monkeypatch):
    begin = cohort.Attempt.start

    def start(this, meter):
        if this.job.id == jobs(out)[0].id:
            raise OSError("its data cannot be read")
        begin(this, meter)

    monkeypatch.setattr(cohort.Attempt, "start", start)
    records = cohort.execute_cohort(jobs(out), out)
    assert [record["status"] for record in records] == ["failed", "done", "done"]
    assert records[0]["error"]["message"] == "its data cannot be read"


def test_what_fails_together_is_repeated_one_by_one(out, monkeypatch):
    whole = coop.Method.fit_many.__func__

    def fit_many(cls, clip, members):
        if len(members) > 1:
            next(members[0].train.batches(4, shuffle=True))  # its order of images has begun
            raise MemoryError("too many")
        return whole(cls, clip, members)

    monkeypatch.setattr(coop.Method, "fit_many", classmethod(fit_many))
    records = cohort.execute_cohort(jobs(out), out)
    assert [record["status"] for record in records] == ["done"] * 3
    assert [record["cost"]["cohort"] for record in records] == [1] * 3
    scores = Store(out).scores(records[0]["id"])
    execute(jobs(out)[0], out)
    assert np.abs(Store(out).scores(records[0]["id"]) - scores).max() < 1e-4


def test_as_many_as_the_memory_holds(out, monkeypatch):
    sizes = []
    whole = coop.Method.fit_many.__func__

    def fit_many(cls, clip, members):
        sizes.append(len(members))
        return whole(cls, clip, members)

    monkeypatch.setattr(coop.Method, "fit_many", classmethod(fit_many))
    free = cohort.psutil.virtual_memory().available
    monkeypatch.setattr(
        coop.Method,
        "bytes_a_member",
        classmethod(lambda cls, clip, member: int(cohort.SHARE * free / 2.5)),
    )
    cohort.execute_cohort(jobs(out), out)
    assert sizes == [2, 1]


def test_scores_that_no_label_changes_are_computed_once(out, monkeypatch):
    """Zero-shot CLIP over label rates and seeds: one pass over the test images, the validation
    images of each seed once, and the seconds shared equally."""
    axes = dataclasses.replace(AXES, methods=("zero_shot_clip",), seeds=(0, 1))
    asked = []
    whole = execution.predict

    def predict(world, part, classes):
        asked.append(len(part))
        return whole(world, part, classes)

    monkeypatch.setattr(execution, "predict", predict)
    many = jobs(out, axes)
    records = cohort.execute_cohort(many, out)
    assert [record["status"] for record in records] == ["done"] * 6
    assert len(asked) == 3  # test, validation of seed 0, validation of seed 1
    assert {record["cost"]["cohort"] for record in records} == {6}
    together = Store(out).scores(many[5].id)
    alone = execute(many[5], out)
    assert len(asked) == 5 and alone["metrics"] == records[5]["metrics"]
    assert np.array_equal(Store(out).scores(many[5].id), together)


def test_another_fit_is_never_computed_by_the_fit_many_of_its_base():
    class Same(coop.Method):
        title = "the same under another name"

    class Other(coop.Method):
        def fit(self, clip, train, val, run):
            raise NotImplementedError

    assert plan._fits_many(coop.Method) and plan._fits_many(Same)
    assert not plan._fits_many(Other)
