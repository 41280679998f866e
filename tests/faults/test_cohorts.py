"""Runs that a slot computes as one: each keeps its record, its failure and its second chance."""

import os
import time
from collections import Counter

from benchmark.store import Store
from benchmark.sweep.schedule import run_jobs
from tests.faults.test_faults import (
    PATIENCE,
    assert_nothing_is_left,
    find,
    leases,  # noqa: F401
    start,
    wait_for,
)
from tests.fixtures.fake_executor import a_job, notes

EXECUTOR = "tests.fixtures.fake_executor:execute"


def sweep(out, methods, **options):
    out.mkdir(exist_ok=True)
    jobs = [a_job(i, method, seconds=0.01, cohort="one") for i, method in enumerate(methods)]
    options = {"backend": "threading", "executor": EXECUTOR, "slots": 1} | options
    return jobs, run_jobs(jobs, out, **options)


def counted(out, word) -> Counter[str]:
    return Counter(id for _, id, _ in notes(out, word))


def test_every_slot_has_its_part_and_every_run_its_record(tmp_path, leases, capsys):  # noqa: F811
    """One of them raises: that costs only itself."""
    jobs, summary = sweep(tmp_path, ["sleep"] * 8 + ["raise"], slots=2)
    assert (summary.done, summary.failed) == (8, 1)
    assert Store(tmp_path).read(jobs[8].id)["error"]["message"] == "a plugin went wrong"
    parts = Counter(process for _, _, process in notes(tmp_path, "company"))
    assert sorted(parts.values())[-1] == 5 and len(parts) == 2
    assert set(counted(tmp_path, "start").values()) == {1}
    first, *others = [id for _, id, process in notes(tmp_path, "company") if parts[process] == 5]
    log = (Store(tmp_path).folder(others[0]) / "log.txt").read_text()
    assert f"one of 5 runs, whose log is ../{first}/log.txt" in log
    assert "this is sleep" in (Store(tmp_path).folder(first) / "log.txt").read_text()
    printed = capsys.readouterr().out  # a line for each run, as ever
    assert printed.count("| done ") == 8 and printed.count("| failed ") == 1
    assert_nothing_is_left(leases)


def test_what_has_no_record_is_computed_by_itself(tmp_path, leases, capsys):  # noqa: F811
    """The process dies in the middle: what was recorded before stays, the others start again."""
    jobs, summary = sweep(tmp_path, ["sleep", "sleep", "die_in_company", "kill", "sleep"])
    assert (summary.done, summary.crashed) == (4, 1)
    starts = counted(tmp_path, "start")
    assert [starts[job.id] for job in jobs] == [1, 1, 1, 2, 1]  # a signal has a second chance
    assert "3 of 5 runs that were computed as one have no record (the process was ended by" in (
        capsys.readouterr().out
    )
    assert [Store(tmp_path).read(job.id)["attempt"] for job in jobs] == [1, 1, 1, 2, 1]
    log = (Store(tmp_path).folder(jobs[2].id) / "log.txt").read_text()
    assert "one of 5 runs" in log and "this is die_in_company" in log


def test_a_run_that_was_forgotten_is_computed_by_itself(tmp_path, leases):  # noqa: F811
    jobs, summary = sweep(tmp_path, ["sleep", "forget_in_company", "sleep"])
    assert summary.done == 3
    assert [counted(tmp_path, "start")[job.id] for job in jobs] == [1, 1, 1]


def test_runs_as_one_have_the_sum_of_their_limits(tmp_path, leases):  # noqa: F811
    """1.5 s of work in company are no timeout at 1 s a run; one that hangs there delays the others
    by the sum, and only what hangs by itself ends as `timeout`."""
    jobs = [a_job(i, "sleep", seconds=0.5, cohort="long") for i in range(3)]
    jobs += [a_job(3, "hang_in_company", cohort="h"), a_job(4, "hang", cohort="h")]
    begin = time.monotonic()
    summary = run_jobs(jobs, tmp_path, backend="threading", executor=EXECUTOR, timeout=1, slots=1)
    assert (summary.done, summary.timeout) == (4, 1)
    assert time.monotonic() - begin > 1.5 + 2 + 1
    assert [counted(tmp_path, "start")[job.id] for job in jobs] == [1] * 5
    assert Store(tmp_path).read(jobs[4].id)["status"] == "timeout"


def test_off_and_inline_compute_each_by_itself(tmp_path, leases):  # noqa: F811
    for name, options in (("off", {"cohort": 1}), ("inline", {"backend": "inline"})):
        _, summary = sweep(tmp_path / name, ["sleep"] * 3, **options)
        assert summary.done == 3 and not notes(tmp_path / name, "company")
    sweep(tmp_path / "two", ["sleep"] * 5, cohort=2)
    parts = Counter(process for _, _, process in notes(tmp_path / "two", "company"))
    assert sum(parts.values()) == 4  # two and two, the fifth by itself


def test_kills_in_the_middle_lose_nothing_and_the_same_command_goes_on(tmp_path, leases):  # noqa: F811
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").touch()
    arguments = (out, "threading", 12, 0.1, "sleep", "", "one")
    main = start(*arguments)
    wait_for(lambda: len(notes(out, "end")) >= 2)
    found = [p for p in find(leases, "benchmark.sweep.child") if p.ppid() == main.pid]
    for process in found:
        process.kill()
    wait_for(lambda: len(notes(out, "end")) >= 5)
    main.kill()
    main.communicate()
    assert_nothing_is_left(leases)
    kept = {record["id"] for record in Store(out).records()}
    starts = counted(out, "start")
    assert counted(out, "end").keys() <= kept and 5 <= len(kept) < 12
    main = start(*arguments)
    printed, _ = main.communicate(timeout=PATIENCE)
    assert main.returncode == 0, printed
    assert len(Store(out).records()) == 12
    again, ends = counted(out, "start"), counted(out, "end")
    assert max(ends.values()) == 1
    for id in again:  # what had its record was not started again, all else ended now
        assert again[id] == starts[id] if id in kept else ends[id] == 1
    assert not list(out.glob("runs/*/.*"))
    assert os.path.exists(out / "runs")
