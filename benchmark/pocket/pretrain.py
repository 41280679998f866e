"""Pretrain a pocket CLIP on rendered scenes: sigmoid loss against prompts of all classes, plus noisy captions.

A run has stages (STAGES). First a table of vectors stands in for the text tower, on small canvases with one object and
then with several: that is fast. Then the text tower is taught to say what the table says (pocket-RN) or a teacher's
text tower is taken over (pocket-ViT), and the CLIP is trained as a whole, with captions. Every batch is a pure function
of its number, so that a run can be stopped and resumed.
"""

from __future__ import annotations

import csv
import json
import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import nn
from tqdm import tqdm

from benchmark.pocket import FOLDER, captions, corpus, create, open_clip, towers, weights_path, write_weights
from benchmark.pocket.objectives import Table, losses, pixels_of, present
from benchmark.pocket.text import Vocabulary, adopt_text, teach_text

BATCH = 128
WARM_UP, DECAY = 60, {"pocket-RN": 1 / 3, "pocket-ViT": 1 / 10}  # steps of warm-up; part of the run that decays
WEIGHTS = {"plain": 1.0, "style": 1.0, "regions": 0.5, "captions": 0.5, "teacher": 10.0}
AVERAGING = 0.996  # of the exponential moving average of the weights, which is what ships


class Stage(NamedTuple):
    """From sample `start` on: canvas side, most objects, are prompts read by the text tower, learning rate."""

    start: int
    canvas: int
    most: int
    read: bool
    rate: float


STAGES = {
    "pocket-RN": (
        Stage(0, 32, 1, False, 2e-3),
        Stage(102_400, 64, 4, False, 2e-3),
        Stage(217_600, 64, 4, True, 2e-3),
        Stage(268_800, 96, 5, True, 2e-3),
    ),
    "pocket-ViT": (
        Stage(0, 32, 1, False, 1e-3),
        Stage(153_600, 64, 4, False, 1e-3),
        Stage(179_200, 32, 1, False, 1e-3),
        Stage(409_600, 64, 4, False, 1e-3),
        Stage(512_000, 64, 4, True, 1e-3),
        Stage(550_400, 32, 1, True, 1.5e-3),
        Stage(665_600, 64, 4, True, 1.5e-3),
        Stage(768_000, 96, 5, True, 1.5e-3),
    ),
}
TEACHERS = {"pocket-ViT": "pocket-RN"}  # from the first text stage on, text tower and image features are a teacher's
SAMPLES = {"pocket-RN": 326_400, "pocket-ViT": 780_800}
COLUMNS = ("samples", "canvas", "rate", *WEIGHTS, "scale", "images_per_second", "mAP")


def stage(name: str, samples: int) -> Stage:
    """The stage of a run after so many samples."""
    return [row for row in STAGES[name] if row.start <= samples][-1]


def learning_rate(name: str, samples: int, total: int) -> float:
    """The rate of the stage, with a linear warm-up and a linear decay to zero over the last DECAY of the run."""
    ramp = min(1.0, (samples / BATCH + 1) / WARM_UP, (1 - samples / total) / DECAY[name])
    return stage(name, samples).rate * ramp


