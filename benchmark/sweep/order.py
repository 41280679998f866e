"""In which order the runs of a sweep start."""

from collections import defaultdict
from collections.abc import Sequence

from benchmark.spec import Job


def order(jobs: Sequence[Job]) -> list[Job]:
    """Longest first, so that no long run is left over at the end, and runs of a cohort count as the
    one long run that they are; before them one run for each missing feature bank."""
    of_cohort: defaultdict[str, float] = defaultdict(float)
    for job in jobs:
        of_cohort[job.cohort or job.id] += job.seconds
    longest = sorted(jobs, key=lambda job: (-of_cohort[job.cohort or job.id], -job.seconds))
    banks: dict[str, Job] = {}
    for job in longest:
        if job.bank:
            banks.setdefault(job.bank, job)
    first = {job.id for job in banks.values()}
    return list(banks.values()) + [job for job in longest if job.id not in first]
