"""One run, from description to record: build the task, serve masked parts, fit, predict, score,
write.

Everything that could leak or half-write lives here, so that no plugin can: unseen columns and
hidden labels are dropped before a method sees them, test labels never leave this module, scores and
record are written by the store.
"""

import json
import os
import pdb
import random
import shutil
import sys
import traceback
from pathlib import Path

import numpy as np
import torch

from benchmark import metrics, registry
from benchmark.clip.precision import switched
from benchmark.run import cost, provenance
from benchmark.run.parts import World, open_world, predict
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
    store = Store(out)
    store.attempt(job.id)
    record, scores = empty_record(job.spec, "failed", attempt), None
    record["provenance"] = {
        **provenance.of_this_process(),
        "plugins": dict(job.plugins),
        "start": provenance.now(),
    }
    meter = None
    try:
        meter = cost.Meter(device)
        os.environ["LOWLABEL_DATA"] = job.data
        registry.register_plugins(job.plugins)
        with switched(job.spec.encoder.precision):
            scores = _run(job, record, store, torch.device(device), meter)
        record["status"] = "done"
    except Exception as error:
        text = traceback.format_exc()
        sys.stderr.write(text)
        record["status"] = "failed"
        record["error"] = {"type": type(error).__name__, "message": str(error), "log": text[-2000:]}
        if debug:
            pdb.post_mortem(error.__traceback__)
    finally:
        shutil.rmtree(store.folder(job.id) / "attempt" / "scratch", ignore_errors=True)
    if meter is not None:
        record["cost"] = meter.cost(record["cost"].get("trainable_parameters", 0))
    record["provenance"]["end"] = provenance.now()
    store.write(record, scores)
    store.keep_attempt(job.id)
    return record


def _run(
    job: Job, record: Record, store: Store, device: torch.device, meter: cost.Meter
) -> np.ndarray:
    """The steps of a run; fills the record and returns test scores (N_test, C) float32."""
    spec = job.spec
    code = (spec.methods, spec.setting.name, spec.dataset, job.plugins)
    record["provenance"]["code_digest"] = loaded_digest(*code)
    require_blind(spec.method.name, job.plugins)

    # ---- task, encoder, features -----------------------------------------------------------------
    with meter.phase("feature"):
        world = open_world(spec, store.out, device)
    require_unchanged(*code)
    task, method = world.task, world.method
    record["task"] = describe_task(task, store)

    # ---- fit -------------------------------------------------------------------------------------
    run = Run(seed=seed_for("fit", job.id), device=device, folder=store.folder(job.id) / "attempt")
    seed_everything(run.seed)
    selection = Selection(spec.selection, world, run)
    if job.tensorboard:
        run.tensorboard = _tensorboard(run.folder, spec)
    with meter.phase("fit"):
        method.fit(world.clip, world.train, world.val, run)
    selection.restore()
    if run.tensorboard is not None:
        run.tensorboard.close()
    record["chosen"], record["trials"] = {**run.chosen, **selection.chosen}, run.trials
    record["cost"]["trainable_parameters"] = _trainable_parameters(method)

    # ---- predict and score -----------------------------------------------------------------------
    with meter.phase("predict"):
        scores = predict(world, world.test, task.classes)
        val_scores = predict(world, world.val, world.val.classes)
    record["provenance"]["weights_sha256"] = world.clip.weights_sha256
    record["metrics"], record["per_class"] = score(task, scores, val_scores)
    for views in selection.others():
        _replace_views(record["metrics"], views, world)
    if task.groups:
        _add_centroid_distances(record["metrics"], world)
    _write_examples(world, run.folder)
    return scores


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
