"""Test images for the page: thumbnails, the truth, the top scores of every method, region weights
as heat maps."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from reports.figures.style import Look
from reports.groups import Entry, Group
from reports.significance import Significance

TOP = 6  # classes per image and method
MAPS = 4  # heat maps per image
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def examples(
    group: Group, significance: Significance, looks: dict[str, Look]
) -> dict[str, Any] | None:
    """Up to 12 test images of a group at its middle level, one run (the lowest seed) per line; None
    without scores."""
    chosen: dict[tuple[str, str], Entry] = {}
    levels = sorted(group.levels, key=lambda v: abs((v or 0) - 0.5))
    for line in group.lines:
        for level in levels:
            usable = [e for _, e in sorted(group.done(line, level).items()) if e.has_scores]
            if usable and line not in chosen:
                chosen[line] = usable[0]
    if not chosen:
        return None
    first = next(iter(chosen.values()))
    task = significance.task(first)
    chosen = {
        k: e
        for k, e in chosen.items()
        if e.record["task"]["fingerprint"] == first.record["task"]["fingerprint"]
    }
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
        "title": f"{group.family}: {group.title}",
        "family": group.family,
        "dataset": group.dataset,
        "classes": [str(name) for name in task["classes"]],
        "images": images,
        "lines": [_line(line, entry, task, number, looks) for line, entry in chosen.items()],
    }


def picture(pixels: np.ndarray) -> str:
    """A data address of an RGB image (H, W, 3) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _line(
    line: tuple[str, str], entry: Entry, task: dict, number: int, looks: dict[str, Look]
) -> dict[str, Any]:
    scores = entry.store.scores(entry.id)[:number]  # (n, C)
    top = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    found = {
        "label": line[1] if line[0] == "last" else f"{line[1]} ({line[0]})",
        "m": looks[line[1]].index,
        "run": entry.id,
        "level": entry.spec.setting.get("known", None),
        "top": [[[int(c), round(float(scores[i, c]), 3)] for c in top[i]] for i in range(number)],
        "maps": [],
    }
    path = entry.store.folder(entry.id) / "examples.npz"
    if path.is_file():
        with np.load(path) as stored:
            weights, grid = stored["region_weights"].astype(np.float32), stored["grid"].tolist()
        found["grid"] = grid
        regions = weights[:number, -grid[0] * grid[1] :]  # without the mean token that may lead
        for i in range(len(regions)):
            truth = np.flatnonzero(task["targets"][i] == 1)
            shown = list(dict.fromkeys([*truth.tolist(), *top[i].tolist()]))[:MAPS]
            found["maps"].append([[int(c), _digits(regions[i, :, c])] for c in shown])
    return found


def _digits(weights: np.ndarray) -> str:
    """Weights (R,) as one letter each, 0 to z from the least to the largest."""
    low, high = float(weights.min()), float(weights.max())
    scaled = (weights - low) / (high - low) if high > low else np.zeros_like(weights)
    return "".join(DIGITS[int(v)] for v in np.round(scaled * (len(DIGITS) - 1)))
