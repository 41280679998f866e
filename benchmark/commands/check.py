"""What every method plugin must do, as plain functions: `run_all.py check` and the shared tests
call the same ones.

The toy task is a few hundred pictogram scenes with half of the labels known, seen through a pocket
encoder.
"""

import argparse
import ast
import contextlib
import dataclasses
import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch

from benchmark import data, metrics, registry
from benchmark.clip.encoder import Clip
from benchmark.clip.encoder_name import parse_encoder
from benchmark.commands import check_datasets, check_settings
from benchmark.commands.suite import Suite
from benchmark.run.blindfold import blindfold
from benchmark.run.execute import seed_everything
from benchmark.run.parts import World, make_world, predict
from benchmark.run.reach import ways_to
from benchmark.run.selection import Selection
from benchmark.run.task_record import describe_task
from benchmark.spec import Choice
from benchmark.staleness import require_blind
from benchmark.store import Store
from benchmark.task import ABSENT, PRESENT, UNKNOWN, Labels, Method, Run, Task, View, seed_for

ZERO_SHOT = "zero_shot_clip"  # the method that others must beat
TRAIN, VAL, TEST = 240, 60, 200  # images
# fields that are lowered, where a method has them, for checks that need no quality
FAST = {"epochs": 2}


@cache
def _clip() -> Clip:
    return Clip(parse_encoder("pocket-RN"))


@cache
def _out() -> Path:
    """One result folder for all checks of a process, with the truth in it that runs leave there."""
    out = Path(tempfile.mkdtemp(prefix="lowlabel-check-"))
    describe_task(toy_task(), Store(out))
    return out


def toy_task(hidden: str = "true", test: str = "true", unseen: int = 0) -> Task:
    """Half of the labels known. `hidden` or `test` = "noise" replaces the hidden labels before
    masking, or the test labels, by noise; the last `unseen` classes have no training label at
    all."""
    dataset = data.load("pictograms")
    shown = [np.array(dataset.classes)[labels == PRESENT] for labels in dataset.y]
    captions = tuple(f"a picture of {' and '.join(names)}" for names in shown)
    dataset = dataclasses.replace(dataset, captions=captions)
    rng = np.random.default_rng(seed_for("check"))
    rows = dataset.splits["train"][: TRAIN + VAL]
    known = rng.random((len(rows), len(dataset.classes))) < 0.5
    noise = rng.integers(0, 2, known.shape).astype(np.int8)
    full = np.where(known, dataset.y[rows], noise) if hidden == "noise" else dataset.y[rows]
    y = np.where(known, full, UNKNOWN).astype(np.int8)
    test_rows = dataset.splits["test"][:TEST]
    test_y = dataset.y[test_rows]
    if test == "noise":
        test_y = rng.integers(0, 2, test_y.shape).astype(np.int8)
    seen = np.arange(len(dataset.classes)) < len(dataset.classes) - unseen
    return Task(
        dataset=dataset,
        classes=dataset.classes,
        train=Labels(rows[:TRAIN], y[:TRAIN]),
        val=Labels(rows[TRAIN:], y[TRAIN:]),
        test=Labels(test_rows, test_y),
        seen=seen,
        views={"all": View(np.ones(TEST, bool), np.ones(len(seen), bool))},
    )


def make_method(name: str, fast: bool = True) -> Method:
    """The method with its pocket preset; `fast` lowers the number of epochs."""
    plugin = registry.load("methods", name)
    fields = registry.fields(plugin) if fast else {}
    given = {key: value for key, value in FAST.items() if key in fields}
    return registry.make("methods", name, given, "pocket" if "pocket" in plugin.PRESETS else "")


def fitted(method: Method, task: Task, seed: int = 0) -> World:
    """The task and its parts after the method was fitted to them through the engine."""
    world = make_world(task, _clip(), method, _out(), torch.device("cpu"), seed)
    seed_everything(seed)
    with run_of(seed) as run, blindfolded():
        method.fit(world.clip, world.train, world.val, run)
    return world


def fitted_scores(method: Method, task: Task, seed: int = 0) -> np.ndarray:
    """Test scores (N_test, C) of the method after fitting it through the engine."""
    world = fitted(method, task, seed)
    with blindfolded():
        return predict(world, world.test, task.classes)


