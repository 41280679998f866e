"""Pretrain pocket-ViT: it takes over the text tower of pocket-RN and learns from scenes and from
its image features.

A transformer needs far more scenes than a ResNet before it sees shapes. So everything that does not
change is computed once: a stage has a pool of rendered scenes with the teacher's features, and the
prompts are read by the frozen text tower in advance. What remains is the image tower, which several
processes train together, each on its part of a batch.
"""

from __future__ import annotations

import csv
import functools
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import torch
from rich.progress import Progress, track
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn import functional as F

from benchmark.clip.open_clip_types import VisionTransformer
from benchmark.clip.pocket import create, open_clip, weights_path, write_weights
from benchmark.pretraining import captions, corpus, towers
from benchmark.pretraining.checkpoint import Resumable
from benchmark.pretraining.objectives import pixels_of, present, region_targets, sigmoid_loss
from benchmark.pretraining.pretrain import parameter_groups, ship, update_average, zero_shot_map
from benchmark.pretraining.text import Vocabulary, adopt_text

TEACHER = {"pocket-ViT": "pocket-RN"}
# scenes a step; steps of warm-up; part of the run in which the rate falls to 0
BATCH, WARM_UP, DECAY = 128, 200, 0.18
WEIGHTS = {"plain": 1.0, "style": 1.0, "regions": 0.5, "teacher": 10.0}
BIASES = {"plain": -6.0, "style": -8.0, "regions": -6.0}  # of the sigmoid losses at the start
TEMPLATES = 128  # prompts with, and as many without, words of style
COLUMNS = ("samples", "canvas", "rate", *WEIGHTS, "images_per_second", "mAP")
WORDS = tuple(word for words in captions.FACTORS.values() for word in words)


class Stage(NamedTuple):
    """From sample `start` on: canvas side, most objects, number of different scenes in the pool,
    learning rate."""

    start: int
    canvas: int
    most: int
    pool: int
    rate: float


STAGES = (
    Stage(0, 32, 1, 200_000, 2e-3),
    Stage(870_400, 64, 4, 100_000, 1.5e-3),
    Stage(1_433_600, 96, 5, 30_000, 1e-3),
)
SAMPLES = 1_561_600


def stage(stages: tuple[Stage, ...], samples: int) -> Stage:
    """The stage of a run after so many samples."""
    return [row for row in stages if row.start <= samples][-1]


def learning_rate(now: Stage, samples: int, total: int) -> float:
    """The rate of the stage, with a linear warm-up and a linear decay to zero over the last DECAY
    of the run."""
    return now.rate * min(1.0, (samples / BATCH + 1) / WARM_UP, (1 - samples / total) / DECAY)


