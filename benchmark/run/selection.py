"""Which epoch's state is kept: one recorded switch for every method, so that no plugin selects on
its own."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakValueDictionary

import numpy as np
import torch

from benchmark import metrics
from benchmark.run.parts import World, predict
from benchmark.spec import JsonObject
from benchmark.task import Criterion, Method, Run

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
    """Which epoch's state is kept: `last`, `val` (masked validation mAP), `oracle` (on test, never
    ranked).

    `oracle` reproduces the official repositories, which choose on their test images: by the
    criteria of the task, each with an epoch of its own for the views that it is meant for, each
    kept as `checkpoints/<name>.pt`. LM-CLIP: the mAP of the softmax over all classes, the tail
    column from the epoch with the best tail. DualCoOp's zero-shot script: F1@3, apart for unseen
    and for all classes. Elsewhere: the mAP of the headline.
    """

    def __init__(self, rule: str, world: World, run: Run):
        self.rule, self.world, self.run = rule, world, run
        headline = next(iter(world.task.views))
        everywhere = Criterion("best_valid_mAP", "mAP", headline)
        official = world.task.official if rule == "oracle" else ()
        self.criteria = official or (everywhere,)
        self.best: dict[str, float] = {}
        self.states: dict[str, dict[str, torch.Tensor]] = {}
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
        """The scalars of an epoch on the part that the rule names: "val/mAP", "test/mAP" …, and
        for `oracle` the value of each criterion, as "test/" and the name of its checkpoint."""
        task, world = self.world.task, self.world
        if self.rule == "val":
            targets, scores = task.seen_y(task.val), predict(world, world.val, world.val.classes)
            groups = {name: group[task.seen] for name, group in task.groups.items()}
            return metrics.epoch_scalars(targets, scores, groups, "val")
        targets, scores = task.test.y, predict(world, world.test, task.classes)
        values = {
            f"test/{c.name}": metrics.official_criterion(
                c.metric, targets, scores, task.views[c.on]
            )
            for c in self.criteria
        }
        return {**metrics.epoch_scalars(targets, scores, task.groups, "test"), **values}

    def keep(self, epoch: int, method: Method, scalars: dict[str, float]) -> None:
        """Remembers the state of the best epoch so far, for each criterion."""
        for name in (criterion.name for criterion in self.criteria):
            value = scalars["val/mAP" if self.rule == "val" else f"test/{name}"]
            if not value > self.best.get(name, -np.inf):
                continue
            self.best[name] = value
            self.chosen[name] = {"epoch": epoch, **scalars}
            self.states[name] = {
                key: tensor.detach().cpu().clone() for key, tensor in method.state_dict().items()
            }
            if self.rule == "oracle":
                (self.run.folder / "checkpoints").mkdir(exist_ok=True)
                torch.save(self.states[name], self.run.folder / "checkpoints" / f"{name}.pt")

    def restore(self, name: str = "") -> None:
        """Puts a kept state back into the method, by default that of the first criterion; nothing
        to do for `last` or a method without epochs."""
        state = self.states.get(name or self.criteria[0].name)
        if state is not None:
            self.world.method.load_state_dict(self.world.clip, self.world.train.classes, state)

    def others(self) -> Iterator[tuple[str, ...]]:
        """The views that are reported from an epoch of their own, while that epoch's state is in
        the method; afterwards the first criterion's is back."""
        for criterion in self.criteria[1:]:
            if criterion.name in self.states:
                self.restore(criterion.name)
                yield criterion.views
        self.restore()
