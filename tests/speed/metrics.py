"""`python -m tests.speed.metrics`: how much faster `average_precision` is than a loop over
scikit-learn at the size of COCO2014's test set, and what all metrics of a view take."""

import numpy as np
from sklearn.metrics import average_precision_score

from benchmark.metrics import average_precision, evaluate
from benchmark.task import View
from tests.speed._side_by_side import peak_mb, seconds

N, C = 40_137, 80


def main() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((N, C)) < rng.uniform(0.002, 0.1, C)).astype(np.int8)
    scores = rng.normal(size=(N, C)).astype(np.float32) + targets

    def plain() -> np.ndarray:
        return np.array([average_precision_score(targets[:, c], scores[:, c]) for c in range(C)])

    difference = np.abs(average_precision(targets, scores) - plain()).max()
    functions = {"plain": plain, "ours": lambda: average_precision(targets, scores)}
    took, memory = seconds(functions, 5), peak_mb(functions["ours"])
    print(
        f"AP of {N} x {C}: scikit-learn {took['plain']:.3f} s, ours {took['ours']:.3f} s, ratio "
        f"{took['plain'] / took['ours']:.1f}, largest difference {difference:.0e}, {memory:.0f} MB"
    )

    view = View(np.ones(N, bool), np.ones(C, bool))

    def all_metrics() -> None:
        evaluate(targets, scores, view, calibration=(1.0, 0.0), threshold=0.4)

    memory = peak_mb(all_metrics)
    print(f"all metrics of one view: {seconds({'': all_metrics}, 3)['']:.2f} s, {memory:.0f} MB")


if __name__ == "__main__":
    main()
