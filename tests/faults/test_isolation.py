"""Runs do not touch one another, and nothing that lies about touches them."""

import os
import time
from pathlib import Path

import psutil
import pytest

from benchmark.store import Store
from benchmark.sweep import logs
from benchmark.sweep.schedule import run_jobs
from tests.fixtures.fake_executor import a_job, notes

EXECUTOR = "tests.fixtures.fake_executor:execute"


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    monkeypatch.setenv("LOWLABEL_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("LOWLABEL_PRETEND_DEVICES", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def sweep(tmp_path, methods):
    (tmp_path / "out").mkdir()
    jobs = [a_job(i, method, seconds=0.01) for i, method in enumerate(methods)]
    summary = run_jobs(jobs, tmp_path / "out", backend="threading", executor=EXECUTOR)
    assert summary.done == len(methods)
    store = Store(tmp_path / "out")
    return [store.read(job.id) for job in jobs]


def test_what_a_run_changes_in_its_process_reaches_no_other(tmp_path):
    """Neither another method nor the next run of the same one."""
    records = sweep(tmp_path, ["patch", "sleep", "patch", "sleep", "sleep"])
    folder = os.getcwd()
    seen = [(record["chosen"]["floor"], record["chosen"]["cwd"]) for record in records]
    assert seen == [(7, "/"), (1, folder), (7, "/"), (1, folder), (1, folder)]
    processes = {record["cost"]["process"] for record in records}
    assert len(processes) < len(records)  # runs that left nothing share a process
    log = (Store(tmp_path / "out").folder(records[0]["id"]) / "log.txt").read_text()
    assert "changed in its process" in log and "math.floor" in log


def test_a_process_that_is_left_behind_is_ended_and_holds_nothing_up(tmp_path):
    begin = time.monotonic()
    sweep(tmp_path, ["leave", "sleep"])
    assert time.monotonic() - begin < 30
    ((_, _, process),) = notes(tmp_path / "out", "left")
    assert process not in psutil.pids() or psutil.Process(process).status() == "zombie"


def test_files_of_the_working_folder_take_no_module_s_place(tmp_path, monkeypatch):
    for name in ("benchmark.py", "settings.py", "methods/__init__.py", "psutil.py", "math.py"):
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("raise RuntimeError('a file of the user was imported')\n")
    monkeypatch.chdir(tmp_path / "here")
    sweep(tmp_path, ["sleep"])


def test_a_log_has_a_limit_and_keeps_its_end(tmp_path, monkeypatch):
    (record,) = sweep(tmp_path, ["shout"])
    path = Store(tmp_path / "out").folder(record["id"]) / "log.txt"
    logs.limit_log(path)
    assert path.stat().st_size < logs.LARGEST_LOG
    assert path.read_text().startswith("[") and path.read_text().endswith("the last line\n")
    with path.open("r+b") as file:  # 5 GB without a block: only its end is read
        file.truncate(5_000_000_000)
        file.seek(0, os.SEEK_END)
        file.write(b"the end\n")
    assert logs.tail(path).endswith("the end\n")
    path.unlink()
