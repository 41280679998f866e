"""`python -m tests.speed.sweep`: a sweep from the command line on the pocket encoder, beside its
runs one after the other in this process, without children, leases, a report and a start.

Wall seconds and processor seconds of everything, children included: a quiet machine is needed for
the first, hardly for the second. The features are made before either."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmark.plan import Axes, make_plan
from benchmark.run.execute import execute
from benchmark.store import Store

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("zero_shot_clip", "linear_probe", "coop(epochs=2)")
SETTING = "partial(known=[.1,.5,.9],dataset='digits')"


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        plain, swept = Path(folder) / "plain", Path(folder) / "swept"
        axes = Axes(METHODS, (SETTING,), encoders=("pocket-RN",), seeds=(0,), limit=400)
        rows = make_plan(axes, Store(plain))
        for out in (plain, swept):
            execute(rows[0].job(), out)  # makes the features
        start, cpu = time.perf_counter(), cpu_seconds()
        scores = {}
        for row in rows:
            record = execute(row.job(), plain)
            assert record["status"] == "done", record["error"]
            scores[record["id"]] = record["metrics"]["all"]["mAP"]
        wall_plain, cpu_plain = time.perf_counter() - start, cpu_seconds() - cpu
        command = [
            sys.executable,
            "run_all.py",
            "run",
            "--methods",
            *METHODS,
            "--settings",
            SETTING,
        ]
        command += [
            "--encoders",
            "pocket-RN",
            "--seeds",
            "0",
            "--limit",
            "400",
            "--out",
            str(swept),
            "--fresh",
            "all",
        ]
        environment = os.environ | {"LOWLABEL_LEASES": f"{folder}/leases"}
        start, cpu = time.perf_counter(), cpu_seconds()
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        wall, used = time.perf_counter() - start, cpu_seconds() - cpu
        records = [record for record in Store(swept).records() if record["id"] in scores]
        error = max(abs(r["metrics"]["all"]["mAP"] - scores[r["id"]]) for r in records)
        print(
            f"{len(rows)} runs: in this process {wall_plain:.1f} s ({cpu_plain:.1f} of the "
            f"processor), as a sweep {wall:.1f} s ({used:.1f}), ratio {wall_plain / wall:.2f}; "
            f"{len(records)} records, largest difference of mAP {error:.0e}"
        )
        start, cpu = time.perf_counter(), cpu_seconds()
        subprocess.run([sys.executable, "run_all.py", "--help"], cwd=ROOT, capture_output=True)
        print(f"--help: {time.perf_counter() - start:.2f} s ({cpu_seconds() - cpu:.2f})")


if __name__ == "__main__":
    main()
