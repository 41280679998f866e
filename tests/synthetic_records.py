"""Result folders of any size without running anything: plausible scores, real metrics, failures,
hostile text.

python tests/synthetic_records.py OUT [PICTURES]     about 500 runs to look at a report of a full
sweep
"""

import json
import sys
from pathlib import Path

import numpy as np

from benchmark.metrics import average_precision, precision_recall_f1_at_k
from benchmark.registry import run_id
from benchmark.store import Store, empty_record
from benchmark.task import seed_for

METHODS = {
    "zero_shot_clip": (0.9, {"template": "a photo of a {}."}),
    "linear_probe": (1.1, {"penalty": 1.0}),
    "coop": (1.3, {"context_length": 16, "epochs": 50}),
    "dualcoop": (1.5, {"context_length": 16, "epochs": 50}),
    "lm_clip": (1.47, {"epochs": 30}),
}
CLASSES = [
    "anchor",
    "umbrella",
    "snowman",
    "airplane",
    "scissors",
    "house",
    "cat",
    "skull",
    "key",
    "coffee",
]
HOSTILE = {
    "tag": "<script>alert('x')</script>",
    "quotes": 'it\'s "quoted" & 100%_csc&co\\',
    "long": "long_" + "x" * 10_000,
    "rtl": "שלום עולם مرحبا",
    "address": "https://example.org/?a=1",
}


def specification(method, setting, seed=0, selection="last", encoder="pocket-RN", **parameters):
    """A run's description as the registry would make it."""
    return {
        "method": {"name": method, **METHODS.get(method, (1, {}))[1], **parameters},
        "setting": setting,
        "encoder": {
            "name": encoder,
            "weights": "" if encoder.startswith("pocket") else "openai",
            "image_size": 64 if encoder.startswith("pocket") else 224,
            "resize": "squash",
            "statistics": "clip",
        },
        "selection": selection,
        "seed": seed,
    }


def partial(known, dataset="pictograms"):
    """The description of a partial-label setting."""
    return {
        "name": "partial",
        "dataset": dataset,
        "known": known,
        "mask": "nested",
        "val_fraction": 0.1,
    }


ZERO_SHOT = {"name": "zero_shot", "dataset": "pictograms65", "known": 1.0, "val_fraction": 0.1}
LONG_TAIL = {"name": "long_tail", "dataset": "pictograms_lt", "known": 1.0, "val_fraction": 0.1}


def make_task(setting, images, classes, store):
    """Truth and views of a setting; the same for every seed and label rate. Returns (fingerprint,
    arrays)."""
    rng = np.random.default_rng(seed_for("truth", setting["name"], setting["dataset"], images))
    targets = (rng.random((images, len(classes))) < rng.uniform(0.08, 0.3, len(classes))).astype(
        np.int8
    )
    half = np.arange(len(classes)) < len(classes) // 2
    views, groups = {"all": np.ones(len(classes), bool)}, {}
    if setting["name"] == "zero_shot":
        views = {"zsl": ~half, "gzsl": views["all"], "seen": half, "unseen": ~half}
        groups = {"seen": half, "unseen": ~half}
    if setting["name"] == "long_tail":
        third = np.arange(len(classes)) * 3 // len(classes)
        groups = {name: third == k for k, name in enumerate(("head", "medium", "tail"))}
        views |= groups
    thumbnails = (
        rng.integers(0, 255, (8, 4, 4, 3)).astype(np.uint8).repeat(16, axis=1).repeat(16, axis=2)
    )
    arrays = {
        "targets": targets,
        "classes": np.array(classes),
        "names": np.array([f"scene {i}" for i in range(images)]),
        "thumbnails": thumbnails,
        "views": np.array(list(views)),
        "groups": np.array(list(groups), dtype=str),
        **{f"view_rows/{name}": np.ones(images, bool) for name in views},
        **{f"view_columns/{name}": columns for name, columns in views.items()},
        **{f"group/{name}": columns for name, columns in groups.items()},
    }
    fingerprint = f"{seed_for(setting['name'], setting['dataset'], images, *classes):016x}"
    store.write_task(fingerprint, arrays)
    return fingerprint, arrays


