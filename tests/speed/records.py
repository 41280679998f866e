"""`python -m tests.speed.records FOLDER [RUNS]`: what `plan`, a sweep with nothing to do and
`report` cost on a folder with 5,000 runs.

The records are those of a real plan, sealed, with scores and today's code, so that every command
takes them for done. FOLDER/out keeps them for the next time. Prints figures, asserts nothing timed.
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RATES, DATASETS, METHODS = 9, ("pictograms", "digits"), 6  # of `--settings partial`
IMAGES = 1000


def flags(runs: int) -> list[str]:
    """Of the plan that has at least so many runs."""
    seeds = -(-runs // (RATES * len(DATASETS) * METHODS))
    return ["--settings", "partial", "--datasets", *DATASETS, "--seeds", f"0-{seeds - 1}"]


def make(out: Path, runs: int) -> int:
    """Writes a finished record for every run of the plan; how many there are."""
    import run_all
    from benchmark.commands.parser import parse
    from benchmark.commands.plan import planned
    from benchmark.staleness import code_digest
    from benchmark.store import Store
    from tests.fixtures.synthetic_records import CLASSES, write_run

    os.fsync = lambda descriptor: None  # nobody needs these after a power cut
    twenty = [f"{name} {k}" for k in (1, 2) for name in CLASSES]
    rows = planned(parse(["plan", *flags(runs), "--out", str(out)]), run_all.FULL)
    for row in rows:
        spec = row.spec
        digest = code_digest(spec.methods, spec.setting.name, spec.dataset)
        write_run(out, spec, IMAGES, twenty, code_digest=digest)
    assert len(Store(out).records()) == len(rows)
    return len(rows)


def timed(*command: str) -> tuple[float, float]:
    """CPU and wall seconds of a command and of what it started."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with open(os.devnull, "w") as nowhere:
        subprocess.run(
            [sys.executable, "run_all.py", *command], cwd=ROOT, stdout=nowhere, check=True
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - start


def main() -> None:
    folder, runs = Path(sys.argv[1]).resolve(), int(sys.argv[2]) if sys.argv[2:] else 5000
    out = folder / "out"
    if not out.exists():
        print(f"{make(out, runs)} runs")
    axes = [*flags(runs), "--out", str(out)]
    for name, command in {
        "plan": ["plan", *axes],
        "run, nothing to do, first report": ["run", *axes],
        "run, nothing to do": ["run", *axes],
        "report": ["report", "--out", str(out)],
    }.items():
        cpu, wall = timed(*command)
        print(f"{name}: {cpu:.2f} s of CPU, {wall:.2f} s")


if __name__ == "__main__":
    main()
