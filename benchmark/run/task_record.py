"""The record's description of a task, and the test truth that is stored once beside the records for
later metrics."""

import functools
import hashlib
import json

import numpy as np

from benchmark.store import Store, TaskRecord
from benchmark.task import ABSENT, PRESENT, UNKNOWN, Task

EXAMPLES = 12  # test images kept as thumbnails for the report


def describe_task(task: Task, store: Store) -> TaskRecord:
    """The record's "task"; stores the test truth once in `tasks/<fingerprint>.npz` for the
    report."""
    known = np.concatenate([task.train.y, task.val.y])[:, task.seen]
    positives, negatives = np.zeros(len(task.classes), int), np.zeros(len(task.classes), int)
    positives[task.seen], negatives[task.seen] = (known == PRESENT).sum(0), (known == ABSENT).sum(0)
    truth = hashlib.sha256(
        task.test.y.tobytes() + json.dumps([task.classes, sorted(task.views)]).encode()
    )
    truth.update(task.dataset.fingerprint().encode() + task.test.rows.tobytes())
    for view in task.views.values():
        truth.update(view.rows.tobytes() + view.columns.tobytes())
    masked = hashlib.sha256()
    for labels in (task.train, task.val):
        masked.update(labels.rows.tobytes() + labels.y.tobytes())
    fingerprint = truth.hexdigest()[:16]
    store.write_task(fingerprint, functools.partial(_truth_arrays, task))
    return {
        "n_train": len(task.train.y),
        "n_val": len(task.val.y),
        "n_test": len(task.test.y),
        "n_classes": len(task.classes),
        "known_rate": float((known != UNKNOWN).mean()) if known.size else 0.0,
        "known_positives": positives.tolist(),
        "known_negatives": negatives.tolist(),
        "images_without_known_label": int((known == UNKNOWN).all(1).sum()),
        "fingerprint": fingerprint,
        "labels": masked.hexdigest()[:16],
        "views": {
            n: {"rows": int(v.rows.sum()), "columns": int(v.columns.sum())}
            for n, v in task.views.items()
        },
        "classes": list(task.classes),
        "groups": {
            name: [int(i) for i in np.flatnonzero(group)] for name, group in task.groups.items()
        },
        "prevalence": 100
        * float(
            np.mean([(c == PRESENT).sum() / max((c != UNKNOWN).sum(), 1) for c in task.test.y.T])
        ),
        "notes": task.dataset.notes,
    }


def _truth_arrays(task: Task) -> dict[str, np.ndarray]:
    thumbnails = [
        np.asarray(task.dataset.open(int(r)).resize((64, 64))) for r in task.test.rows[:EXAMPLES]
    ]
    arrays = {
        "targets": task.test.y,
        "classes": np.array(task.classes),
        "names": np.array([task.dataset.names[row] for row in task.test.rows]),
        "thumbnails": np.stack(thumbnails).astype(np.uint8),
        "views": np.array(list(task.views)),
        "groups": np.array(list(task.groups), dtype=str),
    }
    for name, view in task.views.items():
        arrays[f"view_rows/{name}"], arrays[f"view_columns/{name}"] = view.rows, view.columns
    for name, group in task.groups.items():
        arrays[f"group/{name}"] = group
    return arrays
