"""`--shard I/N` from the command line: disjoint, complete, two at once into one folder."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import run_all
from benchmark import commands
from benchmark.store import Store

ROOT = Path(__file__).resolve().parents[3]
SMALL = [
    "--settings",
    "partial(known=[.1, .5])",
    "--datasets",
    "pictograms",
    "--methods",
    "zero_shot_clip",
]


def main(*argv: str) -> int:
    return commands.main(list(argv), run_all.QUICK, run_all.FULL)


def ids(text: str) -> list[str]:
    return re.findall(r"^([0-9a-f]{12})  ", text, re.M)


def test_two_shards_of_a_plan_are_disjoint_and_make_up_the_whole(tmp_path, capsys):
    found = []
    for shard in (["--shard", "0/2"], ["--shard", "1/2"], []):
        assert main("plan", *SMALL, "--out", str(tmp_path), *shard) == 0
        found.append(ids(capsys.readouterr().out))
    first, second, whole = found
    assert len(whole) == 6 and first and second
    assert not set(first) & set(second) and {*first, *second} == set(whole)


def test_two_shards_into_one_folder_at_once_give_every_record_once(tmp_path):
    leases, out = str(tmp_path / "leases"), tmp_path / "results"
    command = [sys.executable, str(ROOT / "run_all.py"), *SMALL, "--out", str(out), "--slots", "2"]
    environment = {**os.environ, "LOWLABEL_LEASES": leases}
    shards = [
        subprocess.Popen(
            [*command, "--shard", f"{i}/2"], env=environment, stdout=-1, stderr=-1, text=True
        )
        for i in (0, 1)
    ]
    said = [process.communicate(timeout=300) for process in shards]
    assert [process.returncode for process in shards] == [0, 0], said
    done = sum(int(re.search(r"(\d+) runs to do", out)[1]) for out, _ in said)
    records = Store(out).records()
    assert done == len(records) == 6 and {record["status"] for record in records} == {"done"}
    assert {record["attempt"] for record in records} == {1}


def test_an_array_task_that_gets_sigterm_goes_on_when_it_is_started_again(tmp_path, monkeypatch):
    """As a job array does that is preempted and queued once more."""
    out = tmp_path / "results"
    slow = ["--settings", "partial(known=[.1,.5])", "--datasets", "digits", "--seeds", "0,1"]
    slow += ["--methods", "coop(epochs=3)", "--cohort", "off", "--limit", "60"]
    flags = [*slow, "--out", str(out), "--slots", "1", "--shard", "1/1"]
    monkeypatch.setenv("LOWLABEL_LEASES", str(tmp_path / "leases"))
    command = [sys.executable, str(ROOT / "run_all.py"), *flags]
    task = subprocess.Popen(command, stdout=-1, stderr=-1, text=True)
    deadline = time.monotonic() + 300
    while not list(out.glob("runs/*/record.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    task.send_signal(signal.SIGTERM)
    printed, _ = task.communicate(timeout=300)
    before = {record["id"]: record for record in Store(out).records()}
    assert task.returncode == 130 and 1 <= len(before) < 4, printed
    assert "--shard 1/1" in printed.partition("to continue: ")[2].splitlines()[0]
    assert main(*flags) == 0
    after = {record["id"]: record for record in Store(out).records()}
    assert len(after) == 4 and {record["status"] for record in after.values()} == {"done"}
    assert all(after[id] == record for id, record in before.items())  # none was repeated


@pytest.mark.parametrize("text", ["3", "x/2", "5/3", "0/0"])
def test_a_shard_that_is_none_is_one_sentence(tmp_path, capsys, text):
    assert main("plan", *SMALL, "--out", str(tmp_path), "--shard", text) == 2
    said = capsys.readouterr().err
    assert "is no shard" in said and said.count("\n") == 1
