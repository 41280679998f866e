"""Hours of a plan: scaled by epochs, images and classes from what was measured, and said where
nothing was."""

import json
from pathlib import Path

import pytest

import run_all
from benchmark import commands, registry
from benchmark.clip.encoder_name import parse_encoder
from benchmark.commands.parser import parse
from benchmark.commands.plan import planned, show
from benchmark.estimate import OPERATIONS_A_SECOND, Estimator, _image_operations
from benchmark.plan import Axes, make_plan
from benchmark.spec import Choice, Encoder, Spec
from benchmark.store import Record, Store, empty_record

RN101 = Encoder("RN101", "openai", 448)


def spec(method: str = "dualcoop", dataset: str = "voc2007", **parameters) -> Spec:
    values = {"epochs": 50, "batch_size": 32, "context_length": 16, "class_specific": False}
    return Spec(
        Choice(method, {**values, **parameters}),
        Choice("partial", {"dataset": dataset, "known": 0.5}),
        RN101,
    )


def record(of: Spec, n_train: int = 4510, **cost: float) -> Record:
    found = empty_record(of, "done")
    found["task"] = {"n_train": n_train, "n_val": 501, "n_test": 4952, "n_classes": 20}
    found["cost"] = {"feature_s": 3000.0, **cost}  # this one made the bank: no other run pays that
    return found


def test_one_epoch_on_voc_foretells_fifty_epochs_and_coco(tmp_path):
    """The issue's case: 27 runs of 50 epochs after one run of a single epoch."""
    measured = record(spec(epochs=1), fit_s=48.0, predict_s=10.0)
    estimator = Estimator([measured], tmp_path)
    seconds, known = estimator.run(spec())
    assert known and seconds == pytest.approx(50 * 48 + 10)
    assert 27 * seconds / 3600 == pytest.approx(18.1, abs=0.1)
    coco, known = estimator.run(spec(dataset="coco2014"))
    fit = 50 * 48 * (82783 / 4510) * (80 / 20)  # more images, and every step has more names
    assert known and coco == pytest.approx(fit + 10 * (40504 * 80) / (4952 * 20))
    assert estimator.run(spec(batch_size=64))[0] == pytest.approx(25 * 48 + 10)  # half the steps


def test_without_a_record_operations_are_counted(tmp_path):
    seconds, known = Estimator([], tmp_path).run(spec())
    assert not known and 600 < seconds < 60_000  # not half a minute
    # published counts of multiplications: 17.6 G for ViT-B/16; ours counts two operations each
    assert _image_operations("ViT-B-16", 224) == pytest.approx(35.1e9, rel=0.03)
    assert _image_operations("RN50", 448) == pytest.approx(4 * _image_operations("RN50", 224))


def test_a_bank_is_priced_by_its_missing_images_and_the_measured_pace(tmp_path):
    method = registry.make("methods", "dualcoop", {})
    estimator = Estimator([], tmp_path)
    operations = 9963 * _image_operations("RN101", 448)
    assert estimator.bank(spec(), method) == pytest.approx(operations / OPERATIONS_A_SECOND)
    _write_bank(tmp_path / "a", "voc2007", chunks=30, seconds=2.0)
    bank = Estimator([], tmp_path).bank(spec(), method)
    assert bank == pytest.approx((9963 - 30 * 128) * 2.0)
    _write_bank(tmp_path / "a", "voc2007", chunks=78, seconds=2.0)
    assert Estimator([], tmp_path).bank(spec(), method) == 0.0
    coco = Estimator([], tmp_path).bank(spec(dataset="coco2014"), method)
    assert coco == pytest.approx(123287 * 2.0)


def _write_bank(folder: Path, dataset: str, chunks: int, seconds: float) -> None:
    folder.mkdir(exist_ok=True)
    key = {"dataset": dataset, "kind": "regions", "image_size": 448, "architecture": "RN101"}
    (folder / "key.json").write_text(json.dumps(key))
    (folder / "marks.json").write_text(json.dumps({str(i): 0 for i in range(chunks)}))
    (folder / "pace.json").write_text(json.dumps({"images": 100, "seconds": 100 * seconds}))


def test_the_plan_says_what_its_hours_rest_on(tmp_path, capsys):
    axes = Axes(
        ("zero_shot_clip", "coop"),
        ("partial(known=[.1,.5],dataset='pictograms')",),
        encoders=("pocket-RN",),
    )
    rows = make_plan(axes, Store(tmp_path))
    assert parse_encoder("pocket-RN") == rows[0].spec.encoder
    show(rows, rows)
    assert "There is no record of coop, zero_shot_clip yet" in capsys.readouterr().out
    assert all(row.seconds > 0 for row in rows)
    first, second = (row.seconds for row in rows if row.spec.method.name == "zero_shot_clip")
    assert first > 10 * second  # the first one makes the bank


def test_a_minute_of_measuring_replaces_counted_operations(tmp_path, capsys, monkeypatch):
    """`plan --measure`, as its user has it: what was measured is said, and the hours rest on it."""
    monkeypatch.setenv("LOWLABEL_LEASES", str(tmp_path / "leases"))
    axes = ["--settings", "partial(known=.5)", "--datasets", "digits", "--seeds", "0"]
    methods = ["--methods", "zero_shot_clip", "dualcoop(epochs=[1, 50])", "sparc"]
    command = ["plan", *axes, *methods, "--out", str(tmp_path)]
    assert commands.main(command, run_all.QUICK, run_all.FULL) == 0
    assert "There is no record of dualcoop, sparc, zero_shot_clip" in capsys.readouterr().out
    assert commands.main([*command, "--measure"], run_all.QUICK, run_all.FULL) == 0
    said = capsys.readouterr().out
    assert "global features with pocket-RN:" in said and "images/s" in said
    assert "dualcoop with pocket-RN: a step of 64 images and 10 classes" in said
    # no prompts are trained: fitted as a whole, whatever its epochs mean
    assert "sparc with pocket-RN: a fit of 1024 images and 10 classes" in said
    assert "cannot be measured" not in said and "There is no record of" not in said
    assert not list(tmp_path.glob("runs/*"))  # nothing was run
    rows = planned(parse(command), run_all.FULL)
    estimator = Estimator([], tmp_path / "features")
    once, fifty = (estimator.run(row.spec)[0] for row in rows[1:3])  # without the bank
    (found,) = [
        record
        for record in Store(tmp_path / "features/measured").records()
        if record["spec"].method.name == "dualcoop"
    ]
    step = found["cost"]["fit_s"] / (64 * 10)  # seconds for an image and a class
    assert fifty - once == pytest.approx(49 * step * 1500 * 10)


def test_a_run_counts_more_than_a_measured_step(tmp_path):
    Store(tmp_path / "measured").write(record(spec(epochs=1), fit_s=1.0, predict_s=1.0))
    assert Estimator([], tmp_path).run(spec())[1]
    run = record(spec(epochs=1), fit_s=48.0, predict_s=10.0)
    assert Estimator([run], tmp_path).run(spec())[0] == pytest.approx(50 * 48 + 10)
