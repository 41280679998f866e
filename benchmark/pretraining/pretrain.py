"""Pretrain pocket-RN on rendered scenes: sigmoid loss against prompts of all classes, plus noisy
captions.

The run has stages (STAGES). First a table of vectors stands in for the text tower, on small
canvases with one object and then with several: that is fast. Then the text tower is taught to say
what the table says, and the CLIP is trained as a whole, with captions. Every batch is a pure
function of its number, so that a run can be stopped and resumed.
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
from rich.progress import Progress
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from benchmark.clip.open_clip_types import Model
from benchmark.clip.pocket import FOLDER, open_clip, weights_path, write_weights
from benchmark.pretraining import captions, corpus, towers
from benchmark.pretraining.checkpoint import Resumable
from benchmark.pretraining.objectives import Table, losses, pixels_of, present
from benchmark.pretraining.text import Vocabulary, teach_text
from benchmark.spec import JsonObject

BATCH = 128
# steps of warm-up; part of the run in which the learning rate falls to zero
WARM_UP, DECAY = 60, 1 / 3
WEIGHTS = {"plain": 1.0, "style": 1.0, "regions": 0.5, "captions": 0.5}
AVERAGING = 0.996  # of the exponential moving average of the weights, which is what ships


class Stage(NamedTuple):
    """From sample `start` on: canvas side, most objects, are prompts read by the text tower,
    learning rate."""

    start: int
    canvas: int
    most: int
    read: bool
    rate: float


STAGES = (
    Stage(0, 32, 1, False, 2e-3),
    Stage(102_400, 64, 4, False, 2e-3),
    Stage(217_600, 64, 4, True, 2e-3),
    Stage(268_800, 96, 5, True, 2e-3),
)
SAMPLES = 326_400
COLUMNS = ("samples", "canvas", "rate", *WEIGHTS, "scale", "images_per_second", "mAP")


def stage(samples: int) -> Stage:
    """The stage of the run after so many samples."""
    return [row for row in STAGES if row.start <= samples][-1]


def learning_rate(samples: int, total: int) -> float:
    """The rate of the stage, with a linear warm-up and a linear decay to zero over the last DECAY
    of the run."""
    ramp = min(1.0, (samples / BATCH + 1) / WARM_UP, (1 - samples / total) / DECAY)
    return stage(samples).rate * ramp


def parameter_groups(parameters: list[nn.Parameter]) -> list[JsonObject]:
    """Parameters as an optimiser takes them: matrices decay, vectors and scalars do not."""
    decayed, others = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, step: int) -> None:
    """Move the moving average of a model's weights towards them, faster in the first steps."""
    keep = min(AVERAGING, (step + 1) / (step + 10))
    for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        mean.lerp_(value, 1 - keep) if value.is_floating_point() else mean.copy_(value)


@torch.no_grad()
def zero_shot_map(
    model: Model, vocabulary: Vocabulary, scenes: list[corpus.Scene], table: Table | None = None
) -> float:
    """Mean average precision in percent on scenes, of three plain prompts or of the table that
    stands in for them."""
    model.eval()
    prompts = [
        [p.format(c) for c in captions.CLASSES]
        for p in ("a photo of a {}.", "a picture of a {}.", "{}")
    ]
    if table:
        text: Tensor = table()
    else:
        read = (towers.text_features(model, vocabulary(prompt)) for prompt in prompts)
        text = sum(read, start=torch.zeros(()))
    chunks = [pixels_of(scenes[start : start + 100]) for start in range(0, len(scenes), 100)]
    images = torch.cat([towers.image_features(model.visual, chunk)[0] for chunk in chunks])
    model.train()
    return 100 * float(average_precision_score(present(scenes), (images @ text.T).numpy()))


