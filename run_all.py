#!/usr/bin/env python3
"""Compares methods for multi-label image recognition with few labels: what is compared, and the
command.

    python run_all.py                          the quick suite on embedded data, then the report
    python run_all.py --settings partial       the full sweep over 10-90 % of the labels
    python run_all.py list | plan | report     what exists, what would run, tables and report from
    what has run
"""

import sys
from types import TracebackType


def _stopped(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ctrl-C while modules are imported, before `main` can answer it, is no fault to be traced."""
    if issubclass(kind, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _stopped

from benchmark.commands import Suite, main  # noqa: E402

METHODS = (
    "zero_shot_clip(regions=[False, True])",
    "linear_probe",
    "coop",
    "dualcoop",
    "lm_clip",
)

# Where a setting is run: the real data sets that are found under --data, else the ones that ship
# with the suite.
DATASETS = {
    "partial": ("voc2007", "coco2014", "pictograms", "digits"),
    "zero_shot": ("coco2014", "nus_wide", "pictograms65"),
    "long_tail": ("voc_mlt", "coco_mlt", "pictograms_lt"),
    "single_positive": ("voc2012", "coco2014", "pictograms"),
    "few_shot": ("voc2007", "coco2014", "pictograms"),
}

# A setting named without these parameters is run for all of their values.
SWEEPS = {"partial": {"known": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]}}

# `--settings` absent: every family once, one seed, on data that ships with the suite.
QUICK = Suite(
    methods=METHODS,
    settings=("partial(known=[.1, .5, .9])", "zero_shot", "long_tail"),
    seeds="0",
    datasets={
        "partial": ("pictograms",),
        "zero_shot": ("pictograms65",),
        "long_tail": ("pictograms_lt",),
    },
    sweeps=SWEEPS,
)

# `--settings …` given: three seeds.
FULL = Suite(methods=METHODS, settings=(), seeds="0-2", datasets=DATASETS, sweeps=SWEEPS)


def command() -> int:
    """The console script `lowlabel`, and this file."""
    return main(sys.argv[1:], QUICK, FULL)


if __name__ == "__main__":
    sys.exit(command())