@contextlib.contextmanager
def run_of(seed: int) -> Iterator[Run]:
    """What the engine lends to a fit; its folder lies where that of a run does, and vanishes."""
    folder = Store(_out()).attempt("check")
    yield Run(seed=seed, device=torch.device("cpu"), folder=folder)
    shutil.rmtree(folder)


def blindfolded() -> contextlib.AbstractContextManager[None]:
    """As in a run, what holds labels on the disk is closed to the method."""
    return blindfold(_out(), str(data.root()))


# ---- the checks ----------------------------------------------------------------------------------


def survives_description(name: str) -> None:
    """Object → choice → object gives the same choice, and so the same run id."""
    method = make_method(name)
    choice = registry.describe(name, method)
    again = registry.describe(name, registry.rebuild("methods", choice))
    assert again == choice, f"{choice} became {again}"
    text = json.dumps(choice.to_json())
    assert Choice.from_json(json.loads(text)) == choice, f"{text} is not what it was made from"


def same_seed_same_scores(name: str) -> None:
    """Two fits with one seed give identical scores."""
    first, second = (fitted_scores(make_method(name), toy_task(), seed=3) for _ in range(2))
    assert np.array_equal(first, second), (
        f"scores differ by up to {np.abs(first - second).max():.3g} for the same seed"
    )


def hidden_labels_have_no_influence(name: str) -> None:
    """The true values of UNKNOWN cells and the test labels do not reach the method."""
    plain = fitted_scores(make_method(name), toy_task())
    noisy = fitted_scores(make_method(name), toy_task(hidden="noise", test="noise"))
    assert np.array_equal(plain, noisy), "hidden labels or test labels change the scores"


def no_hidden_label_is_in_reach(name: str) -> None:
    """What `fit` is handed leads to no test label and no masked label, whatever path one takes; and
    the method imports nothing that does."""
    require_blind(name, registry.plugin_files())
    task, method = toy_task(), make_method(name)
    world = make_world(task, _clip(), method, _out(), torch.device("cpu"), 0)
    with run_of(seed=0) as run:
        selection = Selection("oracle", world, run)
        handed = (world.clip, world.train, world.val, run)
        truth = task.dataset.y[np.concatenate([task.train.rows, task.val.rows])]
        ways = [*ways_to(task.test.y, *handed), *ways_to(truth, *handed)]
        selection.restore()
    assert not ways, f"hidden labels can be reached: {', '.join(ways[:3])}"


def known_labels_have_influence(name: str) -> None:
    """A closed-vocabulary method can only know its classes from labels: swapped labels change its
    scores."""
    if make_method(name).open_vocabulary:
        return
    task = toy_task()
    swapped = np.where(task.train.y == UNKNOWN, UNKNOWN, 1 - task.train.y).astype(np.int8)
    other = dataclasses.replace(task, train=Labels(task.train.rows, swapped))
    same = np.array_equal(
        fitted_scores(make_method(name), task), fitted_scores(make_method(name), other)
    )
    assert not same, "the known labels have no influence on the scores"


def beats_chance(name: str) -> None:
    """mAP is at least five points above the prevalence of the classes."""
    mean, chance = toy_precision(name), 100 * (toy_task().test.y == PRESENT).mean()
    assert mean > chance + 5, f"mAP {mean:.1f}, chance {chance:.1f}"


@cache
def toy_precision(name: str) -> float:
    """mAP in percent of a whole fit on the toy task."""
    task = toy_task()
    scores = fitted_scores(make_method(name, fast=False), task)
    return float(100 * np.nanmean(metrics.average_precision(task.test.y, scores)))


def warning(name: str) -> str:
    """What a method that trains should be told although it passes: that training made it worse
    than the encoder it started from, or ""."""
    if name == ZERO_SHOT:
        return ""
    mean, zero = toy_precision(name), toy_precision(ZERO_SHOT)
    if mean >= zero:
        return ""
    return (
        f"mAP {mean:.1f} is below zero-shot CLIP's {zero:.1f} on the same task: training made it "
        f"worse. Look at learning rate, epochs and loss before comparing it."
    )


