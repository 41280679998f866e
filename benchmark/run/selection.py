"""Which epoch's state is kept: one recorded switch for every method, so that no plugin selects on
its own."""

from typing import Any

import numpy as np
import torch

from benchmark import metrics
from benchmark.run.parts import World, predict
from benchmark.task import Run


class Selection:
    """Which epoch's state is kept: `last`, `val` (masked validation mAP), `oracle` (test mAP, never
    ranked).

    `oracle` reproduces the official repositories: it also writes `checkpoints/best_valid_mAP.pt`
    and, where the task has a tail, `best_valid_mAP_tail.pt` (LM-CLIP's names), each from its own
    best epoch.
    """

    def __init__(self, rule: str, world: World, run: Run):
        self.rule, self.world, self.run = rule, world, run
        self.best: dict[str, float] = {}
        self.state: dict[str, torch.Tensor] | None = None
        self.chosen: dict[str, Any] = {}
        self.evaluate = None if rule == "last" else self._evaluate
        self.keep = None if rule == "last" else self._keep
        if rule == "val" and not len(world.val):
            raise ValueError(
                "Selection 'val' needs a validation part: raise the setting's val_fraction or use "
                "'last'."
            )

    def _evaluate(self, method: Any) -> dict[str, float]:
        task, world = self.world.task, self.world
        if self.rule == "val":
            targets, scores = task.val.y[:, task.seen], predict(world, world.val, world.val.classes)
            groups = {name: group[task.seen] for name, group in task.groups.items()}
        else:
            targets, scores, groups = (
                task.test.y,
                predict(world, world.test, task.classes),
                task.groups,
            )
        return metrics.epoch_scalars(targets, scores, groups)

    def _keep(self, epoch: int, method: Any, scalars: dict[str, float]) -> None:
        for tag in ("val/mAP", "val/mAP_tail"):
            if tag not in scalars or scalars[tag] <= self.best.get(tag, -np.inf):
                continue
            self.best[tag] = scalars[tag]
            name = f"best_valid_{tag.partition('/')[2]}"
            self.chosen[name] = {"epoch": epoch, **scalars}
            state = {
                key: value.detach().cpu().clone() for key, value in method.state_dict().items()
            }
            if self.rule == "oracle":
                (self.run.folder / "checkpoints").mkdir(exist_ok=True)
                torch.save(state, self.run.folder / "checkpoints" / f"{name}.pt")
            if tag == "val/mAP":
                self.state = state

    def restore(self) -> None:
        """Puts the kept state back into the method; nothing to do for `last` or a method without
        epochs."""
        if self.state is not None:
            self.world.method.load_state_dict(self.world.clip, self.world.train.classes, self.state)
