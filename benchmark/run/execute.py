"""One run, from description to record: build the task, serve masked parts, fit, predict, score,
write.

Everything that could leak or half-write lives here, so that no plugin can: unseen columns and
hidden labels are dropped before a method sees them, test labels never leave this module, scores and
record are written by the store.
"""

import contextlib
import json
import os
import pdb
import random
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmark import metrics, registry, traces
from benchmark.clip.precision import switched
from benchmark.run import cost, provenance
from benchmark.run.blindfold import blindfold
from benchmark.run.parts import World, make_features, open_world, predict
from benchmark.run.scoring import score
from benchmark.run.selection import Selection
from benchmark.run.task_record import EXAMPLES, describe_task
from benchmark.spec import Job, Spec
from benchmark.staleness import loaded_digest, require_blind, require_unchanged
from benchmark.store import Record, Store, empty_record
from benchmark.task import Method, Run, Scalars, seed_for


def execute(
    job: Job, out: Path, device: str = "cpu", attempt: int = 1, debug: bool = False
) -> Record:
    """Runs a job and writes its record: `done`, or `failed` when anything raised.

    With `debug` the debugger opens where the exception was raised.
    """
    this = Attempt(job, out, device, attempt)
    with this.recorded(debug):
        this.start(cost.Meter(device))
        this.fit()
        this.score()
    return this.written()


def prepare(job: Job, out: Path, device: str, say: Callable[[str], None]) -> None:
    """Makes the features that the run will ask for, and tells how far it is."""
    os.environ["LOWLABEL_DATA"] = job.data
    registry.register_plugins(job.plugins)
    with switched(job.spec.encoder.precision):
        make_features(job.spec, out, torch.device(device), say)


class Attempt:
    """One try at a run, step by step: `start`, `fit`, `score`, each inside `recorded`, then
    `written`."""

    def __init__(self, job: Job, out: Path, device: str, number: int) -> None:
        self.job, self.store, self.device = job, Store(out), torch.device(device)
        self.store.attempt(job.id)
        self.folder = self.store.folder(job.id) / "attempt"
        self.record = empty_record(job.spec, "failed", number)
        self.record["provenance"] = {
            **provenance.of_this_process(),
            "plugins": dict(job.plugins),
            "start": provenance.now(),
        }
        self.meter: cost.Meter | None = None
        self.scores: np.ndarray | None = None
        self.known_scores: dict[bytes, np.ndarray] = {}  # by images, where others computed them

    @contextlib.contextmanager
    def recorded(self, debug: bool = False) -> Iterator[None]:
        """With the encoder's precision; what is raised inside ends up in the record."""
        try:
            with switched(self.job.spec.encoder.precision):
                yield
        except Exception as error:
            self.fail(error)
            if debug:
                pdb.post_mortem(error.__traceback__)

    def fail(self, error: Exception) -> None:
        """Why the run has no result."""
        text = "".join(traceback.format_exception(error))
        sys.stderr.write(text)
        self.record["error"] = {
            "type": type(error).__name__,
            "message": str(error),
            "log": text[-2000:],
        }

    @property
    def has_failed(self) -> bool:
        return bool(self.record["error"])

    def start(self, meter: cost.Meter) -> None:
        """Task, encoder and features; what the engine lends to the fit."""
        self.meter, spec = meter, self.job.spec
        os.environ["LOWLABEL_DATA"] = self.job.data
        registry.register_plugins(self.job.plugins)
        code = (spec.methods, spec.setting.name, spec.dataset, self.job.plugins)
        self.record["provenance"]["code_digest"] = loaded_digest(*code)
        require_blind(spec.method.name, self.job.plugins)
        with meter.phase("feature"):
            self.world = open_world(spec, self.store.out, self.device)
        meter.extraction = self.world.extraction_s
        require_unchanged(*code)
        self.record["task"] = describe_task(self.world.task, self.store)
        self.run = Run(seed_for("fit", self.job.id), self.device, self.folder)
        self.selection = Selection(spec.selection, self.world, self.run)
        if self.job.tensorboard:
            self.run.tensorboard = _tensorboard(self.run.folder, spec)
        self.engine = traces.engine()

    def fit(self) -> None:
        """The fit of this run alone."""
        assert self.meter is not None
        seed_everything(self.run.seed)
        with self.meter.phase("fit"), self.blindfold():
            self.world.method.fit(self.world.clip, self.world.train, self.world.val, self.run)

    def images(self, part: str) -> bytes:
        """Which images and classes the "test" or "val" part asks about."""
        task = self.world.task
        labels, classes = (
            (task.test, task.classes) if part == "test" else (task.val, self.world.val.classes)
        )
        return labels.rows.tobytes() + json.dumps(classes).encode()

    def predict(self, part: str) -> np.ndarray:
        """Scores (n, C) of the "test" or the (n, C_seen) of the "val" part."""
        known = self.known_scores.get(self.images(part)) if self.known_scores else None
        if known is not None:
            return known
        with self.blindfold():
            if part == "test":
                return predict(self.world, self.world.test, self.world.task.classes)
            return predict(self.world, self.world.val, self.world.val.classes)

    def blindfold(self) -> contextlib.AbstractContextManager[None]:
        """While the method is at work, labels on the disk are closed to it."""
        return blindfold(self.store.out, self.job.data)

    def score(self) -> None:
        """Test scores of the chosen state, and everything that the record says of them."""
        assert self.meter is not None
        world, run, record = self.world, self.run, self.record
        self.selection.restore()
        if run.tensorboard is not None:
            run.tensorboard.close()
        record["chosen"], record["trials"] = {**run.chosen, **self.selection.chosen}, run.trials
        record["cost"]["trainable_parameters"] = _trainable_parameters(world.method)
        with self.meter.phase("predict"):
            scores, val_scores = self.predict("test"), self.predict("val")
        self.require_engine()
        record["provenance"]["weights_sha256"] = world.clip.weights_sha256
        record["metrics"], record["per_class"] = score(world.task, scores, val_scores)
        for views in self.selection.others():
            _replace_views(record["metrics"], views, world)
        if world.task.groups:
            _add_centroid_distances(record["metrics"], world)
        _write_examples(world, run.folder)
        self.scores, record["status"] = scores, "done"

    def require_engine(self) -> None:
        """Raises `ValueError` when the method has replaced a function of the suite: nobody knows
        what the numbers would be."""
        changed = traces.left(self.engine, traces.engine())
        if changed:
            raise ValueError(f"{changed[0]} is not what it was when the method began to learn")

    def written(self) -> Record:
        """The record, on disk."""
        shutil.rmtree(self.folder / "scratch", ignore_errors=True)
        record = self.record
        if self.meter is not None:
            parameters = record["cost"].get("trainable_parameters", 0)
            record["cost"] = self.meter.cost(parameters)
        record["provenance"]["end"] = provenance.now()
        self.store.write(record, self.scores)
        self.store.keep_attempt(self.job.id)
        return record


