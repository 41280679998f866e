"""Slots, leases, order and progress; what happens when things go wrong is in test_faults.py."""

import io
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import joblib
import pytest
from rich.console import Console

from benchmark.run.cost import Meter, peak_ram_bytes
from benchmark.store import Store
from benchmark.sweep import gpus, slots
from benchmark.sweep.child import poisoned
from benchmark.sweep.leases import lease
from benchmark.sweep.manifest import Sweep
from benchmark.sweep.order import order
from benchmark.sweep.progress import Progress, duration
from benchmark.sweep.schedule import parse_duration, run_jobs
from benchmark.sweep.supervisor import supervise
from tests.fixtures.fake_executor import a_job, notes

TWO_GPUS = "GPU 0: NVIDIA H200 (UUID: GPU-aaaa-1)\nGPU 1: NVIDIA H200 (UUID: GPU-bbbb-2)\n"
MIG = (
    TWO_GPUS
    + "  MIG 1g.18gb     Device  0: (UUID: MIG-cccc-3)\n  MIG 1g.18gb     Device  1: (UUID: "
    "MIG-dddd-4)\n"
)


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """Two physical cores, no GPU, leases of its own; `machine(listing)` puts an nvidia-smi on the
    path."""
    for name in ("CUDA_VISIBLE_DEVICES", "LOWLABEL_PRETEND_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOWLABEL_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    monkeypatch.setattr(slots.psutil, "cpu_count", lambda logical: 2)
    monkeypatch.setattr(slots.psutil.Process, "cpu_affinity", lambda self: [0, 1])
    monkeypatch.setattr(gpus.shutil, "which", lambda name: None)
    monkeypatch.setattr(gpus, "torch_has_cuda", lambda: True)
    gpus._say.cache_clear()

    def with_gpus(listing: str, returncode: int = 0, complaint: str = ""):
        monkeypatch.setattr(gpus.shutil, "which", lambda name: f"/usr/bin/{name}")
        answer = types.SimpleNamespace(stdout=listing, stderr=complaint, returncode=returncode)
        monkeypatch.setattr(gpus.subprocess, "run", lambda *arguments, **options: answer)

    return with_gpus


def test_cores_are_counted_in_silence_where_there_is_no_lscpu():
    code = "from benchmark.sweep.slots import machine_slots; assert machine_slots()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": "/nowhere"},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_gpu_one_slot_and_one_thread_per_physical_core():
    found = slots.machine_slots()
    assert [(slot.name, slot.device, slot.visible, slot.threads) for slot in found] == [
        ("cpu-0", "cpu", "", 1),
        ("cpu-1", "cpu", "", 1),
    ]
    assert [slot.threads for slot in slots.machine_slots(1)] == [
        2
    ]  # --slots 1: both cores for one run
    assert [slot.threads for slot in slots.machine_slots(8)] == [1] * 8
    assert (
        found[0].environment()["OMP_NUM_THREADS"] == "1"
        and found[0].environment()["LOWLABEL_DECODERS"] == "1"
        and found[0].environment()["CUDA_VISIBLE_DEVICES"] == ""
    )
    with pytest.raises(ValueError, match="per GPU"):
        slots.machine_slots(0, per_gpu=0)


def test_visible_devices_are_taken_as_given_without_nvidia_smi(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    found = slots.machine_slots(per_gpu=2)
    assert [(slot.name, slot.visible) for slot in found] == [
        ("gpu2-0", "2"), ("gpu3-0", "3"), ("gpu2-1", "2"), ("gpu3-1", "3"),
    ]  # fmt: skip
    assert {(slot.device, slot.shared_by) for slot in found} == {("cuda:0", 2)}
    assert [slot.visible for slot in slots.machine_slots(2, per_gpu=2)] == ["2", "3"]
    assert found[1].environment()["CUDA_VISIBLE_DEVICES"] == "3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,-1,0")  # CUDA stops at the first invalid entry
    assert gpus.visible_gpus() == [("1", "gpu1")]
    for nothing in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert slots.machine_slots()[0].device == "cpu"


