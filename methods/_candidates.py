"""The candidates of a search over another method's hyper-parameters."""

import copy
from dataclasses import replace

import numpy as np
import torch

import benchmark
from benchmark import ABSENT, PRESENT, Clip, Part, Run, registry
from benchmark.metrics import average_precision

BATCH = 100  # images a step of a prediction


def parse_candidates(text: str, preset: str) -> dict[str, benchmark.Method]:
    """Name -> method, in the order of the lists of a text as on the command line; `preset` where
    the method has it. Raises `ValueError` where they would be served different inputs."""
    texts = registry.expand("methods", text)
    varied = [key for key in texts[0][1] if len({repr(given[key]) for _, given in texts}) > 1]
    found: dict[str, benchmark.Method] = {}
    for name, parameters in texts:
        shown = ", ".join(f"{key}={parameters[key]!r}" for key in varied)
        chosen = preset if preset in registry.load("methods", name).PRESETS else ""
        method = registry.make("methods", name, parameters, chosen)
        found[f"{name}({shown})" if shown else name] = method
    for member in ("needs", "copies", "augment"):
        if len({getattr(candidate, member) for candidate in found.values()}) > 1:
            raise ValueError(
                f"tuned: the candidates of {text} differ in {member!r}, which decides what is "
                f"served to them; tune them apart"
            )
    return found


def fit_alone(
    method: benchmark.Method, clip: Clip, train: Part, val: Part, run: Run, name: str
) -> Run:
    """Fits with generators, log and scratch folder of its own, as if by itself; returns its run."""
    torch.manual_seed(run.seed)
    folder = run.scratch / name
    folder.mkdir()
    inner = Run(seed=run.seed, device=run.device, folder=folder)
    method.fit(clip, replace(train, rng=np.random.default_rng(run.seed)), val, inner)
    return inner


def validation_map(
    candidate: benchmark.Method, clip: Clip, train: Part, val: Part, run: Run, name: str
) -> float:
    """Masked mAP in percent of the validation part, which a copy of the candidate does not see."""
    none_of_x = val.features[:0] if candidate.needs == "global" else None
    nothing = replace(val, y=val.y[:0], x=none_of_x, captions=())
    method = copy.deepcopy(candidate)
    fit_alone(method, clip, train, nothing, run, name)
    scores = [method.predict(clip, x, val.classes) for x, _ in val.batches(BATCH)]
    precision = average_precision(val.y, torch.cat(scores).cpu().numpy())
    return 100 * float(np.nanmean(precision))


def require_labels(val: Part) -> None:
    """Raises `ValueError` where the validation part cannot tell candidates apart."""
    if not ((val.y == PRESENT).any() and (val.y == ABSENT).any()):
        raise ValueError(
            "tuned chooses by the mAP of the validation part, which needs known present and known "
            "absent labels there: raise the setting's val_fraction (val_shots), or let "
            "single_positive have val_labels='clean'"
        )
