"""Measures, in about a minute, what a plan needs to know of this machine: seconds of a step and of
a prediction of a method, and of an image of a tower.

Nothing real is learned: features and labels are made up, of the sizes of the run's encoder, and no
more of them than a step or two takes.
"""

import dataclasses
import functools
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmark import data, registry
from benchmark.clip.encoder import Clip
from benchmark.clip.image_tower import frozen_copy
from benchmark.clip.precision import switched
from benchmark.features.bank import encode
from benchmark.features.reading import read
from benchmark.files import write_atomically
from benchmark.run.parts import shared_clip
from benchmark.spec import Choice, Spec
from benchmark.store import Record, Store, empty_record
from benchmark.task import ABSENT, PRESENT, Method, Part, Run, Stream

CLASSES = 20  # that a measured step distinguishes, at most: its work is in proportion to them
FEW = 128  # images of a method without batches
MANY = 1024  # of one that is fitted as a whole, see `_is_quick`
TEST_IMAGES = 100
PRESENT_RATE = 0.2  # of the made-up labels
REPEATS = 2  # of a measurement, of which the quickest counts: others use the machine too
SECONDS = 3.0  # for images of a tower


def measure_method(spec: Spec, classes: int, device: torch.device, features: Path) -> str:
    """Keeps the seconds of a fit and of an evaluation as a record below `features`/measured, where
    an estimate finds it; says what it took. Raises what the method raises."""
    clip = shared_clip(spec.encoder, device)
    with switched(spec.encoder.precision), tempfile.TemporaryDirectory() as folder:
        whole = _is_quick(spec)
        one = dataclasses.replace(spec, limit=FEW) if whole else _one_epoch(spec)
        step = MANY if whole else _images_a_step(one)
        names = tuple(f"class {i}" for i in range(min(classes, CLASSES)))
        method = registry.rebuild("methods", one.method)
        fit_images = functools.partial(_fit, method, clip, names, device, Path(folder))
        fit_images(FEW if whole else step)  # the first one also loads and warms
        once = min(fit_images(step) for _ in range(REPEATS))
        fit = once
        if not whole:
            twice = min(fit_images(2 * step) for _ in range(REPEATS))
            fit = max(twice - once, twice / 4, 0.0)  # what a further step takes; noise may hide it
        predict = _predict(method, clip, names, device)
    record = _record(one, step, len(names), fit, predict)
    Store(features / "measured").write(record)
    if whole:
        return f"a fit of {step} images and {len(names)} classes {fit:.3g} s"
    return f"a step of {step} images and {len(names)} classes {fit:.3g} s"


def measure_images(spec: Spec, kind: str, device: torch.device, features: Path) -> str:
    """Keeps the seconds that an image of the run's data set takes, from the file to the feature,
    as `features`/measured-…/pace.json, where an estimate looks for the pace of banks."""
    clip, dataset = shared_clip(spec.encoder, device), data.load(spec.dataset)
    tower = frozen_copy(clip.module.visual)
    size = 4 if device.type == "cpu" else 64
    batches = [rows for rows in np.array_split(np.arange(len(dataset.names))[: 20 * size], 20)]
    done, start = -len(batches[0]), time.perf_counter()  # the first batch only warms
    for pixels, broken in read(dataset, batches, clip.transform):
        if pixels is not None:
            encode(clip, tower, kind, pixels).cpu()
        done += len(batches[0])
        if done <= 0 or broken:
            start = time.perf_counter()
        elif time.perf_counter() - start > SECONDS:
            break
    seconds = time.perf_counter() - start
    folder = features / f"measured-{spec.encoder.name}-{spec.encoder.image_size}-{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    key = {
        "dataset": "",
        "kind": kind,
        "architecture": spec.encoder.name,
        "image_size": spec.encoder.image_size,
    }
    state = {"key": key, "marks": {}, "pace": {"images": done, "seconds": seconds}}
    for name, content in state.items():
        write_atomically(folder / f"{name}.json", json.dumps(content).encode())
    return f"{done / seconds:.3g} images/s"