def vocabulary_is_as_declared(name: str) -> None:
    """Open: finite scores for classes without a training label. Closed: n/a with a reason in
    zero-shot settings."""
    method = make_method(name)
    if method.open_vocabulary:
        assert fitted_scores(method, toy_task(unseen=4)).shape == (TEST, len(toy_task().classes))
    else:
        reason = registry.make("settings", "zero_shot", {}).skip(method)
        assert reason, (
            "a closed-vocabulary method must be n/a, with a reason, in zero-shot settings"
        )


def images_are_scored_alone(name: str) -> None:
    """An image's scores do not depend on the images that share its batch."""
    method, task = make_method(name), toy_task()
    world = fitted(method, task)
    (x, _), *_ = world.test.batches(8)
    with torch.no_grad(), blindfolded():
        together = method.predict(world.clip, x, task.classes)
        alone = torch.cat(
            [method.predict(world.clip, x[i : i + 1], task.classes) for i in range(len(x))]
        )
    assert torch.allclose(together, alone, rtol=1e-3, atol=1e-3), (
        "an image's scores depend on its batch"
    )


def images_without_known_labels_are_harmless(name: str) -> None:
    """Rows and classes without any known label neither crash a method nor make its scores
    infinite."""
    task = toy_task()
    y = task.train.y.copy()
    y[::7] = UNKNOWN
    y[:, 0] = UNKNOWN
    y[:, 1] = np.where(y[:, 1] == PRESENT, ABSENT, y[:, 1])
    fitted_scores(make_method(name), dataclasses.replace(task, train=Labels(task.train.rows, y)))


CHECKS: tuple[Callable[[str], None], ...] = (
    survives_description,
    same_seed_same_scores,
    hidden_labels_have_no_influence,
    no_hidden_label_is_in_reach,
    known_labels_have_influence,
    vocabulary_is_as_declared,
    images_are_scored_alone,
    images_without_known_labels_are_harmless,
    beats_chance,
)


def prepare(arguments: argparse.Namespace, suite: Suite) -> Callable[[], int]:
    kind, name = _known(arguments.name)
    return functools.partial(report, name, kind)


def _known(text: str) -> tuple[str, str]:
    """Kind and name of a plugin given by name, with options or not, or by its file."""
    name, _ = registry.parse(text)
    if not registry.is_path(name):
        kind = next(kind for kind in registry.FOLDERS if name in registry.names(kind))
    else:
        kind = _kind_of_file(Path(name))
    if kind == "datasets":
        return kind, data.resolve(text)
    name = registry.register_file(kind, name) if registry.is_path(name) else name
    registry.load(kind, name)
    return kind, name


def _kind_of_file(path: Path) -> str:
    """What a file defines, read without running it."""
    if not path.is_file():
        raise ValueError(f"There is no plugin file {path}.")
    try:
        defined = {getattr(node, "name", "") for node in ast.parse(path.read_text()).body}
    except SyntaxError as error:
        raise ValueError(f"{path}:{error.lineno} is no Python: {error.msg}") from None
    for kind, name in registry.CLASS_NAMES.items():
        if name in defined:
            return kind
    if defined & set(data.FUNCTIONS):
        return "datasets"
    raise ValueError(
        f"{path} defines no plugin: it has neither a dataclass Method or Setting nor functions "
        f"load(root) and missing(root)"
    )


def report(name: str, kind: str = "methods") -> int:
    """Prints one line a check; 0 when all passed, 1 otherwise."""
    checks = {
        "methods": CHECKS,
        "settings": check_settings.CHECKS,
        "datasets": check_datasets.CHECKS,
    }[kind]
    failures = 0
    for check in checks:
        try:
            check(name)
            print(f"ok      {check.__name__}")
        except Exception as error:  # a plugin may raise anything; every check is reported
            failures += 1
            print(f"FAILED  {check.__name__}: {type(error).__name__}: {error}")
    if kind == "methods" and not failures and (said := warning(name)):
        print(f"warning {said}")
    print(f"{len(checks) - failures} passed, {failures} failed")
    return 1 if failures else 0
