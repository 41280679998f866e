"""A sweep with nothing to do leaves a report that would come out as it stands, and only that."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import run_all
from benchmark import commands
from benchmark.commands.parser import parse
from benchmark.commands.plan import planned
from benchmark.staleness import code_digest
from benchmark.store import Store
from tests.fixtures.synthetic_records import write_run

AXES = ["--settings", "partial(known=.5)", "--datasets", "digits", "--seeds", "0"]
AXES += ["--methods", "zero_shot_clip", "linear_probe"]


@pytest.fixture
def sweep(tmp_path, capsys):
    """Everything is done; `sweep()` runs the command again and returns what it printed."""
    out = tmp_path / "out"
    for row in planned(parse(["plan", *AXES, "--out", str(out)]), run_all.FULL):
        spec = row.spec
        digest = code_digest(spec.methods, spec.setting.name, spec.dataset)
        write_run(out, spec, images=40, code_digest=digest)

    def again() -> str:
        code = commands.main(["run", *AXES, "--out", str(out)], run_all.QUICK, run_all.FULL)
        assert code == 0
        return capsys.readouterr().out

    again.out = out
    return again


def test_an_unchanged_report_is_left_and_its_summary_shown(sweep):
    first, page = sweep(), sweep.out / "report.html"
    assert "nothing to compute" in first and "(unchanged)" not in first
    before = page.stat()
    second = sweep()
    assert second.splitlines()[:-1] == first.splitlines()[:-1] and "(unchanged)" in second
    assert page.stat() == before


def test_an_altered_record_is_noticed_whatever_its_date(sweep):
    sweep()
    store = Store(sweep.out)
    path = store.folder(store.records()[0]["id"]) / "record.json"
    state, before = json.loads(path.read_text()), path.stat()
    state["metrics"]["all"]["mAP"] += 1
    path.write_text(json.dumps(state, indent=1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    printed = sweep()
    assert "(unchanged)" not in printed and "1 of 2 runs are done, 1 failed" in printed


@pytest.mark.parametrize("what", ["scores", "table", "note", "plan"])
def test_whatever_a_report_is_made_from_counts(sweep, what):
    sweep()
    store, note = Store(sweep.out), sweep.out / "cache/report.json"
    if what == "scores":
        path = store.folder(store.records()[0]["id"]) / "scores.npy"
        path.write_bytes(path.read_bytes())
    elif what == "table":
        next((sweep.out / "tables").iterdir()).unlink()
    elif what == "plan":
        commands.main(
            ["plan", *AXES, "--out", str(sweep.out)], run_all.QUICK, run_all.FULL
        )  # asks, and changes nothing
        (sweep.out / "plans/another.json").write_text('{"command": "x", "runs": []}')
    else:
        note.write_text('{"made": [], "codes": 3')
    assert "(unchanged)" not in sweep() and "(unchanged)" in sweep()


def test_a_plan_imports_none_of_the_towers():
    """They take seconds; a plan and a sweep with nothing to do have three and five."""
    code = (
        "import sys, benchmark.commands.run, run_all; from benchmark import registry\n"
        "from benchmark.plan import Axes, make_plan; from benchmark.store import Store\n"
        "suite = run_all.QUICK\n"
        "make_plan(Axes(suite.methods, suite.settings, candidates=suite.datasets), Store('none'))\n"
        "print({'open_clip', 'torchvision', 'sklearn', 'pandas', 'jinja2'} & set(sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(run_all.__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == "set()"
