"""`--cohort` from the command line: a sweep of runs computed as one, beside the same one by one."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import run_all
from benchmark import commands
from benchmark.commands import report
from benchmark.store import Store

COMMAND = [
    *("--methods", "coop(epochs=3, learning_rate=[.1, 1e30])", "zero_shot_clip"),
    *("--settings", "partial(known=[.3, .6])", "--datasets", "digits", "--seeds", "0"),
    *("--limit", "60", "--slots", "1", "--backend", "threading"),
]


@pytest.fixture
def sweep(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LOWLABEL_LEASES", str(tmp_path / "leases"))
    monkeypatch.setattr(report, "build", lambda *arguments, **options: None)

    def run(out: Path, *flags: str) -> Store:
        line = [*COMMAND, *flags, "--out", str(out)]
        assert commands.main(line, run_all.QUICK, run_all.FULL) == 1  # the runs that diverge
        printed = capsys.readouterr().out
        assert printed.count("| done ") == 4 and printed.count("| failed ") == 2, printed
        return Store(out)

    return run


def test_a_sweep_in_cohorts_gives_the_numbers_of_one_by_one(tmp_path, sweep):
    """A run that diverges costs only itself; what was computed as one says so in its costs."""
    together = sweep(tmp_path / "together")
    shutil.copytree(tmp_path / "together" / "features", tmp_path / "alone" / "features")
    alone = sweep(tmp_path / "alone", "--cohort", "off")
    sizes: dict[str, set[int]] = {}
    for record in together.records():
        id, name = record["id"], record["spec"].method.name
        other = alone.read(id)
        assert other is not None and other["status"] == record["status"]
        if record["status"] == "done":
            sizes.setdefault(name, set()).add(record["cost"]["cohort"])
            assert other["cost"]["cohort"] == 1
            assert np.abs(together.scores(id) - alone.scores(id)).max() < 1e-4
            assert record["metrics"]["all"] == pytest.approx(other["metrics"]["all"], abs=1e-2)
        else:
            assert "training loss" in record["error"]["message"]
            assert other["error"]["type"] == record["error"]["type"]
    assert sizes == {"coop": {4}, "zero_shot_clip": {2}}
