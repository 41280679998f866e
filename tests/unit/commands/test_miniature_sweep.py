"""The whole sweep on miniature copies of the real data sets: every method × every setting × both
kinds of encoders."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import run_all
from benchmark import commands
from benchmark.plan import Axes, make_plan
from benchmark.store import Store
from tests.fixtures.miniatures import build_all, truncate
from tests.fixtures.tiny_clip import write_models

METHODS = (
    "zero_shot_clip",
    "linear_probe(C=1.)",
    "coop(epochs=1)",
    "dualcoop(epochs=1)",
    "lm_clip(epochs=1)",
)
SETTINGS = {
    "partial(known=.5, val_fraction=.2, dataset={})": ("voc2007", "coco2014"),
    "partial(preset='paper', known=.5, dataset={})": ("voc2007", "coco2014"),
    "long_tail(dataset={})": ("voc_mlt", "coco_mlt"),
    "zero_shot(dataset={})": ("coco2014", "nus_wide"),
}


@pytest.fixture
def world(tmp_path, monkeypatch) -> Path:
    """Five data sets in `data`, two tiny random CLIPs in `models`, and the result folder of this
    test."""
    build_all(tmp_path / "data")
    monkeypatch.setenv("LOWLABEL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LOWLABEL_MODEL_CONFIGS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(world: Path, *more: str) -> list[str]:
    return ["--data", str(world / "data"), "--seeds", "0", "--backend", "inline", *more]


def test_every_method_on_every_setting_with_both_kinds_of_encoders(world, capsys):
    encoders = [f"{name}/{path}" for name, path in write_models(world / "models").items()]
    settings = [text.format(name) for text, datasets in SETTINGS.items() for name in datasets]
    flags = ["--settings", *settings, "--methods", *METHODS, "--encoders", *encoders]
    ended = commands.main(command(world, *flags), run_all.QUICK, run_all.FULL)
    assert ended == 0, capsys.readouterr()
    records = Store(Path("results")).records()
    counts = Counter((record["spec"].setting.name, record["status"]) for record in records)
    assert counts == {("partial", "done"): 40, ("zero_shot", "done"): 16, ("long_tail", "done"): 20}
    for record in records:
        scores = Store(Path("results")).scores(record["id"])
        assert (
            scores.shape == (record["task"]["n_test"], record["task"]["n_classes"])
            and np.isfinite(scores).all()
        )
    labels = {path.name.rpartition("-")[0] for path in Path("results").rglob("labels/*.npz")}
    assert {"instances_train2014", "instances_val2014", "nus_wide-Train"} <= labels  # parsed once
    tables = Path("results/tables").glob("zero_shot*.md")
    assert any("closed vocabulary" in table.read_text() for table in tables)


def test_real_data_sets_are_found_without_being_named(world):
    rows = make_plan(
        Axes(
            ("zero_shot_clip",), ("partial", "zero_shot", "long_tail"), candidates=run_all.DATASETS
        ),
        Store(Path("r")),
    )
    found = [(row.spec.setting.name, row.spec.dataset, row.spec.encoder.name) for row in rows]
    assert found == [
        ("partial", "voc2007", "RN101"),
        ("partial", "coco2014", "RN101"),
        ("zero_shot", "coco2014", "RN50"),
        ("zero_shot", "nus_wide", "RN50"),
        ("long_tail", "voc_mlt", "ViT-B-16"),
        ("long_tail", "coco_mlt", "ViT-B-16"),
    ]


def test_a_truncated_image_is_a_failed_record_that_names_the_file(world, capsys):
    (name, path), *_ = write_models(world / "models").items()
    broken = sorted((world / "data").glob("**/VOC2007/JPEGImages/*.jpg"))[3]
    truncate(broken)
    flags = [
        "--settings",
        "partial(known=.5)",
        "--datasets",
        "voc2007",
        "--methods",
        "zero_shot_clip",
    ]
    assert (
        commands.main(
            command(world, *flags, "--encoders", f"{name}/{path}"), run_all.QUICK, run_all.FULL
        )
        == 1
    )
    (record,) = Store(Path("results")).records()
    assert record["status"] == "failed" and broken.name in record["error"]["message"]


def test_weights_that_are_not_on_this_machine_are_explained_before_any_run(
    world, capsys, monkeypatch
):
    # saves its half minute of retries
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    flags = [
        "--settings",
        "partial(known=.5)",
        "--datasets",
        "voc2007",
        "--methods",
        "zero_shot_clip",
    ]
    assert (
        commands.main(
            command(world, *flags, "--encoders", "RN50/openai@224"), run_all.QUICK, run_all.FULL
        )
        == 2
    )
    said = capsys.readouterr().err
    assert "RN50" in said and "put it at" in said and said.count("\n") == 1
    assert not Store(Path("results")).records()
