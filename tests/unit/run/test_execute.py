"""One run through the engine: the record, a failure, the selection of an epoch, checkpoints, stale
code, diff."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark import commands, registry, staleness
from benchmark.commands import diff, new, one
from benchmark.plan import Axes, make_plan, selected
from benchmark.run.execute import execute
from benchmark.store import Record, Store
from tests.fixtures.miniatures import build_coco2014

EPOCHS = '''
from dataclasses import dataclass
from typing import ClassVar
import torch

@dataclass
class Method:
    """Text scores plus noise that is smallest in epoch `best` and large in the last one."""
    needs: ClassVar[str] = "global"
    open_vocabulary: ClassVar[bool] = True
    best: int = 1

    def fit(self, clip, train, val, run):
        self.noise = torch.zeros(1)
        for epoch in range(3):
            self.noise = torch.tensor([abs(epoch - self.best) * 50.0])
            run.end_of_epoch(epoch, self, **{"train/loss": float(epoch)})

    def predict(self, clip, x, classes):
        text = clip.text([f"a photo of a {name}." for name in classes])
        noise = torch.sin(1000 * x[:, :1] * torch.arange(len(classes)))
        return clip.scale * x @ text.T + self.noise * noise

    def state_dict(self):
        return {"noise": self.noise}

    def load_state_dict(self, clip, classes, state):
        self.noise = state["noise"]
'''
RAISE = 'raise RuntimeError("out of <b>ideas</b>")\n        '
BROKEN = new.METHOD.replace("x, y = train.features", RAISE + "x, y = train.features")


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture
def plugin(out, monkeypatch):
    """Writes a plugin; one folder for all tests of the file, because records name their file."""
    monkeypatch.setattr(registry, "_files", {})
    folder = out / "plugins"
    folder.mkdir(exist_ok=True)

    def write(name: str, source: str) -> str:
        (folder / f"{name}.py").write_text(source)
        return str(folder / f"{name}.py")

    return write


def rows(out: Path, method: str, **axes) -> list:
    axes = {
        "settings": ("partial(known=.5, dataset='digits')",),
        "encoders": ("pocket-RN",),
        **axes,
    }
    return make_plan(Axes(methods=(method,), **axes), Store(out))


def run(out: Path, method: str, **axes) -> Record:
    (row,) = rows(out, method, **axes)
    return execute(row.job(), out)


def test_a_record_says_everything(out, plugin):
    record = run(out, plugin("recorded_idea", new.METHOD))
    store = Store(out)
    assert record["status"] == "done" and not record["error"]
    assert store.read(record["id"]) == record
    task, scores = record["task"], store.scores(record["id"])
    assert scores.shape == (task["n_test"], task["n_classes"]) and scores.dtype == np.float32
    assert task["known_rate"] == pytest.approx(0.5, abs=0.02)
    assert len(record["per_class"]["AP"]) == len(task["known_positives"]) == task["n_classes"] == 10
    assert record["metrics"]["all"]["mAP"] == pytest.approx(
        np.mean(record["per_class"]["AP"]), abs=1e-6
    )
    truth = store.task(task["fingerprint"])
    assert truth["targets"].shape == scores.shape and truth["thumbnails"].shape[1:] == (64, 64, 3)
    assert record["provenance"]["code_digest"] and record["provenance"]["weights_sha256"]
    assert record["cost"]["peak_ram_mb"] > 0 and record["cost"]["fit_s"] > 0
    assert (store.folder(record["id"]) / "history.csv").is_file()


def test_a_done_run_is_not_planned_again_and_a_cut_record_is(out, plugin):
    path = plugin("recorded_idea", new.METHOD)
    (row,) = rows(out, path)
    if row.state == "todo":
        execute(row.job(), out)
    (row,) = rows(out, path)
    assert row.state == "done" and not selected([row], "") and selected([row], "all")
    file = Store(out).folder(row.id) / "record.json"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    (row,) = rows(out, path)
    assert row.state == "todo"
    file.write_bytes(whole)


def test_changed_code_marks_a_record_as_stale(out, plugin):
    path = plugin("changing_idea", new.METHOD)
    run(out, path)
    assert rows(out, path)[0].state == "done"
    staleness.look_again()
    Path(path).write_text("# a comment\n" + new.METHOD)
    assert rows(out, path)[0].state == "done"
    staleness.look_again()
    Path(path).write_text(new.METHOD.replace("clip.scale * x", "clip.scale * 2 * x"))
    (row,) = rows(out, path)
    assert row.state == "stale" and not selected([row], "") and selected([row], "stale")
    staleness.look_again()


def test_an_exception_is_a_failed_record_with_its_traceback(out, plugin):
    path = plugin("broken_idea", BROKEN)
    record = run(out, path)
    assert record["status"] == "failed"
    assert (
        record["error"]["type"] == "RuntimeError"
        and record["error"]["message"] == "out of <b>ideas</b>"
    )
    assert "Traceback" in record["error"]["log"] and len(record["error"]["log"]) <= 2000
    (row,) = rows(out, path)
    assert row.state == "failed" and "out of <b>ideas</b>" in row.reason and selected([row], "")


@pytest.mark.parametrize("wrong", ["[:, :1]", " * float('nan')"])
def test_wrong_shapes_and_nan_scores_are_failures(out, plugin, wrong):
    source = new.METHOD.replace("text).T\n", f"text).T{wrong}\n")
    record = run(out, plugin(f"wrong_idea_{len(wrong)}", source))
    assert record["status"] == "failed" and record["error"]["message"].startswith(
        "predict returned"
    )


def test_selection_keeps_the_best_epoch_and_last_keeps_the_last(out, plugin):
    path = plugin("epochs_idea", EPOCHS)
    last, val, oracle = (run(out, path, selection=rule) for rule in ("last", "val", "oracle"))
    assert len({last["id"], val["id"], oracle["id"]}) == 3
    assert (
        val["chosen"]["best_valid_mAP"]["epoch"] == oracle["chosen"]["best_valid_mAP"]["epoch"] == 1
    )
    assert (
        val["metrics"]["all"]["mAP"]
        == oracle["metrics"]["all"]["mAP"]
        > last["metrics"]["all"]["mAP"] + 1
    )
    assert oracle["chosen"]["best_valid_mAP"]["test/mAP"] == pytest.approx(
        oracle["metrics"]["all"]["mAP"], abs=1e-3
    )
    history = (Store(out).folder(val["id"]) / "history.csv").read_text().splitlines()
    assert history[0].split(",")[:3] == ["epoch", "train/loss", "val/mAP"] and len(history) == 4
    assert not (Store(out).folder(val["id"]) / "checkpoints").exists()


APART = EPOCHS.replace(
    "self.noise = torch.tensor([abs(epoch - self.best) * 50.0])",
    "self.seen = train.classes\n"
    "            self.noise = torch.tensor([[50.0, 50.0], [90.0, 0.0], [0.0, 90.0]])[epoch]",
)
APART = APART.replace(
    "self.noise * noise",
    "torch.stack([self.noise[int(n not in self.seen)] for n in classes]) * noise",
).replace('self.noise = state["noise"]', 'self.noise, self.seen = state["noise"], classes')


def test_oracle_chooses_unseen_and_generalised_apart(out, plugin, tmp_path, monkeypatch):
    """As DualCoOp's train_zsl.py: each view from the epoch with its best F1@3, each with a
    checkpoint of its own."""
    build_coco2014(tmp_path / "data")
    monkeypatch.setenv("LOWLABEL_DATA", str(tmp_path / "data"))
    path = plugin("apart_idea", APART)
    setting = "zero_shot(dataset='coco2014', val_fraction=0.0)"
    (row,) = rows(out, path, settings=(setting,), selection="oracle")
    record = execute(row.job(), out)
    assert record["status"] == "done", record["error"]
    chosen = record["chosen"]
    for name, view in (("best_unseen_F1", "zsl"), ("best_gzsl_F1", "gzsl")):
        assert (Store(out).folder(row.id) / "checkpoints" / f"{name}.pt").is_file()
        again = one.evaluate_checkpoint(record, out, name, torch.device("cpu"))
        assert again[view]["F1@3"] == pytest.approx(chosen[name][f"test/{name}"])
        assert record["metrics"][view]["F1@3"] == pytest.approx(again[view]["F1@3"])
    assert chosen["best_unseen_F1"]["epoch"] != chosen["best_gzsl_F1"]["epoch"]
    assert record["metrics"]["unseen"] == pytest.approx(again["unseen"], nan_ok=True)


def test_a_checkpoint_is_evaluated_to_the_same_numbers(out, plugin, capsys):
    path = plugin("checkpoint_idea", EPOCHS)
    (row,) = rows(out, path, selection="oracle")
    record = Store(out).read(row.id) or execute(row.job(), out)
    again = one.evaluate_checkpoint(record, out, "best_valid_mAP", torch.device("cpu"))
    assert list(again) == list(record["metrics"]) == ["all"]
    assert again["all"] == pytest.approx(record["metrics"]["all"])
    with pytest.raises(ValueError, match="Did you mean 'best_valid_mAP'"):
        one.evaluate_checkpoint(record, out, "best_valid_map", torch.device("cpu"))
    assert one.run(out, one.find(Store(out), row.id), checkpoint="best_valid_mAP") == 0
    assert f"mAP {record['metrics']['all']['mAP']:.2f}" in capsys.readouterr().out


def test_tensorboard_events_have_the_official_tags(out, plugin):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (row,) = rows(out, plugin("epochs_idea", EPOCHS), selection="val", seeds=(5,))
    record = execute(row.job(tensorboard=True), out)
    assert record["status"] == "done"
    events = accumulator.EventAccumulator(str(Store(out).folder(row.id) / "tensorboard"))
    events.Reload()
    assert {"train/loss", "val/mAP", "val/AUROC"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/loss")] == [0, 1, 2]
    assert any("config" in tag for tag in events.Tags()["tensors"])


def test_one_repeats_a_failed_run_and_says_how_it_ended(out, plugin, capsys):
    path = plugin("broken_idea", BROKEN)
    (row,) = rows(out, path)
    first = Store(out).read(row.id) or execute(row.job(), out)
    registry._files.clear()  # a new process knows the file only from the record
    assert one.run(out, one.find(Store(out), row.id[:6])) == 1
    assert "out of <b>ideas</b>" in capsys.readouterr().err
    assert Store(out).read(row.id)["attempt"] == first["attempt"]  # nothing is written …
    assert one.run(out, one.find(Store(out), row.id[:6]), keep=True) == 1
    assert Store(out).read(row.id)["attempt"] == first["attempt"] + 1  # … unless asked for


def test_one_reproduces_a_run_and_writes_nothing(out, plugin, capsys):
    (row,) = rows(out, plugin("epochs_idea", EPOCHS), seeds=(3,))
    record = Store(out).read(row.id) or execute(row.job(), out)
    folder = Store(out).folder(row.id)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    registry._files.clear()  # a new process knows the file only from the record
    assert one.run(out, record) == 0
    number = f"{record['metrics']['all']['mAP']:.2f}"
    assert f"reproduced: mAP {number} = {number} (all)" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    record["metrics"]["all"]["mAP"] += 0.5  # as if the number had been another
    assert one.run(out, record) == 1
    said = capsys.readouterr().out
    assert "not reproduced: mAP (all) was" in said and "largest difference is 0.50" in said


def test_diff_explains_protocol_selection_and_parameters_in_words(out, plugin):
    path = plugin("epochs_idea", EPOCHS)
    a = run(out, path, selection="last")
    b = run(
        out,
        path + "(best=2)",
        settings=("partial(known=.3, dataset='digits')",),
        selection="oracle",
    )
    text = diff.explain(out, a["id"], b["id"])
    assert "knew the fraction 0.5 of the training labels, the second 0.3" in text
    assert "A reports the last epoch, B the best epoch on TEST" in text
    assert "best: 1 against 2" in text and "known_rate" in text
    assert "Nothing recorded differs" in diff.explain(out, a["id"], a["id"])


def test_scores_do_not_depend_on_the_rows_before(out, plugin):
    """The same run in a fresh folder gives the same bytes."""
    path = plugin("recorded_idea", new.METHOD)
    (row,) = rows(out, path)
    if Store(out).read(row.id) is None:
        execute(row.job(), out)
    other = out / "again"
    execute(rows(other, path)[0].job(), other)
    assert (Store(out).folder(row.id) / "scores.npy").read_bytes() == (
        Store(other).folder(row.id) / "scores.npy"
    ).read_bytes()


def test_the_whole_command_line_on_a_plugin_file(tmp_path, plugin, monkeypatch, capsys):
    import run_all

    monkeypatch.chdir(tmp_path)
    command = [
        "--settings",
        "partial(known=[.1,.5])",
        "--datasets",
        "digits",
        "--seeds",
        "0",
        "--backend",
        "inline",
    ]
    command += [
        "--encoders",
        "pocket-RN",
        "--methods",
        "zero_shot_clip",
        plugin("whole_idea", new.METHOD),
    ]
    assert commands.main(command, run_all.QUICK, run_all.FULL) == 0
    printed = capsys.readouterr().out
    assert "4 runs to do" in printed and "report.html" in printed
    assert (tmp_path / "results" / "report.html").is_file()
    assert commands.main(command, run_all.QUICK, run_all.FULL) == 0
    assert "nothing to compute" in capsys.readouterr().out
    broken = [*command[:-1], plugin("later_idea", BROKEN)]
    assert commands.main(broken, run_all.QUICK, run_all.FULL) == 1
