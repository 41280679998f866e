"""Processor time per embedded scene: python tests/benchmark_scenes.py

Every scene of every embedded data set is drawn twice, in one process: the first time shapes are
reduced, turned and cached as they occur, the second time they are there already. Prints
milliseconds of one core per scene.
"""

import time

from benchmark.data import digits, pictograms

NAMES = ("pictograms", "pictograms65", "pictograms_lt", "digits")


def main():
    for name in NAMES:
        dataset = digits.load(None) if name == "digits" else pictograms.load(None, name)
        spent = []
        for _ in range(2):
            start = time.process_time()
            for row in range(len(dataset.y)):
                dataset.open(row)
            spent.append(1000 * (time.process_time() - start) / len(dataset.y))
        print(
            f"{name}: {len(dataset.y)} scenes, {spent[0]:.2f} ms each the first time, "
            f"{spent[1]:.2f} ms again"
        )


if __name__ == "__main__":
    main()
