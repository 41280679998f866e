"""Tuned: fits several candidates of another method and keeps the one that does best on the
validation part."""

import copy
import time
from dataclasses import dataclass

import torch
from torch import Tensor

import benchmark
from benchmark import Clip, Part, Run
from methods._candidates import fit_alone, parse_candidates, require_labels, validation_map


@dataclass
class Method(benchmark.Method):
    """Hyper-parameters for each label ratio and data set, chosen by the run's validation labels.

    `method` is a method as on the command line; its lists are the candidates:
    `tuned(method=dualcoop(learning_rate=[.001, .01], loss_weight=[.01, .03, .1]))`. Each candidate
    is fitted on the training part alone, from the same seed, to its last epoch, and scored by the
    masked mAP of the validation part, which it does not see. The best one, of equally good ones the
    first, is then fitted once more as it would be by itself, where it may use that part.
    `run.chosen` names it and every candidate's mAP and seconds, `run.trials` counts them, and the
    cost of the record holds all of it. `inner_preset` is the preset that candidates start from,
    where they have it; the plan sets it to the one that the method would take by itself.
    """

    method: str = "linear_probe(C=[0.01, 0.1, 1.0])"
    inner_preset: str = ""
    preset: str = ""

    def __post_init__(self) -> None:
        self.candidates = parse_candidates(self.method, self.inner_preset)
        self._choose(0)

    @property
    def needs(self) -> str:
        """What the candidates need."""
        return self.best.needs

    @property
    def open_vocabulary(self) -> bool:
        """Whether all candidates can score unseen classes."""
        return all(candidate.open_vocabulary for candidate in self.candidates.values())

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Raises `ValueError` where the validation part cannot tell candidates apart."""
        require_labels(val)
        found = {}
        for number, (name, candidate) in enumerate(self.candidates.items()):
            start = time.perf_counter()
            score = validation_map(candidate, clip, train, val, run, f"candidate{number}")
            found[name] = {"val/mAP": score, "seconds": round(time.perf_counter() - start, 2)}
            run.log(candidate=number, **found[name])
        run.trials = len(found)
        self._choose(max(range(len(found)), key=lambda i: [*found.values()][i]["val/mAP"]))
        inner = fit_alone(self.best, clip, train, val, run, "chosen")
        self.trainable_parameters = self.best.trainable_parameters
        run.chosen |= {"method": [*found][self.number], "candidates": found}
        run.chosen |= {"by itself": inner.chosen} if inner.chosen else {}

    def _choose(self, number: int) -> None:
        self.number, self.best = number, copy.deepcopy([*self.candidates.values()][number])
        self.copies, self.augment = self.best.copies, self.best.augment

    def predict(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor:
        """As the chosen candidate."""
        return self.best.predict(clip, x, classes)

    def region_weights(self, clip: Clip, x: Tensor, classes: tuple[str, ...]) -> Tensor | None:
        """As the chosen candidate."""
        return self.best.region_weights(clip, x, classes)

    def image_features(self, clip: Clip, x: Tensor) -> Tensor | None:
        """As the chosen candidate."""
        return self.best.image_features(clip, x)

    def state_dict(self) -> dict[str, Tensor]:
        """The state of the chosen candidate, and its number."""
        return {"candidate": torch.tensor(self.number), **self.best.state_dict()}

    def load_state_dict(
        self, clip: Clip, classes: tuple[str, ...], state: dict[str, Tensor]
    ) -> None:
        """The inverse."""
        self._choose(int(state["candidate"]))
        self.best.load_state_dict(clip, classes, {k: state[k] for k in state if k != "candidate"})
