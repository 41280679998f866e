"""How the presets of the embedded encoders were chosen: validation mAP of candidates, test labels
unused.

    python -m tests.speed.presets --known .1 zero_shot_clip dualcoop 'dualcoop(epochs=6)'
    python -m tests.speed.presets --zero-shot zero_shot_clip dualcoop
    python -m tests.speed.presets --setting long_tail zero_shot_clip dualcoop

One line a candidate, means over the seeds (which no report uses). `--known` trains on that share of
the labels and scores the validation images on their labels at 50 %, or at `--known` when that is
more; the nested masks make the one a subset of the other. `--zero-shot` hides twelve of the 48 seen
classes of pictograms65 from training, drops the training images that show one of them, and scores
validation images on these twelve ("unseen") and on the others ("seen"). `--setting` takes another
setting as it stands, with all labels of its validation images. docs/embedded.md has the results.
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmark import metrics, registry
from benchmark.clip.encoder import Clip
from benchmark.clip.encoder_name import parse_encoder
from benchmark.run.execute import seed_everything
from benchmark.run.parts import make_world, predict
from benchmark.spec import Value
from benchmark.task import PRESENT, Labels, Method, Run, Task, seed_for

SEEDS = (100, 101, 102)
DATASETS = ("pictograms", "digits")
VALIDATION_KNOWN = 0.5
PSEUDO_UNSEEN = 12  # classes


def partial_task(dataset: str, known: float, seed: int) -> tuple[Task, dict[str, np.ndarray]]:
    """The task with its validation images as test images, and the columns (C,) bool to score."""
    task = registry.make("settings", "partial", {"dataset": dataset, "known": known}).build(seed)
    shown = registry.make(
        "settings", "partial", {"dataset": dataset, "known": max(known, VALIDATION_KNOWN)}
    ).build(seed)
    assert (shown.val.rows == task.val.rows).all()
    return dataclasses.replace(task, test=shown.val), {dataset: task.seen}


OTHERS: dict[str, dict[str, Value]] = {
    "long_tail": {"val_fraction": 0.3},
    "few_shot": {"shots": 8},
    "single_positive": {"val_labels": "clean"},
}


def other_task(name: str, seed: int) -> tuple[Task, dict[str, np.ndarray]]:
    """The same of a setting whose validation images are fully labelled."""
    task = registry.make("settings", name, OTHERS[name]).build(seed)
    return dataclasses.replace(task, test=task.val), {name: task.seen}


def zero_shot_task(seed: int) -> tuple[Task, dict[str, np.ndarray]]:
    """The same with some of the seen classes hidden; classes that are unseen for real stay out."""
    task = registry.make("settings", "zero_shot", {"val_fraction": 0.2}).build(seed)
    rng = np.random.default_rng(seed_for("pseudo-unseen", seed))
    hidden = np.zeros_like(task.seen)
    hidden[rng.choice(np.flatnonzero(task.seen), PSEUDO_UNSEEN, replace=False)] = True
    kept = ~(task.train.y[:, hidden] == PRESENT).any(axis=1)
    train = Labels(task.train.rows[kept], task.train.y[kept])
    seen = task.seen & ~hidden
    return dataclasses.replace(task, train=train, seen=seen, test=task.val), {
        "unseen": hidden,
        "seen": seen,
    }


def candidate(text: str, preset: str) -> Method:
    """The method of a text, on top of its preset for the shipped encoders where it has one."""
    name, parameters = registry.parse(text)
    presets = registry.load("methods", name).PRESETS
    chosen = next((found for found in (preset, "pocket") if found in presets), "")
    method: Method = registry.make("methods", name, parameters, chosen)
    return method


def validation_map(clip: Clip, method: Method, task: Task, seed: int, out: Path) -> np.ndarray:
    """(C,) AP on the validation images after a fit."""
    world = make_world(task, clip, method, out, torch.device("cpu"), seed_for("presets", seed))
    seed_everything(seed_for("presets", seed))
    with tempfile.TemporaryDirectory() as folder:
        run = Run(seed=seed_for("presets", seed), device=torch.device("cpu"), folder=Path(folder))
        method.fit(world.clip, world.train, world.val, run)
    return metrics.average_precision(task.test.y, predict(world, world.test, task.classes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--known", type=float, default=0.1)
    parser.add_argument("--zero-shot", action="store_true")
    parser.add_argument("--setting", choices=OTHERS, default="")
    parser.add_argument("--out", type=Path, default=Path("results"), help="for feature banks")
    parser.add_argument("candidates", nargs="+")
    options = parser.parse_args()
    torch.set_num_threads(1)
    clip = Clip(parse_encoder("pocket-RN"))
    setting = options.setting or ("zero_shot" if options.zero_shot else "partial")
    for text in options.candidates:
        found: dict[str, list[float]] = {}
        start = time.perf_counter()
        for seed in SEEDS:
            if options.setting:
                tasks = [other_task(options.setting, seed)]
            elif options.zero_shot:
                tasks = [zero_shot_task(seed)]
            else:
                tasks = [partial_task(dataset, options.known, seed) for dataset in DATASETS]
            for task, columns in tasks:
                ap = validation_map(
                    clip, candidate(text, f"pocket_{setting}"), task, seed, options.out
                )
                for name, chosen in columns.items():
                    found.setdefault(name, []).append(100 * float(np.nanmean(ap[chosen])))
        line = "  ".join(f"{name} {np.mean(values):.1f}" for name, values in found.items())
        print(f"{line}  {time.perf_counter() - start:.0f} s  {text}", flush=True)


if __name__ == "__main__":
    main()
