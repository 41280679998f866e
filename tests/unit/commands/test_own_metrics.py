"""A metric from a file, over the scores that runs have kept."""

import csv
import re

import numpy as np
import pytest

import run_all
from benchmark import commands
from benchmark.metrics import average_precision
from benchmark.store import Store
from tests.fixtures.synthetic_records import partial, specification, write_run

SOURCE = """
import numpy as np
from benchmark.metrics import average_precision

def half(targets, scores):
    return 50 * np.nanmean(average_precision(targets, scores))
"""


def test_a_metric_of_an_own_file_for_every_run_and_view(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.commands.report.build", lambda outs, tables_only: tmp_path)
    out, file = tmp_path / "results", tmp_path / "half.py"
    ids = [write_run(out, specification("coop", partial(known)), images=40) for known in (0.1, 0.5)]
    file.write_text(SOURCE)
    argv = ["report", "--out", str(out), "--metric", str(file)]
    assert commands.main(argv, run_all.QUICK, run_all.FULL) == 0
    rows = list(csv.DictReader((out / "tables" / "half.csv").open()))
    assert [row["id"] for row in rows] == sorted(ids) and {row["view"] for row in rows} == {"all"}
    store = Store(out)
    targets = store.task(store.read(rows[0]["id"])["task"]["fingerprint"])["targets"]
    expected = 50 * np.nanmean(average_precision(targets, store.scores(rows[0]["id"])))
    assert float(rows[0]["half"]) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (None, "There is no metric file"),
        ("x = 1\n", r"has no function odd\(targets, scores\)"),
        ("def odd(targets, scores):\n    return scores\n", "it should return one number"),
        ("def odd(targets, scores):\n    return float('nan')\n", "it should return one number"),
        ("def odd(targets, scores):\n    return 1 / 0\n", "odd raised ZeroDivisionError"),
        ("def odd(:\n", "odd.py cannot be imported: SyntaxError"),
    ],
)
def test_a_wrong_metric_is_refused(tmp_path, source, sentence, monkeypatch, capsys):
    monkeypatch.setattr("benchmark.commands.report.build", lambda outs, tables_only: tmp_path)
    gone = write_run(tmp_path, specification("coop", partial(0.5)), images=40)
    write_run(tmp_path, specification("coop", partial(0.1)), images=40)
    (tmp_path / "runs" / gone / "scores.npy").unlink()  # stops no other
    if source:
        (tmp_path / "odd.py").write_text(source)
    argv = ["report", "--out", str(tmp_path), "--metric", str(tmp_path / "odd.py")]
    assert commands.main(argv, run_all.QUICK, run_all.FULL) == 2
    said = capsys.readouterr().err
    assert re.search(sentence, said) and said.count("\n") == 1