def start_positions(visual: VisionTransformer) -> None:
    """Start the position embeddings of a ViT from sines and cosines of row and column.

    Neighbouring patches then look related from the first step on, which random embeddings have to
    learn cell by cell.
    """
    side, width = visual.grid_size[0], visual.positional_embedding.shape[1]
    frequency = 50.0 ** -(torch.arange(width // 4) / (width // 4))
    angle = torch.arange(side)[:, None] * frequency  # (side, W / 4)
    wave = torch.cat([angle.sin(), angle.cos()], 1)  # (side, W / 2)
    grid = torch.cat([wave[:, None].expand(-1, side, -1), wave.expand(side, -1, -1)], -1)
    with torch.no_grad():
        visual.positional_embedding[1:] = grid.flatten(0, 1) * 0.25


def pool_part(teacher: str, now: Stage, first: int, count: int) -> dict[str, np.ndarray]:
    """Scenes `first` to `first + count` of a pool, with the features that the teacher gives them.

    Arrays: pixels (n, 3, S, S) uint8, targets (n, C) bool, words of style (n, W) bool, labels (n,
    most) int8 (-1: no object), boxes (n, most, 4) float32 and wanted (n, D) float32.
    """
    torch.set_num_threads(1)
    scenes = [corpus.pretraining_scene(first + i, now.canvas, now.most) for i in range(count)]
    labels, boxes = (
        np.full((count, now.most), -1, np.int8),
        np.zeros((count, now.most, 4), np.float32),
    )
    for row, scene in enumerate(scenes):
        labels[row, : len(scene.labels)], boxes[row, : len(scene.labels)] = (
            scene.labels,
            scene.boxes,
        )
    visual = create(teacher).visual
    with torch.no_grad():
        chunks = [pixels_of(scenes[start : start + 250]) for start in range(0, count, 250)]
        wanted = torch.cat([towers.image_features(visual, chunk)[0] for chunk in chunks]).numpy()
    return {
        "pixels": np.stack([scene.picture for scene in scenes]),
        "targets": present(scenes) > 0,
        "words": np.array([[word in scene.styles for word in WORDS] for scene in scenes]),
        "labels": labels,
        "boxes": boxes,
        "wanted": wanted,
    }


def scene_pool(teacher: str, now: Stage, folder: Path, processes: int) -> dict[str, np.ndarray]:
    """The pool of a stage as arrays mapped from a file in `folder`, which is made when it is not
    there."""
    path = folder / f"pool-{now.canvas}-{now.most}-{now.pool}.joblib"
    if not path.exists():
        starts = range(0, now.pool, 1000)
        jobs = (
            joblib.delayed(pool_part)(teacher, now, start, min(1000, now.pool - start))
            for start in track(starts, f"{now.canvas} px, thousands of scenes")
        )
        parts = joblib.Parallel(n_jobs=min(processes, len(starts)))(jobs)
        joblib.dump(
            {key: np.concatenate([part[key] for part in parts]) for key in parts[0]},
            f"{path}.partial",
        )
        os.replace(f"{path}.partial", path)
    return {key: np.asarray(value) for key, value in joblib.load(path, mmap_mode="c").items()}


@functools.lru_cache(maxsize=1)
def lap_order(size: int, lap: int) -> np.ndarray:
    """In which order pass number `lap` goes through a pool: a permutation (size,)."""
    return np.random.default_rng([5, size, lap]).permutation(size)


@torch.no_grad()
def read_prompts(
    teacher: str, vocabulary: Vocabulary, folder: Path
) -> tuple[Tensor, list[tuple[tuple[str, ...], Tensor]]]:
    """Prompts of all classes through the text tower of the teacher, kept in a file in `folder`.

    Plain templates give (TEMPLATES, C, D); templates that name a style give a list of their words
    and (C, D).
    """
    path = folder / "prompts.pt"
    if path.exists():
        kept: tuple[Tensor, list[tuple[tuple[str, ...], Tensor]]] = torch.load(
            path, weights_only=True
        )
        return kept
    model, ids = create(teacher), torch.from_numpy(vocabulary.ids)
    random, factors = np.random.default_rng(7), list(captions.FACTORS.values())
    plain: list[Tensor] = []
    styled: list[tuple[tuple[str, ...], Tensor]] = []
    for _ in range(TEMPLATES):
        chosen = [
            factors[i] for i in random.permutation(len(factors))[: 1 + (random.random() < 0.4)]
        ]
        words = tuple(str(random.choice(factor)) for factor in chosen)
        templates = captions.plain_template(random), captions.style_template(random, words)
        texts = [[template.format(name) for name in captions.CLASSES] for template in templates]
        without, with_words = (
            towers.text_features(model, ids[vocabulary(prompts)]) for prompts in texts
        )
        plain.append(without)
        styled.append((words, with_words))
    read = torch.stack(plain), styled
    torch.save(read, f"{path}.partial")
    os.replace(f"{path}.partial", path)
    return read


class Student(Resumable):
    """Model, moving average, optimiser and position of the run in one process."""

    KEPT = ("model", "average", "biases", "optimiser")

    def __init__(self, name: str, folder: Path) -> None:
        torch.manual_seed(0)
        self.name, self.folder, self.samples = name, folder, 0
        self.vocabulary = Vocabulary()
        self.model, self.average = (open_clip.create_model(name) for _ in range(2))
        for model in (self.model, self.average):
            model.token_embedding = nn.Embedding(
                len(self.vocabulary.ids), model.token_embedding.embedding_dim
            )
        adopt_text(self.model, create(TEACHER[name]), self.vocabulary)
        start_positions(self.model.visual)
        self.average.load_state_dict(self.model.state_dict())
        self.plain, self.styled = read_prompts(TEACHER[name], self.vocabulary, folder)
        self.biases = nn.ParameterDict({key: torch.tensor(value) for key, value in BIASES.items()})
        self.trained = [*self.model.visual.parameters(), *self.biases.values()]
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.trained), betas=(0.9, 0.98), fused=True
        )
        self.resume()

    def losses(self, pool: dict[str, np.ndarray], rank: int, processes: int) -> dict[str, Tensor]:
        """The losses of one process's part of the next batch: every pass through the pool has an
        order of its own."""
        size = len(pool["pixels"])
        lap, place = divmod(self.samples, size // BATCH * BATCH)
        rows = lap_order(size, lap)[place : place + BATCH][rank::processes]
        random = np.random.default_rng([7, self.samples])
        scenes = [
            corpus.Scene(
                pool["pixels"][row], labels[labels >= 0], pool["boxes"][row][labels >= 0], ()
            )
            for row, labels in zip(rows, pool["labels"][rows], strict=True)
        ]
        pixels, targets = pixels_of(scenes), torch.from_numpy(pool["targets"][rows]).float()
        visual, biases, scale = self.model.visual, self.biases, self.model.logit_scale.exp()
        free = visual.grid_size[0] - pixels.shape[-1] // visual.patch_size[0] + 1
        images, regions = towers.image_features(
            visual, pixels, tuple(random.integers(0, free, 2).tolist())
        )
        plain = self.plain[random.integers(len(self.plain))]
        words, styled = self.styled[random.integers(len(self.styled))]
        fits = torch.from_numpy(
            pool["words"][rows][:, [WORDS.index(word) for word in words]].all(1)
        ).float()[:, None]

        result = {"plain": sigmoid_loss(images @ plain.T * scale + biases["plain"], targets)}
        if (targets.sum(1) == 1).all():
            result["plain"] = (
                2 * F.cross_entropy(images @ plain.T * scale, targets) + 0.2 * result["plain"]
            )
        result["style"] = sigmoid_loss(images @ styled.T * scale + biases["style"], targets * fits)
        wanted, weights = region_targets(scenes, round(regions.shape[1] ** 0.5))
        result["regions"] = sigmoid_loss(
            regions @ plain.T * scale + biases["regions"], wanted, weights
        )
        result["teacher"] = (1 - (images * torch.from_numpy(pool["wanted"][rows])).sum(1)).mean()
        return result

    def step(
        self, pool: dict[str, np.ndarray], rate: float, rank: int = 0, processes: int = 1
    ) -> dict[str, float]:
        """Train on the next batch together with the other processes; returns the losses of this
        one's part."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        parts = self.losses(pool, rank, processes)
        self.optimiser.zero_grad()
        total_loss = sum(
            (WEIGHTS[key] * value for key, value in parts.items()), start=torch.zeros(())
        )
        total_loss.backward()
        if processes > 1:
            gradient = nn.utils.parameters_to_vector(value.grad for value in self.trained)
            distributed.all_reduce(gradient)
            start = 0
            for value in self.trained:
                value.grad.copy_(gradient[start : start + value.numel()].view_as(value) / processes)
                start += value.numel()
        nn.utils.clip_grad_norm_(self.trained, 5.0)
        self.optimiser.step()
        update_average(self.average.visual, self.model.visual, self.samples // BATCH)
        self.samples += BATCH
        return {key: float(value.detach()) for key, value in parts.items()}


def _work(
    rank: int,
    processes: int,
    meeting: str,
    name: str,
    folder: Path,
    total: int,
    stages: tuple[Stage, ...],
    every: int,
    count: int,
) -> None:
    """One process of a run; the first one also evaluates, logs and saves."""
    torch.set_num_threads(1)
    if processes > 1:
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes
        )
    student, log = Student(name, folder), folder / f"{name}.csv"
    if rank == 0:
        held_out = [corpus.pretraining_scene(corpus.HELD_OUT + i, 96, 5) for i in range(count)]
        if student.samples == 0:
            log.write_text(",".join(COLUMNS) + "\n")
    progress = Progress(disable=rank > 0)
    progress.start()
    scenes = progress.add_task(f"{name}, scenes", total=total, completed=student.samples)
    recent: list[dict[str, float]] = []
    pools: dict[Stage, dict[str, np.ndarray]] = {}
    since, mark = time.perf_counter(), student.samples
    while student.samples < total:
        now = stage(stages, student.samples)
        if now not in pools:
            pools = {now: scene_pool(TEACHER[name], now, folder, 1)}
        rate = learning_rate(now, student.samples, total)
        recent.append(student.step(pools[now], rate, rank, processes))
        progress.advance(scenes, BATCH)
        if rank == 0 and (student.samples % every < BATCH or student.samples >= total):
            speed = (student.samples - mark) / (time.perf_counter() - since)
            row = {key: f"{np.mean([part[key] for part in recent]):.3f}" for key in WEIGHTS}
            row |= {
                "samples": f"{student.samples}",
                "canvas": f"{now.canvas}",
                "rate": f"{rate:.2e}",
            }
            row |= {"images_per_second": f"{speed:.0f}"}
            row |= {"mAP": f"{zero_shot_map(student.average, student.vocabulary, held_out):.2f}"}
            with log.open("a", newline="") as file:
                csv.DictWriter(file, COLUMNS).writerow(row)
            student.save()
            recent, since, mark = [], time.perf_counter(), student.samples
    progress.stop()


def distil(
    name: str,
    folder: Path,
    total: int,
    processes: int = 1,
    stages: tuple[Stage, ...] = STAGES,
    evaluate_every: int = 51_200,
    evaluated: int = 500,
) -> None:
    """Train to `total` samples with some processes, keeping pools, prompts, checkpoint and log in
    `folder`.

    The same command resumes. At the end the weights, their sha256 and the log are written into this
    package. Every `evaluate_every` samples the mAP on so many `evaluated` scenes, which are never
    trained on, goes into the log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for now in stages:
        if now.start < total:
            scene_pool(TEACHER[name], now, folder, processes)
    vocabulary = Vocabulary()
    read_prompts(TEACHER[name], vocabulary, folder)
    with tempfile.TemporaryDirectory() as meeting:
        arguments = (
            processes,
            f"{meeting}/processes",
            name,
            folder,
            total,
            stages,
            evaluate_every,
            evaluated,
        )
        spawn(_work, arguments, processes)
    average = torch.load(folder / f"{name}.pt", weights_only=True)["average"]
    ship(name, write_weights(weights_path(name), average, vocabulary.ids), folder / f"{name}.csv")
