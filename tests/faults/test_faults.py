"""What a run, a child, a supervisor or the whole sweep can suffer, and what is left afterwards."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from benchmark.files import lock
from benchmark.store import Store
from benchmark.sweep.schedule import run_jobs
from tests.fixtures.fake_executor import a_job, notes

TESTS = Path(__file__).resolve().parents[1]
# seconds before a test gives up; on a machine that is not overloaded nothing here takes ten
PATIENCE = 300


@pytest.fixture
def leases(monkeypatch, tmp_path):
    """Two pretend devices; every process of the sweep carries the unique lease folder in its
    environment."""
    monkeypatch.setenv("LOWLABEL_PRETEND_DEVICES", "2")
    monkeypatch.setenv("LOWLABEL_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("PYTHONPATH", str(TESTS.parent))
    yield tmp_path / "leases"
    for process in processes_of(tmp_path / "leases"):  # of a test that failed
        process.kill()


def processes_of(leases: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.pid != os.getpid() and process.environ().get("LOWLABEL_LEASES") == str(
                leases
            )
            # joblib's trackers of shared memory live as long as the process that used joblib, here
            # pytest itself
            if ours and not (
                process.ppid() == os.getpid() and "resource_tracker" in " ".join(process.cmdline())
            ):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def assert_nothing_is_left(leases: Path) -> None:
    """No process and no held lease after a moment (long, on a busy machine; a dying process lets go
    of files late)."""
    deadline = time.monotonic() + PATIENCE
    while ((left := processes_of(leases)) or held(leases)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, [process.cmdline() for process in left]
    assert not held(leases)


def held(leases: Path) -> list[Path]:
    """Lease files that somebody has locked."""
    found = []
    for path in leases.glob("*.lock"):
        with path.open("rb") as file:
            if not lock(file):
                found.append(path)
    return found


def start(
    out: Path,
    backend: str,
    number: int,
    seconds: float,
    method: str = "sleep",
    address: str = "",
    cohort: str = "",
) -> subprocess.Popen:
    script = [sys.executable, str(TESTS / "fixtures" / "fake_sweep.py")]
    command = [*script, str(out), backend, str(number), str(seconds), method, address, cohort]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited for {PATIENCE} s"
        time.sleep(0.05)


def test_every_bad_run_gets_its_verdict_and_every_other_is_done(tmp_path, leases, monkeypatch):
    monkeypatch.setenv("LOWLABEL_PRETEND_DEVICES", "4")
    bad = ["raise", "kill", "hang", "exhaust", "exit", "no_memory", "cuda"]
    jobs = [a_job(i, method) for i, method in enumerate(bad)] + [
        a_job(i, seconds=0.01) for i in range(len(bad), 40)
    ]
    (tmp_path / "out").mkdir()
    summary = run_jobs(
        jobs, tmp_path / "out", timeout=8, executor="tests.fixtures.fake_executor:execute"
    )
    assert (summary.done, summary.failed, summary.crashed, summary.timeout, summary.left) == (
        33,
        4,
        2,
        1,
        0,
    )
    store = Store(tmp_path / "out")
    assert all(store.read(job.id)["status"] == "done" for job in jobs[len(bad) :])
    records = {method: store.read(job.id) for method, job in zip(bad, jobs, strict=False)}
    ends = {
        method: (record["status"], record["error"]["type"], record["attempt"])
        for method, record in records.items()
    }
    assert ends == {
        "raise": ("failed", "RuntimeError", 1),
        "kill": ("crashed", "SIGKILL", 2),
        "hang": ("timeout", "Timeout", 1),
        "exhaust": ("crashed", "SIGKILL", 2),
        "exit": ("failed", "Exit", 1),
        "no_memory": ("failed", "MemoryError", 1),
        "cuda": ("failed", "RuntimeError", 1),
    }
    for method in ("raise", "hang", "exit"):
        assert f"this is {method}, attempt 1" in records[method]["error"]["log"]
    assert (
        "a plugin went wrong" in records["raise"]["error"]["log"]
        and records["exit"]["error"]["exit_code"] == 0
    )
    assert (
        "attempt 1" in records["kill"]["error"]["log"]
        and "attempt 2" in records["kill"]["error"]["log"]
    )
    assert records["kill"]["error"]["signal"] == "SIGKILL" and records["kill"]["provenance"]["host"]
    after_poison = {
        process
        for _, id, process in notes(tmp_path / "out", "start")
        if id in (jobs[5].id, jobs[6].id)
    }
    last_of = {process: id for _, id, process in notes(tmp_path / "out", "start")}
    # they served no other run
    assert {last_of[process] for process in after_poison} == {jobs[5].id, jobs[6].id}
    assert_nothing_is_left(leases)


def test_features_are_made_once_before_their_runs_without_a_time_limit(tmp_path, leases, capsys):
    """A run's limit does not count the features that it shares, and nobody waits for them while
    there is other work."""
    shared = [a_job(i, seconds=0.01, bank="slow features") for i in range(4)]
    others = [a_job(i, seconds=0.01, bank="broken features") for i in range(4, 8)]
    summary = run_jobs(
        shared + others,
        tmp_path,
        backend="threading",
        timeout=1.0,
        executor="tests.fixtures.fake_executor:execute",
    )
    assert (summary.done, summary.timeout, summary.left) == (8, 0, 0)
    made = {id: moment for moment, id, _ in notes(tmp_path, "bank")}
    assert len(made) == 2  # not one for each run, nor for each slot
    starts = {id: moment for moment, id, _ in notes(tmp_path, "start")}
    slow = min(moment for id, moment in made.items() if id in {job.id for job in shared})
    assert all(starts[job.id] >= slow + 1.5 for job in shared)
    assert any(starts[job.id] < slow + 1.5 for job in others)
    printed = capsys.readouterr().out
    assert "half of slow features" in printed and "another sweep" not in printed
    assert_nothing_is_left(leases)


def test_a_segmentation_fault_is_tried_again_and_leaves_its_stack(tmp_path, leases):
    jobs = [a_job(0, "kill_once")]
    summary = run_jobs(
        jobs, tmp_path, backend="threading", executor="tests.fixtures.fake_executor:execute"
    )
    assert summary.done == 1 and Store(tmp_path).read(jobs[0].id)["attempt"] == 2
    assert "fake_executor.py" in (Store(tmp_path).folder(jobs[0].id) / "log.txt").read_text()


def test_kills_at_random_moments_lose_nothing(tmp_path, leases):
    """20 rounds of SIGKILL to the main process, a supervisor or a child; every main process is
    started again."""
    rng, out, number = random.Random(0), tmp_path / "out", 200
    victims = ["main"] * 6 + ["supervisor"] * 7 + ["child"] * 7
    rng.shuffle(victims)
    out.mkdir()
    (out / "notes.txt").touch()
    main = start(out, "loky", number, 0.05)
    for victim in victims:
        before = len(notes(out, "start"))
        wait_for(lambda before=before: len(notes(out, "start")) > before)
        time.sleep(rng.uniform(0.02, 0.25))
        assert main.poll() is None, f"the sweep ended before all rounds: {main.stdout.read()}"
        if victim == "main":
            main.kill()
            main.communicate()
            assert_nothing_is_left(leases)
            main = start(out, "loky", number, 0.05)
        else:
            found = find(leases, "benchmark.sweep.child" if victim == "child" else "popen_loky")
            if found:  # else it died just now
                rng.choice(sorted(found, key=lambda process: process.pid)).kill()
    printed, _ = main.communicate(timeout=PATIENCE)
    assert main.returncode == 0, printed
    records = Store(out).records()
    assert len(records) == number and {record["status"] for record in records} == {"done"}
    ends = Counter(id for _, id, _ in notes(out, "end"))
    assert max(ends.values()) == 1  # what had its record was never computed again
    assert not list(out.glob("runs/*/.*"))  # no half-written file
    assert_nothing_is_left(leases)


def find(leases: Path, word: str) -> list[psutil.Process]:
    found = []
    for process in processes_of(leases):
        try:
            if word in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def test_two_invocations_share_the_slots_and_the_work(tmp_path, leases):
    sweeps = [start(tmp_path / "out", "threading", 60, 0.03) for _ in range(2)]
    for sweep in sweeps:
        printed, _ = sweep.communicate(timeout=PATIENCE)
        assert sweep.returncode == 0, printed
    starts, ends = notes(tmp_path / "out", "start"), notes(tmp_path / "out", "end")
    assert len({id for _, id, _ in starts}) == len(starts) == len(ends) == 60  # no run twice
    running = busiest = 0
    for _, change in sorted(
        [(moment, 1) for moment, *_ in starts] + [(moment, -1) for moment, *_ in ends]
    ):
        running += change
        busiest = max(busiest, running)
    assert 1 <= busiest <= 2  # never more than slots
    assert_nothing_is_left(leases)


def test_a_sweep_that_waits_for_a_lease_says_for_whom(tmp_path, leases):
    """Another program holds both devices; when it lets go, the sweep begins."""
    leases.mkdir()
    held = ", ".join(f"open('{leases}/pretend-{i}.lock', 'w')" for i in range(2))
    code = f"import fcntl; files = [{held}]; [fcntl.flock(f, 2) for f in files]; print(1); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    other = subprocess.Popen([sys.executable, "-c", code], **pipes)
    assert other.stdout.readline() == "1\n"
    main, said = start(tmp_path / "out", "threading", 2, 0.01), []
    while not said or ("waiting for a slot" not in said[-1] and main.poll() is None):
        said.append(main.stdout.readline())
    assert f"waiting for a slot: taken by process {other.pid} of " in said[-1], said
    assert not Store(tmp_path / "out").records()
    other.communicate("\n")
    printed, _ = main.communicate(timeout=PATIENCE)
    assert main.returncode == 0 and "waiting" not in printed, printed
    assert_nothing_is_left(leases)


@pytest.mark.parametrize(
    ("signals", "backend"),
    [
        ([signal.SIGINT], "loky"),
        ([signal.SIGTERM], "threading"),
        ([signal.SIGINT, signal.SIGINT], "loky"),
    ],
)
def test_stopping_is_quick_and_leaves_nothing(tmp_path, leases, signals, backend):
    main = start(tmp_path / "out", backend, 4, 0, "hang")
    wait_for(
        lambda: (
            (tmp_path / "out" / "notes.txt").exists()
            and len(notes(tmp_path / "out", "loader")) == 2
        )
    )
    begin = time.monotonic()
    for number in signals:
        main.send_signal(number)
        time.sleep(0.05)
    printed, _ = main.communicate(timeout=PATIENCE)
    print(f"stopped in {time.monotonic() - begin:.2f} s")
    assert_nothing_is_left(leases)
    assert main.returncode == 130, printed
    assert len(signals) > 1 or "to continue: do it again" in printed, printed
    assert Store(tmp_path / "out").records() == []  # no verdict: all of them are todo


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_hanging_library_and_its_processes_end_with_a_killed_main_process(
    tmp_path, leases, backend
):
    out = tmp_path / "out"
    main = start(out, backend, 4, 0, "hang")
    wait_for(lambda: (out / "notes.txt").exists() and len(notes(out, "loader")) == 2)
    main.kill()
    main.communicate()
    assert_nothing_is_left(leases)
    assert len(list((out / "sweeps").iterdir())) == 1
    main = start(out, backend, 1, 0.01)  # the next command clears up what the dead one could not
    printed, _ = main.communicate(timeout=PATIENCE)
    assert main.returncode == 0 and not list((out / "sweeps").iterdir()), printed


def test_ctrl_c_in_a_terminal_reaches_the_whole_group(tmp_path, leases):
    """The terminal sends SIGINT to the supervisors as well; they leave the decision to the main
    process."""
    out = tmp_path / "out"
    command = [
        sys.executable,
        str(TESTS / "fixtures" / "fake_sweep.py"),
        str(out),
        "loky",
        "4",
        "0",
        "hang",
    ]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    main = subprocess.Popen(command, start_new_session=True, **pipe)
    wait_for(lambda: (out / "notes.txt").exists() and len(notes(out, "loader")) == 2)
    os.killpg(main.pid, signal.SIGINT)
    printed, _ = main.communicate(timeout=PATIENCE)
    assert (
        main.returncode == 130
        and "to continue: do it again" in printed
        and "Traceback" not in printed
    ), printed
    assert_nothing_is_left(leases)


def test_a_full_disk_never_leaves_half_a_record(tmp_path, leases, monkeypatch, capsys):
    jobs = [a_job(0, "raise"), a_job(1, "disk_full"), a_job(2), a_job(3)]
    write = Store.write

    def no_space_for_the_first(self, record, scores=None):
        if record["id"] == jobs[0].id:
            raise OSError(28, "No space left on device")
        write(self, record, scores)

    # in the supervisors, which are threads here
    monkeypatch.setattr(Store, "write", no_space_for_the_first)
    summary = run_jobs(
        jobs, tmp_path, backend="threading", executor="tests.fixtures.fake_executor:execute"
    )
    assert (summary.done, summary.failed, summary.left) == (2, 1, 1)
    printed = capsys.readouterr().out
    assert "No space left on device" in printed and "1 without a record (they stay todo)" in printed
    store = Store(tmp_path)
    assert store.read(jobs[0].id) is None
    assert store.read(jobs[1].id)["error"]["message"].endswith("File too large")
    assert sorted(path.name for path in store.folder(jobs[1].id).iterdir()) == [
        "claim",
        "log.txt",
        "record.json",
    ]
    monkeypatch.undo()


def test_a_child_that_cannot_start_fails_its_runs(tmp_path, leases, monkeypatch):
    jobs = [a_job(0), a_job(1)]
    assert (
        run_jobs(jobs, tmp_path, backend="threading", executor="no_such_module:execute").failed == 2
    )
    error = Store(tmp_path).read(jobs[0].id)["error"]
    assert error["type"] == "ModuleNotFoundError" and "no_such_module" in error["log"]
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert (
        run_jobs(
            jobs, tmp_path, backend="threading", executor="tests.fixtures.fake_executor:execute"
        ).failed
        == 2
    )
    assert Store(tmp_path).read(jobs[0].id)["error"]["exit_code"] == 1


def test_errors_of_the_scheduler_itself_are_not_hidden(tmp_path, leases, monkeypatch):
    monkeypatch.setattr("benchmark.sweep.schedule.RESTARTS", 1)
    monkeypatch.setattr("benchmark.sweep.supervisor.lease", lambda slots: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_jobs(
            [a_job(0)],
            tmp_path,
            backend="threading",
            slots=1,
            executor="tests.fixtures.fake_executor:execute",
        )
