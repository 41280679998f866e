"""Which epoch's state is kept: one recorded switch for every method, so that no plugin selects on
its own."""

import itertools
from dataclasses import dataclass
from weakref import WeakValueDictionary

import numpy as np
import torch

from benchmark import metrics
from benchmark.run.parts import World, predict
from benchmark.spec import JsonObject
from benchmark.task import Method, Run

# of this process; a method is handed the number, never the object
_at_work: "WeakValueDictionary[int, Selection]" = WeakValueDictionary()
_numbers = itertools.count()


@dataclass(frozen=True)
class Evaluate:
    """`run.evaluate` of a method: it names its selection by a number, because the selection holds
    the test labels and a method must not find a way to them in what it is handed."""

    number: int

    def __call__(self, method: Method) -> dict[str, float]:
        return _at_work[self.number].evaluate(method)


@dataclass(frozen=True)
class Keep:
    """`run.keep` of a method, see `Evaluate`."""

    number: int

    def __call__(self, epoch: int, method: Method, scalars: dict[str, float]) -> None:
        _at_work[self.number].keep(epoch, method, scalars)


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
        self.chosen: JsonObject = {}
        if rule == "val" and not len(world.val):
            raise ValueError(
                "Selection 'val' needs a validation part: raise the setting's val_fraction or use "
                "'last'."
            )
        self.number = next(_numbers)
        if rule != "last":
            _at_work[self.number] = self
            run.evaluate, run.keep = Evaluate(self.number), Keep(self.number)

    def evaluate(self, method: Method) -> dict[str, float]:
        """The scalars of an epoch, on the part that the rule names."""
        task, world = self.world.task, self.world
        if self.rule == "val":
            targets, scores = task.seen_y(task.val), predict(world, world.val, world.val.classes)
            groups = {name: group[task.seen] for name, group in task.groups.items()}
        else:
            targets, scores, groups = (
                task.test.y,
                predict(world, world.test, task.classes),
                task.groups,
            )
        return metrics.epoch_scalars(targets, scores, groups)

    def keep(self, epoch: int, method: Method, scalars: dict[str, float]) -> None:
        """Remembers the state of the best epoch so far."""
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
