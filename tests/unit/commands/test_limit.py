"""`--limit N`: a smoke run, recorded as such, whose numbers stand apart everywhere."""

import re
from pathlib import Path

import numpy as np
import pytest

import run_all
from benchmark import commands, registry
from benchmark.plan import Axes, make_plan
from benchmark.run.parts import limited
from benchmark.spec import Spec
from benchmark.store import Store

METHODS = ("zero_shot_clip", "linear_probe(C=1.)")


def rows(limit, out="none"):
    axes = Axes(METHODS, ("partial(known=.5)",), datasets=("digits",), limit=limit)
    return make_plan(axes, Store(Path(out)))


def test_a_limited_run_is_another_run_and_says_so():
    whole, small = rows(0), rows(60)
    assert {row.id for row in whole}.isdisjoint(row.id for row in small)
    assert all("limited to 60 images a split" in row.spec.label for row in small)
    assert "limit" not in whole[0].spec.to_json()  # ids of whole runs are what they were
    assert Spec.from_json(small[0].spec.to_json()) == small[0].spec


@pytest.mark.parametrize("setting", ["partial", "zero_shot", "long_tail"])
def test_the_task_keeps_the_first_images_of_each_split_and_its_views(setting):
    task = registry.make("settings", setting, {}).build(0)
    small = limited(task, 60)
    training = np.sort(np.concatenate([task.train.rows, task.val.rows]))[:60]
    kept = np.sort(np.concatenate([small.train.rows, small.val.rows]))
    assert np.array_equal(kept, training) and len(small.val.rows) and len(small.test.rows) == 60
    where = {row: i for i, row in enumerate(task.test.rows)}
    positions = [where[row] for row in small.test.rows]
    assert np.array_equal(small.test.y, task.test.y[positions])
    for name, view in small.views.items():
        assert np.array_equal(view.rows, task.views[name].rows[positions])


def test_from_the_command_line_to_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--settings", "partial(known=.5)", "--datasets", "digits", "--methods", *METHODS]
    flags += ["--seeds", "0", "--limit", "60"]
    assert commands.main(["plan", *flags], run_all.QUICK, run_all.FULL) == 0
    assert "limited to 60 images a split" in capsys.readouterr().out
    assert commands.main([*flags, "--backend", "inline"], run_all.QUICK, run_all.FULL) == 0
    for record in Store(Path("results")).records():
        assert record["spec"].limit == 60 and record["task"]["n_test"] == 60
    assert "limited to 60 images a split" in Path("results/report.html").read_text()
    tables = list(Path("results/tables").glob("partial_digits*limited*.md"))
    assert tables and not re.search("published", tables[0].read_text(), re.I)
    capsys.readouterr()
    assert commands.main(["plan", *flags[:-2]], run_all.QUICK, run_all.FULL) == 0
    assert "2 todo" in capsys.readouterr().out  # the whole runs are still to be done


def test_a_limit_is_a_number(capsys):
    assert commands.main(["plan", "--limit", "0"], run_all.QUICK, run_all.FULL) == 2
    assert "1 or more" in capsys.readouterr().err
