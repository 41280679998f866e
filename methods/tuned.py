"""Tuned: fits several candidates of another method and keeps the one that does best on the
validation part."""

import copy
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

import benchmark
from benchmark import ABSENT, PRESENT, Clip, Part, Run, registry
from benchmark.metrics import average_precision

BATCH = 100  # images a step of a prediction


@dataclass
class Method(benchmark.Method):
    """Hyper-parameters for each label ratio, data set and encoder, paid for by validation labels
    that a run has anyway.

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
        texts = registry.expand("methods", self.method)
        self.candidates = [self._make(name, parameters) for name, parameters in texts]
        self.best = self.candidates[0]
        varied = [key for key in texts[0][1] if len({repr(given[key]) for _, given in texts}) > 1]
        shown = [", ".join(f"{key}={given[key]!r}" for key in varied) for _, given in texts]
        self.names = [f"{texts[0][0]}({text})" if text else texts[0][0] for text in shown]
        for member in ("needs", "copies", "augment"):
            values = {getattr(candidate, member) for candidate in self.candidates}
            if len(values) > 1:
                raise ValueError(
                    f"tuned: the candidates of {self.method} differ in {member!r}, which decides "
                    f"what is served to them; tune them apart"
                )
        self.copies, self.augment = self.best.copies, self.best.augment

    def _make(self, name: str, parameters: registry.Parameters) -> benchmark.Method:
        known = registry.load("methods", name).PRESETS
        preset = self.inner_preset if self.inner_preset in known else ""
        return registry.make("methods", name, parameters, preset)

    @property
    def needs(self) -> str:
        """What the candidates need."""
        return self.candidates[0].needs

    @property
    def open_vocabulary(self) -> bool:
        """Whether all candidates can score unseen classes."""
        return all(candidate.open_vocabulary for candidate in self.candidates)

    def fit(self, clip: Clip, train: Part, val: Part, run: Run) -> None:
        """Raises `ValueError` where the validation part cannot tell candidates apart."""
        if not ((val.y == PRESENT).any() and (val.y == ABSENT).any()):
            raise ValueError(
                "tuned chooses by the mAP of the validation part, which needs known present and "
                "known absent labels there: raise the setting's val_fraction (val_shots), or let "
                "single_positive have val_labels='clean'"
            )
        nothing = replace(val, y=val.y[:0], x=None if val.x is None else val.x[:0], captions=())
        scores, seconds = [], []
        for number, candidate in enumerate(self.candidates):
            start = time.perf_counter()
            method = copy.deepcopy(candidate)
            self._fit_alone(method, clip, train, nothing, run, f"candidate{number}")
            found = [method.predict(clip, x, val.classes) for x, _ in val.batches(BATCH)]
            precision = average_precision(val.y, torch.cat(found).cpu().numpy())
            scores.append(100 * float(np.nanmean(precision)))
            seconds.append(time.perf_counter() - start)
            run.log(candidate=number, **{"val/mAP": scores[-1], "seconds": seconds[-1]})
        chosen = int(np.argmax(scores))
        run.trials = len(scores)
        self._choose(chosen)
        self._fit_alone(self.best, clip, train, val, run, "chosen")
        self.trainable_parameters = self.best.trainable_parameters
        rows = zip(self.names, scores, seconds, strict=True)
        run.chosen |= {
            "method": self.names[chosen],
            "candidates": {name: {"val/mAP": m, "seconds": round(s, 2)} for name, m, s in rows},
        }

    def _fit_alone(
        self, method: benchmark.Method, clip: Clip, train: Part, val: Part, run: Run, name: str
    ) -> None:
        """A fit with its own generators, log and scratch folder."""
        torch.manual_seed(run.seed)
        folder = run.scratch / name
        folder.mkdir()
        own = replace(train, rng=np.random.default_rng(run.seed))
        inner = Run(seed=run.seed, device=run.device, folder=folder)
        method.fit(clip, own, val, inner)
        if name == "chosen" and inner.chosen:
            run.chosen["by itself"] = inner.chosen

    def _choose(self, number: int) -> None:
        self.number, self.best = number, copy.deepcopy(self.candidates[number])

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
        rest = dict(state)
        self._choose(int(rest.pop("candidate")))
        self.best.load_state_dict(clip, classes, rest)