def write_run(out, spec, images=120, classes=CLASSES, status="done", error=None, examples=False):
    """Writes one run and returns its id."""
    store, setting = Store(out), spec["setting"]
    record = empty_record(run_id(spec), spec, status)
    folder = store.folder(record["id"])
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint, arrays = make_task(setting, images, classes, store)
    record["provenance"] = {
        "git": "0123abc",
        "versions": {"torch": "2.13"},
        "host": "test",
        "start": "",
        "end": "",
    }
    if status != "done":
        record["error"] = error or {
            "type": "ValueError",
            "message": "diverged",
            "log": "Traceback\nValueError: diverged",
        }
        store.write(record)
        return record["id"]
    scores = _scores(spec, arrays["targets"])
    positives = np.round(np.geomspace(200, 4, len(classes)) * setting["known"]).astype(int)
    record["task"] = {
        "n_train": 400,
        "n_val": 40,
        "n_test": images,
        "n_classes": len(classes),
        "known_rate": setting["known"] * 0.998,
        "known_positives": positives.tolist(),
        "known_negatives": (positives * 5).tolist(),
        "images_without_known_label": 3,
        "fingerprint": fingerprint,
        "classes": list(classes),
        "groups": {
            name: np.flatnonzero(arrays[f"group/{name}"]).tolist() for name in arrays["groups"]
        },
        "views": {
            name: {"rows": images, "columns": int(arrays[f"view_columns/{name}"].sum())}
            for name in arrays["views"]
        },
        "prevalence": 100 * float(arrays["targets"].mean()),
        "notes": {},
    }
    precision = 100 * average_precision(arrays["targets"], scores)
    for name in arrays["views"]:
        columns = arrays[f"view_columns/{name}"]
        record["metrics"][name] = {"mAP": float(np.nanmean(precision[columns]))}
        for k in (3, 5):
            found = precision_recall_f1_at_k(arrays["targets"][:, columns], scores[:, columns], k)
            record["metrics"][name] |= {f"{metric}@{k}": value for metric, value in found.items()}
    record["per_class"] = {"AP": precision.tolist()}
    skill = METHODS.get(spec["method"]["name"], (1, {}))[0]
    record["cost"] = {
        "feature_s": 1.0,
        "fit_s": 3.0 * skill**8,
        "predict_s": 0.1,
        "peak_ram_mb": 700.0,
        "trainable_parameters": int(1000 * skill**9),
        "device": "cpu",
    }
    record["trials"] = 1
    rows = [f"{epoch},{2 / (epoch + 1):.4f},{80 - 30 / (epoch + 1):.3f}" for epoch in range(50)]
    (folder / "history.csv").write_text("\n".join(["epoch,train/loss,val/mAP", *rows]))
    (folder / "log.txt").write_text("epoch 49: done\n")
    if examples:
        weights = np.random.default_rng(0).random((8, 10, len(classes))).astype(np.float16)
        np.savez_compressed(folder / "examples.npz", region_weights=weights, grid=np.array([3, 3]))
    store.write(record, scores)
    return record["id"]


def _scores(spec, targets):
    """Scores whose quality depends on the method and on the known labels; errors are shared between
    methods."""
    shared = np.random.default_rng(1).normal(size=targets.shape)
    own = np.random.default_rng(seed_for(json.dumps(spec, sort_keys=True))).normal(
        size=targets.shape
    )
    skill = METHODS.get(spec["method"]["name"], (1.2, {}))[0]
    if spec["method"]["name"] != "zero_shot_clip":
        skill += 0.3 * spec["setting"]["known"] + (0.1 if spec["selection"] == "oracle" else 0)
    return (2 * skill * targets + shared + 0.4 * own).astype(np.float32)


def small_sweep(out, seeds=2, levels=(0.1, 0.5, 0.9), images=120, **options):
    """The quick suite's shape: three families, five methods; returns the ids."""
    settings = [*(partial(level) for level in levels), ZERO_SHOT, LONG_TAIL]
    specs = [
        specification(method, setting, seed)
        for setting in settings
        for method in METHODS
        for seed in range(seeds)
    ]
    specs += [specification("dualcoop", setting, 0, "oracle") for setting in settings]
    return [
        write_run(out, spec, images, examples=spec["method"]["name"] == "dualcoop", **options)
        for spec in specs
    ]


def full_sweep(out, images=1000):
    """About 500 runs: partial labels on three data sets, zero shot and long tail, five methods,
    three seeds."""
    twenty = [f"{name} {k}" for k in (1, 2) for name in CLASSES]
    levels = [k / 10 for k in range(1, 10)]
    settings = [
        partial(level, dataset)
        for dataset in ("pictograms", "voc2007", "digits")
        for level in levels
    ]
    settings += [ZERO_SHOT, LONG_TAIL, {**LONG_TAIL, "dataset": "voc_mlt"}]
    ids = []
    for setting in settings:
        encoder = "RN101" if setting["dataset"].startswith("voc") else "pocket-RN"
        for method in METHODS:
            for seed in range(3):
                spec = specification(method, setting, seed, encoder=encoder)
                failed = method == "coop" and setting.get("known") == 0.1 and seed == 2
                options = (
                    {"status": "failed"}
                    if failed
                    else {"examples": method == "dualcoop" and seed == 0}
                )
                ids.append(write_run(out, spec, images, twenty, **options))
        ids.append(
            write_run(out, specification("dualcoop", setting, 0, "oracle", encoder), images, twenty)
        )
    return ids


if __name__ == "__main__":
    print(len(full_sweep(Path(sys.argv[1]))), "runs")