def test_gpus_are_named_by_uuid_where_nvidia_smi_is_at_hand(machine, monkeypatch):
    machine(TWO_GPUS)
    assert [(slot.name, slot.visible) for slot in slots.machine_slots()] == [
        ("GPU-aaaa-1-0", "GPU-aaaa-1"),
        ("GPU-bbbb-2-0", "GPU-bbbb-2"),
    ]
    for value in ("1", "GPU-bbbb-2", "GPU-bb"):  # three ways to name one GPU are one lease
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert [(slot.name, slot.visible) for slot in slots.machine_slots()] == [
            ("GPU-bbbb-2-0", value)
        ]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    machine(MIG)
    assert [name for _, name in gpus.visible_gpus()] == [
        "GPU-aaaa-1",
        "MIG-cccc-3",
        "MIG-dddd-4",
    ]
    machine(
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver", returncode=9
    )
    assert slots.machine_slots()[0].device == "cpu"


def test_a_lease_is_free_when_supervisor_and_child_are_gone():
    found = slots.machine_slots()
    with (
        lease(found) as (first, file),
        lease(found) as (second, _),
        lease(found) as third,
    ):
        assert (first.name, second.name, third) == ("cpu-0", "cpu-1", None)
        child = subprocess.Popen(["sleep", "60"], pass_fds=[file.fileno()])
    with lease(found[:1]) as leased:
        assert leased is None  # the supervisor let go, the child has not
    child.kill()
    child.wait()
    with lease(found[:1]) as leased:
        assert leased[0].name == "cpu-0"


def test_durations():
    assert [parse_duration(text) for text in ("2h", "10m", "90s", "1h30m", "0.5h")] == [
        7200,
        600,
        90,
        5400,
        1800,
    ]
    for text in ("", "10", "2 days", "s", "30m1h"):
        with pytest.raises(ValueError, match="90s"):
            parse_duration(text)
    assert [duration(seconds) for seconds in (4200, 200, 12.4)] == [
        "1 h 10 min",
        "3 min 20 s",
        "12 s",
    ]


def test_banks_first_then_longest_first():
    jobs = [
        a_job(0, seconds=1),
        a_job(1, seconds=9),
        a_job(2, seconds=2, bank="b"),
        a_job(3, seconds=3, bank="b"),
    ]
    jobs += [a_job(4, seconds=1, bank="a"), a_job(5, seconds=5)]
    assert [job.spec.method.get("number") for job in order(jobs)] == [3, 4, 1, 5, 2, 0]
    assert order([]) == []


def test_memory_and_cuda_errors_cost_the_child_its_trust():
    assert poisoned({"type": "OutOfMemoryError", "message": ""}) and poisoned(
        {"type": "MemoryError", "message": ""}
    )
    assert poisoned({"type": "RuntimeError", "message": "CUDA error: device-side assert triggered"})
    assert not poisoned({"type": "ValueError", "message": "no such class"}) and not poisoned({})


@pytest.mark.parametrize("backend", ["inline", "threading"])
def test_a_sweep_and_its_repetition(tmp_path, backend, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [*sys.path])
    jobs = [a_job(i) for i in range(4)] + [a_job(4, "raise")]
    (tmp_path / "out").mkdir()

    def sweep(**options):
        return run_jobs(
            jobs,
            tmp_path / "out",
            backend=backend,
            executor="tests.fixtures.fake_executor:execute",
            environment={"MARK": "7"},
            **options,
        )

    first = sweep()
    assert (first.done, first.failed, first.skipped) == (4, 1, 0)
    printed = capsys.readouterr().out
    assert (
        "[5/5]" in printed
        and f"failed {jobs[4].id} raise" in printed
        and "a plugin went wrong" in printed
    )
    store = Store(tmp_path / "out")
    environment = store.read(jobs[0].id)["cost"]["environment"]
    assert environment["MARK"] == "7"
    if backend == "threading":
        assert environment["CUDA_VISIBLE_DEVICES"] == "" and environment["OMP_NUM_THREADS"] == "1"
        processes = {store.read(job.id)["cost"]["process"] for job in jobs[:4]}
        assert len(processes) <= 2 and os.getpid() not in processes  # a child serves many runs
    second = sweep()  # the same command again: what is done stays, what failed is tried again
    assert (second.done, second.failed, second.skipped) == (0, 1, 4)
    third = sweep(rerun={jobs[1].id})
    assert (third.done, third.failed, third.skipped) == (1, 1, 3)
    started = [id for _, id, _ in notes(tmp_path / "out", "start")]
    assert [started.count(job.id) for job in jobs] == [1, 2, 1, 1, 3]
    assert not list((tmp_path / "out" / "sweeps").iterdir())
    capsys.readouterr()
    # computes nothing
    assert run_jobs(jobs[:4], tmp_path / "out").skipped == 4 and capsys.readouterr().out == ""


