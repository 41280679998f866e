"""The same sweep over Dask: a real scheduler and two workers in processes of their own, killed at
bad moments."""

import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import run_all
from benchmark import commands
from benchmark.store import Store
from benchmark.sweep.dask import NoScheduler
from benchmark.sweep.schedule import run_jobs
from tests.faults.test_faults import (  # noqa: F401
    PATIENCE,
    assert_nothing_is_left,
    leases,
    processes_of,
    start,
    wait_for,
)
from tests.fixtures.fake_executor import a_job, notes
from tests.fixtures.miniatures import build_voc2007
from tests.fixtures.tiny_clip import write_models

pytest.importorskip("distributed")
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@pytest.fixture
def cluster(tmp_path, leases):  # noqa: F811
    """Starts a scheduler and two workers with the ordinary commands; returns (address, workers,
    start again)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    processes: list[subprocess.Popen] = []
    dask = [sys.executable, "-m", "dask"]

    def start_scheduler() -> subprocess.Popen:
        command = [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
        processes.append(subprocess.Popen(command, **QUIET))
        wait_for(listens)
        return processes[-1]

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    def start_worker() -> subprocess.Popen:
        command = [
            *dask,
            "worker",
            address,
            "--nthreads",
            "1",
            "--resources",
            "GPU=1",
            "--no-dashboard",
            "--no-nanny",
        ]
        options = ["--local-directory", str(tmp_path / "dask"), "--death-timeout", str(PATIENCE)]
        processes.append(subprocess.Popen([*command, *options], **QUIET))
        return processes[-1]

    yield address, start_scheduler, start_worker
    for process in processes:
        process.kill()
        process.wait()


def running(out: Path) -> int:
    return len(notes(out, "start")) if (out / "notes.txt").exists() else 0


def test_a_worker_is_killed_and_later_the_scheduler(tmp_path, leases, cluster):  # noqa: F811
    address, start_scheduler, start_worker = cluster
    out, number = tmp_path / "out", 80
    scheduler, workers = start_scheduler(), [start_worker(), start_worker()]
    main = start(out, "dask", number, 0.1, address=address)
    wait_for(
        lambda: running(out) >= 8 and len({process for _, _, process in notes(out, "start")}) == 2
    )
    workers[0].kill()
    at_the_kill = running(out)
    wait_for(lambda: running(out) >= at_the_kill + 6)
    assert main.poll() is None  # the other worker goes on, and so does the sweep
    scheduler.kill()
    scheduler.wait()
    # reaches supervisors through the shared folder, not through Dask
    main.send_signal(signal.SIGINT)
    printed, _ = main.communicate(timeout=PATIENCE)
    assert main.returncode == 130 and "to continue: do it again" in printed, printed
    workers[1].wait(timeout=PATIENCE)  # a Dask worker ends with its scheduler
    assert_nothing_is_left(leases)
    before = len(Store(out).records())
    assert 8 <= before < number

    start_scheduler(), start_worker(), start_worker()
    main = start(out, "dask", number, 0.1, address=address)  # the same command
    printed, _ = main.communicate(timeout=PATIENCE)
    assert main.returncode == 0, printed
    assert len(Store(out).records()) == number and f"skipped={before}" in printed
    assert max(Counter(id for _, id, _ in notes(out, "end")).values()) == 1


def test_the_command_hands_its_workers_what_they_cannot_know(
    tmp_path,
    leases,  # noqa: F811
    cluster,
    monkeypatch,
):
    """A worker whose home remembers no checkpoint and whose environment is empty: where the
    checkpoint lies that was named by its path, architectures of one's own, --allow-subset."""
    address, start_scheduler, start_worker = cluster
    monkeypatch.delenv("LOWLABEL_ALLOW_SUBSET", raising=False)
    with monkeypatch.context() as of_the_worker:
        of_the_worker.setenv("XDG_CACHE_HOME", str(tmp_path / "another home"))
        start_scheduler(), start_worker()
    monkeypatch.setenv("LOWLABEL_MODEL_CONFIGS", str(tmp_path))
    checkpoint, out = write_models(tmp_path)["tiny-ViT"], tmp_path / "out"
    build_voc2007(tmp_path / "voc")
    flags = ["--methods", "zero_shot_clip", "--settings", "partial(known=.5)", "--seeds", "0"]
    flags += ["--encoders", f"tiny-ViT/{checkpoint}+gelu", "--limit", "16"]
    flags += ["--datasets", "voc2007", "--data", str(tmp_path / "voc"), "--allow-subset"]
    flags += ["--backend", "dask", "--address", address, "--out", str(out)]
    ended = commands.main(flags, run_all.QUICK, run_all.FULL)
    (record,) = Store(out).records()
    assert record["error"] == {} and ended == 0
    assert record["spec"].encoder.weights.startswith("sha256:")
    assert (tmp_path / "another home/lowlabel/weights.json").exists()  # computed by the worker


def test_a_scheduler_that_never_comes_back_ends_the_sweep_in_one_sentence(
    tmp_path,
    leases,  # noqa: F811
    cluster,
):
    """Nobody sends a signal; the same command continues when there is a scheduler again."""
    address, start_scheduler, start_worker = cluster
    scheduler, _ = start_scheduler(), start_worker()
    main = start(tmp_path / "out", "dask", 200, 0.1, address=address)
    wait_for(lambda: running(tmp_path / "out") >= 3 or main.poll() is not None)
    assert main.poll() is None, main.communicate()[0]
    scheduler.kill()
    scheduler.wait()
    begin = time.monotonic()
    printed, _ = main.communicate(timeout=PATIENCE)
    seconds = time.monotonic() - begin
    print(f"ended by itself in {seconds:.1f} s")
    assert main.returncode == 1 and "Traceback" not in printed, printed
    assert "ended: no dask scheduler answers at" in printed and "same command continues" in printed
    assert seconds < 60  # 13 on a quiet machine
    assert_nothing_is_left(leases)


@pytest.mark.parametrize("address", ["nonsense", "tcp://", "head:port", "tcp://head 8786"])
def test_what_is_no_address_is_one_sentence(tmp_path, address):
    with pytest.raises(ValueError, match="is no address of a Dask scheduler: write --address tcp"):
        run_jobs([a_job(0)], tmp_path, backend="dask", address=address)


def test_nobody_behind_the_address_is_one_sentence(tmp_path, leases):  # noqa: F811
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(NoScheduler, match=r"no dask scheduler answers at .* the same command"):
        run_jobs([a_job(0)], tmp_path, backend="dask", address=address)


def test_a_scheduler_that_does_not_answer_keeps_nobody(tmp_path, leases):  # noqa: F811
    """Something accepts connections and says nothing; SIGTERM, say of SLURM, ends the sweep."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        main = start(tmp_path / "out", "dask", 2, 0.1, address=address)
        wait_for(lambda: list((tmp_path / "out").glob("sweeps/*/sweep.json")))
        time.sleep(2)  # it is inside Dask's client
        begin = time.monotonic()
        main.send_signal(signal.SIGTERM)
        printed, _ = main.communicate(timeout=PATIENCE)
        seconds = time.monotonic() - begin
    assert "to continue: do it again" in printed, printed
    print(f"ended in {seconds:.1f} s with {main.returncode}")
    assert seconds < 20  # 2 on a quiet machine
