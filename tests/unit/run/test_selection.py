"""Which epoch counts, on a world without an encoder: scores are what the method says."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.run.selection import Selection
from benchmark.task import Criterion, Labels, Part, Run, Task, View

TAIL = np.array([False, False, False, True])
ROWS = 60


class Scripted:
    """Says the truth plus the noise of its state, apart for the tail."""

    def __init__(self, y: np.ndarray) -> None:
        self.y, self.noise = torch.from_numpy(y).float(), torch.zeros(2)

    def predict(self, clip: Any, x: torch.Tensor, classes: tuple[str, ...]) -> torch.Tensor:
        rows = x[:, 0].long()
        noise = torch.sin(1000.0 * (rows[:, None] + 1) * torch.arange(1, 5))
        return 3 * self.y[rows] + self.noise[torch.from_numpy(TAIL).long()] * noise

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"noise": self.noise}

    def load_state_dict(
        self, clip: Any, classes: tuple[str, ...], state: dict[str, torch.Tensor]
    ) -> None:
        self.noise = state["noise"]


@pytest.fixture
def world() -> SimpleNamespace:
    y = (np.random.default_rng(0).random((ROWS, 4)) < 0.4).astype(np.int8)
    labels = Labels(np.arange(ROWS), y)
    everything = np.ones(ROWS, bool)
    task = Task(
        dataset=SimpleNamespace(),  # type: ignore[arg-type]
        classes=tuple("abcd"),
        train=labels,
        val=labels,
        test=labels,
        seen=np.ones(4, bool),
        views={"all": View(everything, np.ones(4, bool)), "tail": View(everything, TAIL)},
        groups={"tail": TAIL},
        official=(
            Criterion("best_valid_mAP", "mAP_softmax_all", "all"),
            Criterion("best_valid_mAP_tail", "mAP_softmax_all", "tail", ("tail",)),
        ),
    )

    def stream(
        batches: Iterable[np.ndarray], augment: str, rng: np.random.Generator
    ) -> Iterator[torch.Tensor]:
        return (torch.from_numpy(batch[:, None]).float() for batch in batches)

    part = Part(task.classes, y, stream, np.random.default_rng(0), torch.device("cpu"))
    return SimpleNamespace(
        task=task, clip=None, method=Scripted(y), train=part, val=part, test=part
    )


# noise on head and tail classes in each epoch: the tail is best in 1, everything in 2
EPOCHS = ((9.0, 9.0), (2.5, 0.0), (0.0, 3.0), (2.0, 9.0))


def train(rule: str, world: SimpleNamespace, folder: Path) -> Selection:
    run = Run(seed=0, device=torch.device("cpu"), folder=folder)
    selection = Selection(rule, world, run)  # type: ignore[arg-type]
    for epoch, noise in enumerate(EPOCHS):
        world.method.noise = torch.tensor(noise)
        run.end_of_epoch(epoch, world.method)
    return selection


def test_the_tail_has_an_epoch_of_its_own(world: SimpleNamespace, tmp_path: Path) -> None:
    """LM-CLIP keeps best_valid_mAP.pt and best_valid_mAP_tail.pt, both by the softmax over all
    classes; the tail column is reported from the second."""
    selection = train("oracle", world, tmp_path)
    assert selection.chosen["best_valid_mAP"]["epoch"] == 2
    assert selection.chosen["best_valid_mAP_tail"]["epoch"] == 1
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"best_valid_mAP.pt", "best_valid_mAP_tail.pt"}
    selection.restore()
    assert world.method.noise.tolist() == pytest.approx(EPOCHS[2])
    seen = [(views, tuple(world.method.noise.tolist())) for views in selection.others()]
    assert seen == [(("tail",), EPOCHS[1])]
    assert world.method.noise.tolist() == pytest.approx(EPOCHS[2])  # the first is back


def test_val_has_one_criterion(world: SimpleNamespace, tmp_path: Path) -> None:
    """Published criteria look at test images: they belong to `oracle` alone."""
    selection = train("val", world, tmp_path)
    assert list(selection.chosen) == ["best_valid_mAP"] and not list(selection.others())
    assert not (tmp_path / "checkpoints").exists()
    assert "val/mAP" in selection.chosen["best_valid_mAP"]


def test_last_looks_at_nothing(world: SimpleNamespace, tmp_path: Path) -> None:
    selection = train("last", world, tmp_path)
    selection.restore()
    assert not selection.chosen and world.method.noise.tolist() == pytest.approx(EPOCHS[3])
