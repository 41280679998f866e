"""`python -m tests.speed.overhead`: what the scheduler costs a run. Prints figures, asserts
nothing timed."""

import os
import sys
import tempfile
import time
from pathlib import Path

from benchmark.sweep.schedule import run_jobs
from tests.fixtures.fake_executor import a_job

RUNS, SLOTS = 400, 2


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "LOWLABEL_PRETEND_DEVICES": str(SLOTS),
            "LOWLABEL_LEASES": f"{folder}/leases",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        jobs = [a_job(i, "no_op") for i in range(RUNS)]
        for backend in sys.argv[1:] or ["loky", "threading"]:
            start = time.perf_counter()
            out = Path(folder) / backend
            out.mkdir()
            summary = run_jobs(
                jobs, out, backend=backend, executor="tests.fixtures.fake_executor:execute"
            )
            seconds = time.perf_counter() - start
            assert summary.done == RUNS
            print(
                f"{backend}: {RUNS} runs that do nothing over {SLOTS} slots took {seconds:.2f} s: "
                f"{1000 * seconds / RUNS:.1f} ms of wall time per run, start and end included",
                file=sys.stderr,
            )


if __name__ == "__main__":
    main()
