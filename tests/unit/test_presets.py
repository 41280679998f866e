"""The plan takes the configuration of the papers for the case at hand, under every name of an
encoder, and says so on the command line."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark import registry
from benchmark.commands import main
from benchmark.estimate import Estimator
from benchmark.plan import Axes, make_plan
from benchmark.store import Store
from tests.fixtures.official import DATASETS, planned_spec, stand_in

VOC = {"context_length": 16, "class_specific": True, "learning_rate": 0.001}
COCO = {"context_length": 16, "class_specific": True, "learning_rate": 0.002}
PLAIN, COPIES = {"augment": "", "copies": 0}, {"augment": "dualcoop", "copies": 8}
COCO_ZSL = {"context_length": 64, "loss_weight": 0.01, "learning_rate": 0.002}
NUS_ZSL = {**COCO_ZSL, "learning_rate": 0.001, "classes_per_batch": 100}
DUALCOOP = {
    "partial(known=0.5)": {"voc2007": {**VOC, **PLAIN}, "coco2014": {**COCO, **PLAIN}},
    "partial(known=0.1)": {
        "voc2007": {**VOC, **PLAIN, "class_specific": False},
        "coco2014": {**COCO, **PLAIN, "class_specific": False},
    },
    "partial(known=0.2)": {"voc2007": {**VOC, **PLAIN}},
    "partial(preset='paper', known=0.5)": {
        "voc2007": {**VOC, **COPIES},
        "coco2014": {**COCO, **COPIES},
    },
    "zero_shot": {
        "coco2014": {**COCO_ZSL, **PLAIN, "classes_per_batch": 0},
        "nus_wide": {**NUS_ZSL, **PLAIN},
    },
    "zero_shot(preset='paper')": {"nus_wide": {**NUS_ZSL, **COPIES}},
}


@pytest.mark.parametrize("setting", DUALCOOP)
def test_dualcoop(setting: str, tmp_path: Path) -> None:
    for dataset, expected in DUALCOOP[setting].items():
        spec = planned_spec(tmp_path, "dualcoop", setting, dataset)
        found = {name: spec.method.get(name) for name in expected}
        assert found == expected, dataset
        size = "RN101/openai@448" if "partial" in setting else "RN50/openai@224"
        assert spec.encoder.text == size
        family = "paper_" if expected["copies"] else "plain_"
        assert str(spec.method.get("preset")).startswith(family)


def test_what_is_said_overrules_what_is_chosen(tmp_path: Path) -> None:
    spec = planned_spec(
        tmp_path, "dualcoop(class_specific=True, epochs=7)", "partial(known=0.1)", "voc2007"
    )
    said = [spec.method.get(name) for name in ("class_specific", "epochs", "learning_rate")]
    assert said == [True, 7, 0.001]
    spec = planned_spec(tmp_path, "dualcoop(preset='paper')", "partial(known=0.5)", "coco2014")
    assert spec.method.get("preset") == "paper_partial_coco2014" and spec.method.get("copies") == 8
    with pytest.raises(ValueError, match="coop has no published configuration for partial"):
        planned_spec(tmp_path, "coop(preset='paper')", "partial", "voc2007")


def test_a_method_around_another_takes_the_preset_of_the_other(tmp_path: Path) -> None:
    """`tuned` is the honest way to decide what our rule decides at few labels."""
    text = "tuned(method=dualcoop(class_specific=[True, False]))"
    for known, preset in ((0.1, "plain_partial_voc2007_few"), (0.5, "plain_partial_voc2007")):
        spec = planned_spec(tmp_path, text, f"partial(known={known})", "voc2007")
        assert spec.method.get("inner_preset") == preset
    spec = planned_spec(tmp_path, text, "partial", "voc2007", "pocket-RN")
    assert spec.method.get("inner_preset") == "pocket"


@pytest.mark.parametrize("name", ["ViT-B-16/openai", "ViT-B-16-quickgelu/openai"])
def test_lm_clip_under_every_name_of_an_encoder(name: str, tmp_path: Path) -> None:
    for dataset, power, balanced in (("voc_mlt", 1.35, 0.4), ("coco_mlt", 1.6, 5.0)):
        spec = planned_spec(tmp_path, "lm_clip", "long_tail(preset='paper')", dataset, name)
        assert spec.method.get("preset") == f"{dataset}_vitb16"
        assert spec.method.get("sample_weights_power") == power
        assert spec.method.get("balanced_weight") == balanced
        assert spec.encoder.text == "ViT-B-16/openai@224+imagenet"
    clean = planned_spec(tmp_path, "lm_clip", "long_tail", "voc_mlt", name)
    assert clean.encoder.statistics == "clip" and clean.setting.get("preset") == "clean"
    rn50 = planned_spec(
        tmp_path, "lm_clip", "long_tail(preset='paper')", "coco_mlt", "RN50-quickgelu/openai"
    )
    assert (rn50.method.get("preset"), rn50.method.get("learning_rate")) == ("coco_mlt_rn50", 1e-7)


def test_an_augmentation_that_nothing_is_drawn_from_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs augmented copies of the images: add copies=8"):
        planned_spec(tmp_path, "dualcoop(augment='dualcoop')", "partial", "voc2007")
    with pytest.raises(ValueError, match="copies=3 needs an augmentation"):
        planned_spec(tmp_path, "coop(copies=3)", "partial", "voc2007")


def test_copies_have_a_price_in_the_plan(tmp_path: Path) -> None:
    text = 'dualcoop(augment="dualcoop", copies=8)'
    axes = Axes(("dualcoop", text), ("partial(dataset='digits', known=0.5)",))
    plain, augmented = make_plan(axes, Store(tmp_path / "no-results"))
    features = Estimator([], tmp_path).bank
    method = registry.rebuild("methods", augmented.spec.method)
    bare = registry.rebuild("methods", plain.spec.method)
    alone = features(plain.spec, bare)
    assert features(augmented.spec, method) > 5 * alone > 0  # eight copies of the training images
    assert augmented.seconds > plain.seconds


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Path]:
    yield stand_in(tmp_path / "data")


def test_the_command_line_lists_the_configurations(
    real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from run_all import FULL, QUICK

    command = ["plan", "--data", str(real), "--out", str(tmp_path / "out"), "--seeds", "0"]
    command += ["--methods", "dualcoop", "lm_clip", "--settings"]
    command += ["partial(known=[0.1, 0.5])", "zero_shot", "long_tail(preset='paper')"]
    assert main(command, QUICK, FULL) == 0
    lines = capsys.readouterr().out.splitlines()
    said = {
        (above.strip().partition("(")[0], below.partition("dataset='")[2].partition("'")[0]): above
        for above, below in itertools.pairwise(lines)
        if below.startswith("    in ")
    }
    assert {dataset for _, dataset in said} >= set(DATASETS)
    assert "learning_rate=0.001" in said["dualcoop", "nus_wide"]
    assert "classes_per_batch=100" in said["dualcoop", "nus_wide"]
    assert "preset='voc_mlt_vitb16'" in said["lm_clip", "voc_mlt"]
    text = "\n".join(lines)
    for expected in ("RN101/openai@448", "RN50/openai@224", "ViT-B-16/openai@224+imagenet"):
        assert expected in text
    for expected in ("plain_partial_voc2007'", "plain_partial_voc2007_few'"):
        assert expected in text


def test_the_list_says_where_presets_were_read(capsys: pytest.CaptureFixture[str]) -> None:
    from run_all import FULL, QUICK

    assert main(["list", "methods"], QUICK, FULL) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "preset plain_zero_shot_nus_wide: context_length=64, loss_weight=0.01" in said
    assert "opts.py: num_train_cls 100 of the 925 classes a batch" in said
