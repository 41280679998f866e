"""How many runs a slot takes as one, and the order of a sweep with cohorts."""

import pytest

from benchmark.sweep import cohorts
from benchmark.sweep.order import order
from tests.fixtures.fake_executor import a_job


def alike(number: int, seconds: float = 4.0, start: int = 0, cohort: str = "coop"):
    return [a_job(start + i, seconds=seconds, cohort=cohort) for i in range(number)]


@pytest.mark.parametrize(
    ("runs", "others", "slots", "most", "expected"),
    [
        (27, 0.0, 1, 0, 27),  # nobody else wants a part
        (27, 0.0, 2, 0, 14),
        (27, 0.0, 8, 0, 4),
        (27, 400.0, 2, 0, 27),  # the other slots have enough to do
        (27, 50.0, 2, 0, 14),  # they would wait at the end
        (27, 400.0, 2, 5, 5),  # as the user says
        (200, 9e9, 2, 0, cohorts.LARGEST),
        (1, 9.0, 2, 0, 1),
    ],
)
def test_a_part_leaves_no_slot_without_work(runs, others, slots, most, expected):
    jobs = alike(runs)
    assert cohorts.part(jobs, [*jobs, a_job(999, seconds=others)], slots, most) == expected


def test_runs_without_an_estimate_are_shared_out_too():
    assert cohorts.part(alike(9, seconds=0.0), alike(9, seconds=0.0), 2) == 5


def test_a_cohort_starts_as_the_long_run_that_it_is():
    long, short = a_job(100, seconds=10.0), a_job(101, seconds=0.1)
    many = alike(4, seconds=3.0)
    assert order([short, long, *many]) == [*many, long, short]
