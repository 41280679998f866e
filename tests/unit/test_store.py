"""What lies in the results folder is either whole or counts as missing."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.files import write_atomically
from benchmark.spec import Choice, Encoder, Spec
from benchmark.store import SCHEMA, Record, Store, empty_record, plain

SPEC = Spec(
    Choice("coop", {"n_ctx": 4}),
    Choice("partial", {"dataset": "pictograms", "known": 0.5}),
    Encoder("RN50", "openai", 224, resize="crop"),
)
ID = SPEC.id
numbers = st.one_of(
    st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.none()
)


def a_record(**fields) -> Record:
    return empty_record(SPEC, "done") | fields


@settings(max_examples=30, deadline=None)
@given(
    metrics=st.dictionaries(
        st.text(max_size=5), st.dictionaries(st.text(max_size=5), numbers, max_size=3), max_size=3
    ),
    average_precisions=st.lists(numbers, max_size=5),
    note=st.text(),
)
def test_round_trip(tmp_path_factory, metrics, average_precisions, note):
    store = Store(tmp_path_factory.mktemp("out"))
    record = a_record(metrics=metrics, per_class={"AP": average_precisions}, chosen={"note": note})
    scores = np.arange(6).reshape(3, 2) / 7
    store.write(record, scores)
    assert store.read(ID) == record
    assert store.records() == [record]
    assert store.scores(ID).dtype == np.float32 and np.array_equal(
        store.scores(ID), scores.astype(np.float32)
    )


def test_a_record_cut_at_any_byte_is_todo(tmp_path):
    store = Store(tmp_path)
    store.write(a_record(metrics={"all": {"mAP": 63.5}}))
    path = store.folder(ID) / "record.json"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert store.read(ID) is None, length
    assert store.records() == []
    path.write_bytes(whole)
    assert store.read(ID) is not None


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record | {"schema": SCHEMA + 1},
        lambda record: record | {"id": "another"},
        lambda record: {key: value for key, value in record.items() if key != "status"},
        lambda record: [record],
        lambda record: record | {"spec": {"method": "coop"}},
        lambda record: record | {"spec": record["spec"] | {"encoder": {"name": "RN50"}}},
        lambda record: None,
    ],
)
def test_a_malformed_record_is_todo(tmp_path, damage):
    store = Store(tmp_path)
    store.write(a_record())
    (store.folder(ID) / "record.json").write_text(
        json.dumps(damage({**a_record(), "spec": SPEC.to_json()}))
    )
    assert store.read(ID) is None


def test_not_a_number_becomes_null(tmp_path):
    store = Store(tmp_path)
    store.write(
        a_record(per_class={"AP": np.array([1.5, np.nan, np.inf])}, task={"n_train": np.int64(3)})
    )
    text = (store.folder(ID) / "record.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert store.read(ID)["per_class"] == {"AP": [1.5, None, None]} and store.read(ID)["task"] == {
        "n_train": 3
    }
    assert plain({"a": (np.float32(0.5), Path("x"))}) == {"a": [0.5, "x"]}


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(
        os,
        "fsync",
        lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_scores_of_an_older_run_never_stand_beside_a_newer_record(tmp_path, monkeypatch):
    """Killed between the two names: whoever reads next gives the new result both of them."""
    store = Store(tmp_path)
    store.write(a_record(trials=1), np.zeros((2, 2)))
    (store.folder(ID) / ".record.json.1-ab.tmp").write_text("left by a process that was killed")
    replace = os.replace

    def killed_before_the_record(source, target):
        if Path(target).name == "record.json":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed_before_the_record)
    with pytest.raises(KeyboardInterrupt):
        store.write(a_record(trials=2), np.ones((2, 2)))
    monkeypatch.undo()
    assert store.read(ID)["trials"] == 2 and store.scores(ID).min() == 1
    assert store.altered(ID) == ""
    assert sorted(path.name for path in store.folder(ID).iterdir()) == ["record.json", "scores.npy"]


@pytest.mark.parametrize("name", [".scores.npy.next", ".record.json.next"])
def test_a_full_disk_keeps_the_old_result(tmp_path, monkeypatch, name):
    store = Store(tmp_path)
    store.write(a_record(trials=1), np.zeros((2, 2)))
    replace = os.replace

    def full(source, target):
        if Path(target).name == name:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(a_record(trials=2), np.ones((2, 2)))
    monkeypatch.undo()
    assert store.read(ID)["trials"] == 1 and store.altered(ID) == ""
    assert sorted(path.name for path in store.folder(ID).iterdir()) == ["record.json", "scores.npy"]


def test_a_repeat_that_fails_is_a_note_beside_the_finished_result(tmp_path):
    store = Store(tmp_path)
    store.write(a_record(trials=1), np.zeros((2, 2)))
    (store.attempt(ID) / "history.csv").write_text("epoch")
    store.keep_attempt(ID)
    begun = store.ended_ns(ID)
    (store.attempt(ID) / "history.csv").write_text("of the repeat")
    store.write(a_record(status="failed", error={"type": "ValueError", "message": "no"}))
    store.keep_attempt(ID)
    assert store.read(ID)["status"] == "done" and store.last(ID)["status"] == "failed"
    assert store.scores(ID).shape == (2, 2) and store.altered(ID) == ""
    assert (store.folder(ID) / "history.csv").read_text() == "epoch"
    assert store.ended_ns(ID) >= begun
    store.write(a_record(trials=2), np.ones((2, 2)))  # the next repeat ends well
    assert store.last(ID)["trials"] == 2 and not (store.folder(ID) / "repeat.json").exists()


def flip(path, position=-1):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


def test_what_the_run_did_not_write_is_altered(tmp_path):
    store = Store(tmp_path)
    folder = store.folder(ID)
    for alter, said in (
        (lambda: flip(folder / "scores.npy"), "scores.npy is not what"),
        (
            lambda: edit(folder, lambda state: state["metrics"]["all"].update(mAP=99.0)),
            "record.json",
        ),
        (lambda: edit(folder, lambda state: state.update(seal=7)), "record.json"),
        (lambda: edit(folder, lambda state: state["spec"].update(seed=1)), "record.json"),
    ):
        store.write(a_record(metrics={"all": {"mAP": 60.0}}), np.zeros((2, 2)))
        assert store.altered(ID) == ""
        alter()
        assert "altered" in store.altered(ID) and said in store.altered(ID)
    store.write(a_record(metrics={"all": {"mAP": 60.0}}), np.zeros((2, 2)))
    edit(folder, lambda state: state.pop("seal"))
    assert store.altered(ID).startswith("unsealed (of an older version)")
    (found,) = store.verified()
    assert (found["status"], found["error"]["type"]) == ("failed", "Unsealed")


def edit(folder, change):
    state = json.loads((folder / "record.json").read_text())
    change(state)
    (folder / "record.json").write_text(json.dumps(state))


DAMAGES = {
    "null": lambda text: text.replace('"metrics": {}', '"metrics": null'),
    "number": lambda text: text.replace('"metrics": {}', '"metrics": {"all": {"mAP": "60"}}'),
    "deep": lambda text: "[" * 100_000 + "]" * 100_000,
    "surrogate": lambda text: text.replace('"chosen": {}', '"chosen": {"a": "\\ud800"}'),
    "nan": lambda text: text.replace('"trials": 0', '"trials": NaN'),
    "status": lambda text: text.replace('"done"', '"perfect"'),
    "spec": lambda text: text.replace('"encoder"', '"decoder"'),
    "seed": lambda text: text.replace('"seed": 0', '"seed": {}'),
    "cut": lambda text: text[: len(text) // 2],
    "list": lambda text: f"[{text}]",
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_record_is_named_and_stops_no_other(tmp_path, name):
    store = Store(tmp_path)
    store.write(a_record(), np.zeros((2, 2)))
    other = Spec.from_json(SPEC.to_json() | {"seed": 7})
    store.write(empty_record(other, "failed"))
    path = store.folder(ID) / "record.json"
    path.write_text(DAMAGES[name](path.read_text()))
    assert store.read(ID) is None and [r["id"] for r in store.records()] == [other.id]
    assert list(store.damaged()) == [ID] and store.damaged()[ID]


def test_frame_is_tidy(tmp_path):
    store = Store(tmp_path)
    store.write(a_record(metrics={"all": {"mAP": 60.0, "OF1": None}, "gzsl": {"mAP": 50.0}}))
    other = replace(SPEC, setting=Choice("zero_shot", {"dataset": "voc2007"}))
    store.write(empty_record(other, "timeout"))
    frame = store.frame()
    assert list(frame.columns[:4]) == ["id", "method", "method_parameters", "setting"]
    assert list(frame.columns[-3:]) == ["view", "metric", "value"] and len(frame) == 4
    assert set(frame["encoder"]) == {"RN50/openai@224+crop"} and set(
        frame["method_parameters"]
    ) == {"n_ctx=4"}
    done = frame[(frame["status"] == "done") & (frame["view"] == "gzsl")].iloc[0]
    assert (done["value"], done["setting_known"], done["metric"]) == (50.0, 0.5, "mAP")
    late = frame[frame["status"] == "timeout"].iloc[0]
    assert (
        late["setting_dataset"] == "voc2007"
        and np.isnan(late["value"])
        and np.isnan(late["setting_known"])
    )
    assert Store(tmp_path / "empty").frame().empty


def test_task_round_trip(tmp_path):
    store = Store(tmp_path)
    arrays = {"targets": np.array([[1, -1]], np.int8), "classes": ["a cat", "naïve"]}
    store.write_task("f00d", lambda: arrays)
    found = store.task("f00d")
    assert list(found["classes"]) == ["a cat", "naïve"] and np.array_equal(
        found["targets"], arrays["targets"]
    )
    with pytest.raises(FileNotFoundError):
        store.task("missing")


def test_a_claim_has_one_holder_and_dies_with_it(tmp_path):
    store = Store(tmp_path)
    with store.claim(ID) as mine, store.claim(ID) as second:
        assert mine and not second
    hold = "import sys, time, benchmark.store as s\n"
    hold += "with s.Store(sys.argv[1]).claim(sys.argv[2]): print(flush=True), time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path), ID], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    with store.claim(ID) as mine:
        assert not mine
    process.kill()
    process.wait()
    with store.claim(ID) as mine:
        assert mine
