"""`python tests/fake_sweep.py OUT BACKEND NUMBER SECONDS METHOD [ADDRESS]`: a sweep in a process of
its own."""

import sys
from pathlib import Path

from fake_executor import a_job

from benchmark.schedule import run_jobs

if __name__ == "__main__":
    out, backend, number, seconds, method, address = [*sys.argv[1:], ""][:6]
    Path(out).mkdir(exist_ok=True)
    jobs = [a_job(i, method, float(seconds)) for i in range(int(number))]
    summary = run_jobs(
        jobs,
        Path(out),
        backend=backend,
        address=address,
        executor="fake_executor:execute",
        continue_command="do it again",
    )
    print(repr(summary))
    sys.exit(0 if summary.ok else 1)
