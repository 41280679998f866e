"""What one run works with: task, encoder, method, and the three parts as the method may see
them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmark import registry
from benchmark.clip.encoder import Clip
from benchmark.data import _parsed
from benchmark.features import bank
from benchmark.spec import Encoder, Spec
from benchmark.task import (
    PRESENT,
    UNKNOWN,
    Dataset,
    Labels,
    Method,
    Part,
    Stream,
    Task,
    View,
    seed_for,
)

TEST_BATCH = 100  # images a prediction step; no method may depend on it


@dataclass
class World:
    """Test labels stay in `task`, which no method is handed; the `y` of `test` is UNKNOWN
    throughout."""

    task: Task
    clip: Clip
    method: Method
    train: Part
    val: Part
    test: Part
    extraction_s: float = 0.0  # what the features of the images took, in whichever runs


def open_world(spec: Spec, out: Path, device: torch.device) -> World:
    """Task, encoder, method and parts of a description."""
    task, clip, method = _opened(spec, out, device)
    return make_world(task, clip, method, out, device, seed_for("batches", spec.id))


def _opened(spec: Spec, out: Path, device: torch.device) -> tuple[Task, Clip, Method]:
    _parsed.keep_in(out / "features" / "labels")
    method = registry.rebuild("methods", spec.method)
    task = registry.rebuild("settings", spec.setting).build(spec.seed)
    task = limited(task, spec.limit) if spec.limit else task
    return task, shared_clip(spec.encoder, device), method


def make_features(spec: Spec, out: Path, device: torch.device, say: Callable[[str], None]) -> None:
    """Computes and stores what a run will read: all parts at once, so that the time to go and the
    room on the disk are those of the whole; `say` is told now and then how far it is."""
    task, clip, method = _opened(spec, out, device)
    everything = np.concatenate([part.rows for part in (task.train, task.val, task.test)])
    rows = [everything]
    if method.augment and method.needs != "pixels":
        rows += [task.train.rows] * (method.copies - 1)
    images = without_labels(task.dataset)
    bank.make(images, clip, method.needs, rows, out / "features", method.augment, say)


_clips: dict[tuple[Encoder, torch.device], Clip] = {}


def shared_clip(encoder: Encoder, device: torch.device) -> Clip:
    """The encoder that the runs of this process share, one at a time: loaded anew for another
    description, or when a run has written into it."""
    clip = _clips.get((encoder, device))
    if clip is None or not clip.is_untouched:
        _clips.clear()
        clip = _clips[encoder, device] = Clip(encoder, device)
    return clip


def limited(task: Task, n: int) -> Task:
    """The task on the first `n` images of the training split, of which some are for validation, and
    on the first `n` test images: neighbours, so that a feature bank computes few of its chunks."""
    training = np.sort(np.concatenate([task.train.rows, task.val.rows]))[:n]

    def kept(labels: Labels) -> Labels:
        chosen = np.isin(labels.rows, training)
        return Labels(labels.rows[chosen], labels.y[chosen])

    tested = np.isin(np.arange(len(task.test.rows)), np.argsort(task.test.rows)[:n])
    return replace(
        task,
        train=kept(task.train),
        val=kept(task.val),
        test=Labels(task.test.rows[tested], task.test.y[tested]),
        views={name: View(v.rows[tested], v.columns) for name, v in task.views.items()},
    )


def make_world(
    task: Task, clip: Clip, method: Method, out: Path, device: torch.device, seed: int
) -> World:
    """Drops the columns of unseen classes and attaches features or pixels; `seed` drives shuffling
    and augmentation.

    What a part holds leads to no label but its own: its stream knows the images alone.
    """
    seen = tuple(name for name, is_seen in zip(task.classes, task.seen, strict=True) if is_seen)
    captions = task.dataset.captions
    images = without_labels(task.dataset)

    def part(labels: Labels, classes: tuple[str, ...], y: np.ndarray, copies: int) -> Part:
        augment = method.augment
        stream = bank.stream(
            images, clip, method.needs, labels.rows, out / "features", copies, augment
        )
        rng = np.random.default_rng(seed)
        served = Part(classes, y, stream, rng, device)
        if captions is not None:
            served.captions = tuple(captions[row] for row in labels.rows)
        if task.dataset.listed is not None and y.shape[1] == len(task.dataset.classes):
            served.listed = tuple(
                tuple(c for c in task.dataset.listed[row] if known[c] == PRESENT)
                for row, known in zip(labels.rows, y, strict=True)
            )
        if method.needs == "global":
            # when they are asked for: NUS-WIDE has 1.1 GB, and zero-shot CLIP wants none
            served.read = functools.partial(_read_all, stream, len(y), clip.width, device)
        return served

    return World(
        task,
        clip,
        method,
        train=part(task.train, seen, task.seen_y(task.train), method.copies),
        val=part(task.val, seen, task.seen_y(task.val), 0),
        test=part(task.test, task.classes, np.full_like(task.test.y, UNKNOWN), 0),
        extraction_s=bank.extraction_seconds(
            images, clip, method.needs, out / "features", method.copies, method.augment
        ),
    )


def without_labels(dataset: Dataset) -> Dataset:
    """The images alone: `y` has no columns, and there are no splits, captions or notes."""
    nothing = np.empty((len(dataset.names), 0), np.int8)
    bare = replace(dataset, captions=None, listed=None, notes={})
    return replace(bare, classes=(), raw_classes=(), y=nothing, splits={})


def _read_all(stream: Stream, n: int, width: int, device: torch.device) -> torch.Tensor:
    """The plain features (n, D) of a part, filled in place."""
    features = torch.empty(n, width, device=device)
    chunks = _chunks(n)
    # a generator of its own: plain features draw nothing from it
    for rows, x in zip(chunks, stream(chunks, "", np.random.default_rng()), strict=True):
        features[rows[0] : rows[-1] + 1] = x
    return features


def _chunks(n: int) -> list[np.ndarray]:
    return np.array_split(np.arange(n), -(-n // TEST_BATCH)) if n else []


@torch.no_grad()
def predict(world: World, part: Part, classes: tuple[str, ...]) -> np.ndarray:
    """Scores (len(part), len(classes)) float32. Raises `ValueError` for a wrong shape or a
    non-number."""
    scores = np.empty((len(part), len(classes)), np.float32)
    start = 0
    for x, _ in part.batches(TEST_BATCH):
        logits = world.method.predict(world.clip, x, classes)
        if tuple(logits.shape) != (len(x), len(classes)):
            raise ValueError(
                f"predict returned shape {tuple(logits.shape)}, wanted {(len(x), len(classes))}."
            )
        if logits.is_complex():
            raise ValueError("predict returned complex numbers, wanted real ones.")
        scores[start : start + len(x)] = logits.float().cpu().numpy()
        start += len(x)
    if not np.isfinite(scores).all():
        raise ValueError(
            f"predict returned {np.count_nonzero(~np.isfinite(scores))} values that are not finite."
        )
    return scores
