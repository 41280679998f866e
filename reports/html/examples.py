"""Test images for the page: thumbnails, the truth, the top scores of every method, region weights
as heat maps."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.spec import JsonObject
from reports.columns import family_title
from reports.figures.style import Look
from reports.groups import SWEPT, Group, Line, Result
from reports.significance import Arrays, Significance

TOP = 6  # classes per image and method
MAPS = 4  # heat maps per image
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def examples(
    group: Group, significance: Significance, looks: Mapping[str, Look]
) -> JsonObject | None:
    """Up to 12 test images of a group at its middle level, one run (the lowest seed) per line; None
    without scores."""
    chosen: dict[Line, Result] = {}
    levels = sorted(group.levels, key=lambda v: abs((v or 0) - 0.5))
    for line in group.lines:
        for level in levels:
            usable = [r for _, r in sorted(group.done(line, level).items()) if r.has_scores]
            if usable and line not in chosen:
                chosen[line] = usable[0]
    if not chosen:
        return None
    first = next(iter(chosen.values()))
    task = significance.task(first)
    same = first.record["task"]["fingerprint"]
    chosen = {k: r for k, r in chosen.items() if r.record["task"]["fingerprint"] == same}
    number = min(12, len(task["thumbnails"]) if "thumbnails" in task else 0)
    if number == 0:
        return None
    images = [
        {
            "name": str(task["names"][i]),
            "picture": picture(task["thumbnails"][i]),
            "truth": np.flatnonzero(task["targets"][i] == 1).tolist(),
        }
        for i in range(number)
    ]
    return {
        "title": f"{family_title(group.family)}: {group.title}",
        "family": group.family,
        "dataset": group.dataset,
        "how": f"The first {number} images of the test part, in the data set's order; nobody chose "
        "them by their scores.",
        "classes": [str(name) for name in task["classes"]],
        "images": images,
        "lines": [_line(line, run, task, number, looks) for line, run in chosen.items()],
    }


def picture(pixels: NDArray[np.generic]) -> str:
    """A data address of an RGB image (H, W, 3) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _line(
    line: Line, result: Result, task: Arrays, number: int, looks: Mapping[str, Look]
) -> JsonObject:
    scores = result.store.scores(result.id)[:number]  # (n, C)
    top = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    rate = result.spec.setting.get(SWEPT, None)
    known = f"{100 * rate:g} % of the labels, " if isinstance(rate, float) else ""
    maps: list[object] = []
    found: JsonObject = {
        "label": line.text,
        "m": looks[line.method].index,
        "run": result.id,
        "what": f"{known}seed {result.spec.seed}",
        "top": [[[int(c), round(float(scores[i, c]), 3)] for c in top[i]] for i in range(number)],
        "maps": maps,
    }
    stored = _region_weights(result.folder / "examples.npz", scores.shape[1])
    if stored is not None:
        weights, grid = stored
        found["grid"] = grid
        regions = weights[:number, -grid[0] * grid[1] :]  # without the mean token that may lead
        for i in range(len(regions)):
            truth = np.flatnonzero(task["targets"][i] == 1)
            shown = list(dict.fromkeys([*truth.tolist(), *top[i].tolist()]))[:MAPS]
            maps.append([[int(c), _digits(regions[i, :, c])] for c in shown])
    return found


def _region_weights(path: Path, classes: int) -> tuple[NDArray[np.float32], tuple[int, int]] | None:
    """(n, R, C) weights and (h, w) of their grid; None where there are none, or a damaged file."""
    try:
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as stored:
            weights, (h, w) = stored["region_weights"].astype(np.float32), stored["grid"].tolist()
    # numpy and zipfile raise whatever a broken file leads to
    except Exception:
        return None
    fits = weights.ndim == 3 and weights.shape[1] >= h * w > 0 and weights.shape[2] == classes
    return (weights, (h, w)) if fits and np.isfinite(weights).all() else None


def _digits(weights: NDArray[np.float32]) -> str:
    """Weights (R,) as one letter each, 0 to z from the least to the largest."""
    low, high = float(weights.min()), float(weights.max())
    scaled = (weights - low) / (high - low) if high > low else np.zeros_like(weights)
    return "".join(DIGITS[int(v)] for v in np.round(scaled * (len(DIGITS) - 1)))