def seed_everything(seed: int) -> None:
    """Seeds every generator that a plugin might touch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _replace_views(
    values: dict[str, dict[str, float | None]], views: tuple[str, ...], world: World
) -> None:
    """The numbers of these views from the state that the method has now: with `oracle` some views
    are reported from an epoch of their own."""
    task = world.task
    scores = predict(world, world.test, task.classes)
    found, _ = score(task, scores, predict(world, world.val, world.val.classes))
    values.update({view: found[view] for view in views})
    headline = next(iter(found))
    if "seen" in views and "mAP_harmonic" in found[headline]:  # of the halves of these views
        values[headline]["mAP_harmonic"] = found[headline]["mAP_harmonic"]


@torch.no_grad()
def _add_centroid_distances(values: dict[str, dict[str, float | None]], world: World) -> None:
    """PD and ND in every view where the image tower was fine-tuned (LM-CLIP, `test.py`): a second
    pass over the test images."""
    features = []
    for x, _ in world.test.batches(100):
        tuned = world.method.image_features(world.clip, x)
        if tuned is None:
            return
        features.append(tuned.float().cpu().numpy())
    for name, view in world.task.views.items():
        distances = metrics.centroid_distances(
            np.concatenate(features), world.task.test.y, view.rows, view.columns
        )
        values[name].update(distances)


@torch.no_grad()
def _write_examples(world: World, folder: Path) -> None:
    """Region weights of the first test images, for the report's heat maps, where a method has
    them."""
    if not len(world.test):
        return
    x, _ = next(world.test.batches(EXAMPLES))
    weights = world.method.region_weights(world.clip, x, world.task.classes)
    if weights is not None:
        np.savez_compressed(
            folder / "examples.npz",
            region_weights=weights.cpu().numpy().astype(np.float16),
            grid=np.array(world.clip.grid),
        )


def _trainable_parameters(method: Method) -> int:
    """What the method says after its fit, else the size of its state."""
    if method.trainable_parameters is not None:
        return method.trainable_parameters
    return sum(value.numel() for value in method.state_dict().values())


def _tensorboard(folder: Path, spec: Spec) -> Scalars:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError('--tensorboard needs the extra: pip install -e ".[tensorboard]"') from None
    writer = SummaryWriter(str(folder / "tensorboard"))
    writer.add_text("config", json.dumps(spec.to_json(), indent=1))
    return writer