def _is_quick(spec: Spec) -> bool:
    """Whether a whole fit is measured: of methods on one feature an image that train no prompts,
    such as adapters, whose work is not always in proportion to steps and epochs."""
    parameters = spec.method.parameters
    needs = registry.rebuild("methods", spec.method).needs
    return needs == "global" and not {"context_length", "method"} & parameters.keys()


def _one_epoch(spec: Spec) -> Spec:
    """The run with one epoch, apart from real ones by its limit."""
    once = {name: 1 for name in ("epochs",) if name in spec.method.parameters}
    method = Choice(spec.method.name, {**spec.method.parameters, **once})
    return dataclasses.replace(spec, method=method, limit=FEW)


def _images_a_step(spec: Spec) -> int:
    size, draws = spec.method.get("batch_size"), spec.method.get("draws", 1.0)
    if not isinstance(size, int) or not size:
        return FEW
    return round(size / draws) if isinstance(draws, float) and draws > 0 else size


def _fit(
    method: Method,
    clip: Clip,
    names: tuple[str, ...],
    device: torch.device,
    folder: Path,
    images: int,
) -> float:
    """Seconds."""
    train = _part(method, clip, names, images, device)
    val = _part(method, clip, names, min(images, FEW), device)
    folder = Path(tempfile.mkdtemp(dir=folder))
    start = _now(device)
    method.fit(clip, train, val, Run(0, device, folder))
    return _now(device) - start


@torch.no_grad()
def _predict(method: Method, clip: Clip, names: tuple[str, ...], device: torch.device) -> float:
    """Seconds for `TEST_IMAGES`."""
    test = _part(method, clip, names, 2 * TEST_IMAGES, device)
    moments = []
    for x, _ in test.batches(TEST_IMAGES):
        moments.append(_now(device))
        method.predict(clip, x, names)
        moments.append(_now(device))
    return moments[3] - moments[2]  # the first batch also encodes the names


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _part(
    method: Method, clip: Clip, names: tuple[str, ...], images: int, device: torch.device
) -> Part:
    """Made-up images with made-up labels, each class at least once present and once absent."""
    rng = np.random.default_rng(0)
    y = np.where(rng.random((images, len(names))) < PRESENT_RATE, PRESENT, ABSENT).astype(np.int8)
    columns = np.arange(len(names))
    y[columns % images, columns] = PRESENT
    y[(columns + 1) % images, columns] = ABSENT
    stream = _stream(method, clip, device)
    part = Part(names, y, stream, rng, device)
    if method.needs == "global":
        part.x = next(stream([np.arange(images)], "", rng))
    part.captions = tuple(f"a photo of a {names[i % len(names)]}" for i in range(images))
    return part


def _stream(method: Method, clip: Clip, device: torch.device) -> Stream:
    if method.needs == "pixels":
        item: tuple[int, ...] = (3, clip.description.image_size, clip.description.image_size)
    elif method.needs == "regions":
        item = (clip.grid[0] * clip.grid[1] + 1, clip.width)
    else:
        item = (clip.width,)

    def serve(
        chunks: Iterable[np.ndarray], name: str, rng: np.random.Generator
    ) -> Iterator[torch.Tensor]:
        for chunk in chunks:
            values = torch.randn(len(chunk), *item, generator=torch.Generator().manual_seed(0))
            scaled = values if method.needs == "pixels" else values / item[-1] ** 0.5  # norm 1
            yield scaled.to(device)

    return serve


def _record(spec: Spec, images: int, classes: int, fit: float, predict: float) -> Record:
    """What an estimate reads from a record."""
    record = empty_record(spec, "done")
    record["task"] = {"n_train": images, "n_test": TEST_IMAGES, "n_classes": classes}
    record["cost"] = {"fit_s": fit, "predict_s": predict}
    return record