def start_positions(visual: nn.Module) -> None:
    """Start the position embeddings of a ViT from sines and cosines of row and column.

    Neighbouring patches then look related from the first step on, which random embeddings have to learn cell by cell.
    """
    side, width = visual.grid_size[0], visual.positional_embedding.shape[1]
    frequency = torch.exp(-math.log(50) * torch.arange(width // 4) / (width // 4))
    angle = torch.arange(side)[:, None] * frequency  # (side, W / 4)
    wave = torch.cat([angle.sin(), angle.cos()], 1)  # (side, W / 2)
    grid = torch.cat([wave[:, None].expand(-1, side, -1), wave.expand(side, -1, -1)], -1)
    with torch.no_grad():
        visual.positional_embedding[1:] = grid.flatten(0, 1) * 0.25


@torch.no_grad()
def zero_shot_map(model: nn.Module, vocabulary: Vocabulary, scenes: list[corpus.Scene], table: Table | None) -> float:
    """Mean average precision in percent on scenes, of three plain prompts or of the table that stands in for them."""
    model.eval()
    prompts = [[p.format(c) for c in captions.CLASSES] for p in ("a photo of a {}.", "a picture of a {}.", "{}")]
    text = table() if table else sum(towers.text_features(model, vocabulary(prompt)) for prompt in prompts)
    chunks = [pixels_of(scenes[start : start + 100]) for start in range(0, len(scenes), 100)]
    images = torch.cat([towers.image_features(model.visual, chunk)[0] for chunk in chunks])
    model.train()
    return 100 * float(average_precision_score(present(scenes), (images @ text.T).numpy()))


class Trainer:
    """Model, moving average, optimiser and position of a pretraining run, and how to keep and resume them."""

    def __init__(self, name: str, folder: Path) -> None:
        torch.manual_seed(0)
        self.name, self.folder, self.samples = name, folder, 0
        self.vocabulary = Vocabulary()
        self.model, self.average = (open_clip.create_model(name) for _ in range(2))
        for model in (self.model, self.average):
            model.token_embedding = nn.Embedding(len(self.vocabulary.ids), model.token_embedding.embedding_dim)
            nn.init.normal_(model.token_embedding.weight, std=0.02)
        self.teacher = create(TEACHERS[name]) if name in TEACHERS else None
        self.table = Table(self.model.text_projection.shape[1])
        self.model.train()
        if hasattr(self.model.visual, "attnpool"):
            self.model.visual.to(memory_format=torch.channels_last)
        else:
            start_positions(self.model.visual)
        self.average.load_state_dict(self.model.state_dict())
        self.average.requires_grad_(False)
        parameters = [*self.model.parameters(), *self.table.parameters()]
        decayed, others = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.98), fused=True)
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint)
            self.samples = state["samples"]
            for key in ("model", "average", "table", "optimiser"):
                getattr(self, key).load_state_dict(state[key])

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{self.name}.pt"

    def save(self) -> None:
        """Write the checkpoint atomically and export the averaged weights."""
        state = {key: getattr(self, key).state_dict() for key in ("model", "average", "table", "optimiser")}
        torch.save({**state, "samples": self.samples}, self.checkpoint.with_suffix(".partial"))
        self.checkpoint.with_suffix(".partial").replace(self.checkpoint)

    def export(self, path: Path) -> str:
        """Write the averaged weights in float16, with the embeddings of occurring tokens only; returns the sha256."""
        return write_weights(path, self.average.state_dict(), self.vocabulary.ids)

    def step(self, total: int) -> dict[str, float]:
        """Train on the next batch and return its losses."""
        _, canvas, most, read, _ = stage(self.name, self.samples)
        if read and self.teacher and self.model.logit_scale.requires_grad:
            for model in (self.model, self.average):
                adopt_text(model, self.teacher, self.vocabulary)
        elif read and not self.teacher and not stage(self.name, self.samples - BATCH).read:
            teach_text(self.model, self.table, self.vocabulary)
            for key, value in self.model.state_dict().items():
                if not key.startswith(("visual", "logit_scale")):
                    self.average.state_dict()[key].copy_(value)
        numbers = range(self.samples, self.samples + BATCH)
        scenes = [corpus.pretraining_scene(number, canvas, most) for number in numbers]
        random = np.random.default_rng([7, self.samples])
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.name, self.samples, total)
        parts = losses(self.model, self.table, self.vocabulary, scenes, random, read, self.teacher if read else None)
        self.optimiser.zero_grad()
        sum(WEIGHTS[key] * value for key, value in parts.items()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))
            keep = min(AVERAGING, (self.samples / BATCH + 1) / (self.samples / BATCH + 10))
            for mean, value in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
                mean.lerp_(value, 1 - keep) if value.is_floating_point() else mean.copy_(value)
        self.samples += BATCH
        return {key: float(value.detach()) for key, value in parts.items()}


def pretrain(name: str, folder: Path, total: int, threads: int = 1, evaluate_every: int = 12_800) -> None:
    """Train to `total` samples, keeping checkpoint and log in `folder`; the same command resumes.

    At the end the weights, their sha256 and the log are written into this package.
    """
    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(name, folder)
    held_out = [corpus.pretraining_scene(corpus.HELD_OUT + i, 96, 5) for i in range(500)]
    log = folder / f"{name}.csv"
    if trainer.samples == 0:
        log.write_text(",".join(COLUMNS) + "\n")
    progress = tqdm(total=total, initial=trainer.samples, unit="scene", desc=name, mininterval=5)
    recent, since, mark = [], time.perf_counter(), trainer.samples
    while trainer.samples < total:
        now = stage(name, trainer.samples)
        recent.append(trainer.step(total))
        progress.update(BATCH)
        if trainer.samples // evaluate_every > (trainer.samples - BATCH) // evaluate_every or trainer.samples >= total:
            rate = (trainer.samples - mark) / (time.perf_counter() - since)
            row = {key: f"{np.mean([part[key] for part in recent]):.3f}" for key in WEIGHTS}
            row |= {"samples": trainer.samples, "canvas": now.canvas, "images_per_second": f"{rate:.0f}"}
            row |= {"rate": f"{learning_rate(name, trainer.samples - BATCH, total):.2e}"}
            row |= {"scale": f"{float(trainer.model.logit_scale.exp()):.2f}"}
            table = None if now.read else trainer.table
            row |= {"mAP": f"{zero_shot_map(trainer.average, trainer.vocabulary, held_out, table):.2f}"}
            with log.open("a", newline="") as file:
                csv.DictWriter(file, COLUMNS).writerow(row)
            trainer.save()
            trainer.export(folder / f"{name}.npz")
            recent, since, mark = [], time.perf_counter(), trainer.samples
    progress.close()
    ship(name, trainer.export(weights_path(name)), log)


def ship(name: str, sha256: str, log: Path) -> None:
    """Record the sha256 of exported weights and copy the log beside them."""
    record = FOLDER / "sha256.json"
    known = json.loads(record.read_text()) if record.exists() else {}
    record.write_text(json.dumps({**known, name: sha256}, indent=4, sort_keys=True) + "\n")
    (FOLDER / log.name).write_text(log.read_text())
