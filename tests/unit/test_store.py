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
    store = Store(tmp_path)
    store.write(a_record(), np.zeros((2, 2)))
    (store.folder(ID) / ".record.json.1-ab.tmp").write_text("left by a process that was killed")
    replace = os.replace

    def fail_at_the_record(source, target):
        if Path(target).name == "record.json":
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_at_the_record)
    with pytest.raises(OSError, match="No space left"):
        store.write(a_record(), np.ones((2, 2)))
    # todo, not the old record with the new scores
    assert store.read(ID) is None and store.scores(ID).min() == 1
    monkeypatch.undo()
    store.write(a_record(status="failed"))
    assert sorted(path.name for path in store.folder(ID).iterdir()) == ["record.json"]


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
    store.write_task("f00d", arrays)
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
