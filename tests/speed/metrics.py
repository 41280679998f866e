"""Prints how much faster `average_precision` is than a loop over scikit-learn at the size of
COCO2014's test set.

Run `python tests/benchmark_metrics.py`; it is no test, because a timing on a shared machine proves
nothing.
"""

import time

import numpy as np
from sklearn.metrics import average_precision_score

from benchmark.metrics import average_precision, evaluate
from benchmark.task import View

N, C = 40_137, 80


def main() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((N, C)) < rng.uniform(0.002, 0.1, C)).astype(np.int8)
    scores = rng.normal(size=(N, C)).astype(np.float32) + targets

    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        own = average_precision(targets, scores)
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    reference = np.array([average_precision_score(targets[:, c], scores[:, c]) for c in range(C)])
    loop = time.perf_counter() - start
    print(
        f"N = {N}, C = {C}: ours {min(seconds):.3f} s (best of 5), loop over scikit-learn "
        f"{loop:.3f} s"
    )
    print(
        f"ratio {loop / min(seconds):.1f}, largest difference {np.abs(own - reference).max():.1e}"
    )

    view = View(np.ones(N, bool), np.ones(C, bool))
    start = time.perf_counter()
    evaluate(targets, scores, view, calibration=(1.0, 0.0), threshold=0.4)
    print(f"all metrics of one view: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