def test_wrong_backends_are_refused(tmp_path):
    with pytest.raises(ValueError, match="loky"):
        run_jobs([], tmp_path, backend="ray")
    with pytest.raises(ValueError, match="--address"):
        run_jobs([], tmp_path, backend="dask")


@pytest.mark.parametrize("terminal", [False, True])
def test_progress(tmp_path, terminal):
    jobs = [a_job(i, seconds=10.0) for i in range(4)]
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=150)
    with Progress(jobs, total=6, slots=2, folder=tmp_path, console=console) as progress:
        common = {"host": "here", "slot": "cpu-0"}
        events = [
            {**common, "ids": [jobs[0].id], "status": "started", "attempt": 1},
            {**common, "id": jobs[0].id, "status": "done", "seconds": 20.0, "message": ""},
            {**common, "ids": [jobs[1].id], "status": "started", "attempt": 2},
            {
                **common,
                "id": jobs[1].id,
                "status": "crashed",
                "seconds": 20.0,
                "message": "ended by SIGSEGV",
            },
            {**common, "ids": [jobs[2].id], "status": "started", "attempt": 1},
        ]
        lines = "".join(json.dumps(event) + "\n" for event in events)
        # the last line is being written
        (tmp_path / "events.jsonl").write_text(lines + '{"half": ')
        progress.update()
        progress.update()
        assert (
            progress.headline() == "[4/6] 1 failed, 20 s to go"
        )  # runs take twice their estimate: 2 × 20 s over 2 slots
        assert progress.ended == 2
        if terminal:
            progress.live.refresh()
    printed = text.getvalue()
    assert (
        printed.count(f"crashed {jobs[1].id}") == 1
        and "ended by SIGSEGV" in printed
        and "tried again" in printed
    )
    assert ("cpu-0" in printed) == terminal  # what each slot is doing
    assert (f"done {jobs[0].id}" in printed) == (not terminal)  # one line for each run that ended


def test_no_colour_where_it_is_not_wanted(tmp_path, monkeypatch):
    """https://no-color.org: rich keeps the words, and the live view stays."""
    monkeypatch.setenv("NO_COLOR", "1")
    text, job = io.StringIO(), a_job(1)
    console = Console(file=text, force_terminal=True, width=150)
    with Progress([job], total=1, slots=1, folder=tmp_path, console=console) as progress:
        event = {"host": "h", "slot": "s", "id": job.id, "status": "failed", "seconds": 1.0}
        (tmp_path / "events.jsonl").write_text(json.dumps({**event, "message": "why"}) + "\n")
        progress.update()
    assert "why" in text.getvalue()
    assert "\x1b[31m" not in text.getvalue() and "\x1b[91m" not in text.getvalue()


def test_cost_measures_phases_and_the_peak_of_this_run():
    hoard = bytearray(b"x" * 80_000_000)
    before = peak_ram_bytes()
    del hoard
    meter = Meter("cpu")  # forgets the peak of earlier runs of this process
    assert peak_ram_bytes() < before - 40_000_000
    with meter.phase("fit"), meter.phase("predict"):
        hoard = bytearray(b"x" * 50_000_000)
    cost = meter.cost(trainable_parameters=3)
    assert cost["fit_s"] >= cost["predict_s"] > 0 == cost["feature_s"] == cost["peak_gpu_mb"]
    # what the process held before, torch itself, is no need of this run
    assert 95 < cost["peak_ram_mb"] < 110 and len(hoard) == 50_000_000  # the bytes and their copy
    assert cost["ram_before_mb"] > 50
    assert cost["device"] and cost["trainable_parameters"] == 3 and cost["shared_by"] == 1


def test_a_supervisor_that_cannot_see_the_results_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="shared by all workers"):
        supervise(str(tmp_path / "elsewhere" / "sweeps" / "1"))
    (tmp_path / "sweeps").mkdir()
    supervise(str(tmp_path / "sweeps" / "1"))  # the sweep was stopped: nothing to do


def test_a_run_that_never_counts_as_finished_is_computed_once(tmp_path, monkeypatch):
    """The clock of the file system may be set back, a full disk may take no record: no endless
    loop."""
    monkeypatch.setattr(Sweep, "finished", lambda self, id: False)
    summary = run_jobs(
        [a_job(0)],
        tmp_path,
        backend="threading",
        slots=1,
        executor="tests.fixtures.fake_executor:execute",
    )
    assert summary.left == 1 and len(notes(tmp_path, "start")) == 1