class Trainer(Resumable):
    """Model, moving average, optimiser and position of a pretraining run."""

    KEPT = ("model", "average", "table", "optimiser")

    def __init__(self, name: str, folder: Path) -> None:
        torch.manual_seed(0)
        self.name, self.folder, self.samples = name, folder, 0
        self.vocabulary = Vocabulary()
        self.model, self.average = (open_clip.create_model(name) for _ in range(2))
        for model in (self.model, self.average):
            model.token_embedding = nn.Embedding(
                len(self.vocabulary.ids), model.token_embedding.embedding_dim
            )
            nn.init.normal_(model.token_embedding.weight, std=0.02)
        self.table = Table(self.model.text_projection.shape[1])
        self.model.train()
        self.model.visual.to(memory_format=torch.channels_last)
        self.average.load_state_dict(self.model.state_dict())
        self.average.requires_grad_(False)
        groups = parameter_groups([*self.model.parameters(), *self.table.parameters()])
        self.optimiser = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.98), fused=True)
        self.resume()

    def export(self, path: Path) -> str:
        """Write the averaged weights in float16, with the embeddings of occurring tokens only;
        returns the sha256."""
        return write_weights(path, self.average.state_dict(), self.vocabulary.ids)

    def step(self, total: int) -> dict[str, float]:
        """Train on the next batch and return its losses."""
        _, canvas, most, read, _ = stage(self.samples)
        if read and not stage(self.samples - BATCH).read:
            teach_text(self.model, self.table, self.vocabulary)
            for key, value in self.model.state_dict().items():
                if not key.startswith(("visual", "logit_scale")):
                    self.average.state_dict()[key].copy_(value)
        numbers = range(self.samples, self.samples + BATCH)
        scenes = [corpus.pretraining_scene(number, canvas, most) for number in numbers]
        random = np.random.default_rng([7, self.samples])
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.samples, total)
        parts = losses(self.model, self.table, self.vocabulary, scenes, random, read)
        self.optimiser.zero_grad()
        total_loss = sum(
            (WEIGHTS[key] * value for key, value in parts.items()), start=torch.zeros(())
        )
        total_loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))
        update_average(self.average, self.model, self.samples // BATCH)
        self.samples += BATCH
        return {key: float(value.detach()) for key, value in parts.items()}


def pretrain(
    name: str, folder: Path, total: int, threads: int = 1, evaluate_every: int = 12_800
) -> None:
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
    progress = Progress()
    progress.start()
    scenes = progress.add_task(f"{name}, scenes", total=total, completed=trainer.samples)
    recent: list[dict[str, float]] = []
    since, mark = time.perf_counter(), trainer.samples
    while trainer.samples < total:
        now = stage(trainer.samples)
        recent.append(trainer.step(total))
        progress.advance(scenes, BATCH)
        if (
            trainer.samples // evaluate_every > (trainer.samples - BATCH) // evaluate_every
            or trainer.samples >= total
        ):
            rate = (trainer.samples - mark) / (time.perf_counter() - since)
            row = {key: f"{np.mean([part[key] for part in recent]):.3f}" for key in WEIGHTS}
            row |= {
                "samples": f"{trainer.samples}",
                "canvas": f"{now.canvas}",
                "images_per_second": f"{rate:.0f}",
            }
            row |= {"rate": f"{learning_rate(trainer.samples - BATCH, total):.2e}"}
            row |= {"scale": f"{float(trainer.model.logit_scale.detach().exp()):.2f}"}
            table = None if now.read else trainer.table
            row |= {
                "mAP": f"{zero_shot_map(trainer.average, trainer.vocabulary, held_out, table):.2f}"
            }
            with log.open("a", newline="") as file:
                csv.DictWriter(file, COLUMNS).writerow(row)
            trainer.save()
            trainer.export(folder / f"{name}.npz")
            recent, since, mark = [], time.perf_counter(), trainer.samples
    progress.stop()
    ship(name, trainer.export(weights_path(name)), log)


def ship(name: str, sha256: str, log: Path) -> None:
    """Record the sha256 of exported weights and copy the log beside them."""
    record = FOLDER / "sha256.json"
    known = json.loads(record.read_text()) if record.exists() else {}
    record.write_text(json.dumps({**known, name: sha256}, indent=4, sort_keys=True) + "\n")
    (FOLDER / log.name).write_text(log.read_text())
