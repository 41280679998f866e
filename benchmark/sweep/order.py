"""In which order the runs of a sweep start."""

from collections.abc import Sequence

from benchmark.spec import Job


def order(jobs: Sequence[Job]) -> list[Job]:
    """Longest first, so that no long run is left over at the end; before them one run for each
    missing feature bank."""
    longest = sorted(jobs, key=lambda job: -job.seconds)
    banks: dict[str, Job] = {}
    for job in longest:
        if job.bank:
            banks.setdefault(job.bank, job)
    first = {job.id for job in banks.values()}
    return list(banks.values()) + [job for job in longest if job.id not in first]
