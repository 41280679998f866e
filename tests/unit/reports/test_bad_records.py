"""Records that are damaged or altered: each is named on the page, none stops the others."""

import json
import os

import numpy as np
import pytest

import run_all
from benchmark import commands, integrity
from reports import page
from tests.fixtures.synthetic_records import METHODS, partial, specification, write_run
from tests.unit.reports.test_report import data_of


def sealed(folder, change):
    """An edit by somebody who can seal: only what does not fit gives it away."""
    path = folder / "record.json"
    state = json.loads(path.read_text())
    change(state)
    state["scores_sha256"] = integrity.checksum((folder / "scores.npy").read_bytes())
    state["seal"] = integrity.seal(state)
    path.write_text(json.dumps(state))


def other_scores(folder, change):
    np.save(folder / "scores.npy", change(np.load(folder / "scores.npy")))
    sealed(folder, lambda state: None)


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


DAMAGES = {
    "cut": lambda f: (f / "record.json").write_text((f / "record.json").read_text()[:99]),
    "deep": lambda f: (f / "record.json").write_text("[" * 200_000),
    "huge": lambda f: (f / "record.json").write_text(
        (f / "record.json").read_text().replace('"mAP": ', '"mAP": 1e999, "x": ')
    ),
    "seed of another run": lambda f: sealed(f, lambda s: s["spec"].update(seed=99)),
    "versions": lambda f: sealed(f, lambda s: s["provenance"].update(versions={"torch": [[1]]})),
    "parameters": lambda f: sealed(f, lambda s: s["cost"].update(trainable_parameters=10**400)),
    "pipe": lambda f: ((f / "record.json").unlink(), os.mkfifo(f / "record.json")),
    "no end": lambda f: ((f / "record.json").unlink(), (f / "record.json").symlink_to("/dev/zero")),
    "loop": lambda f: ((f / "record.json").unlink(), (f / "record.json").symlink_to("record.json")),
    "folder": lambda f: ((f / "record.json").unlink(), (f / "record.json").mkdir()),
    "spec": lambda f: sealed(f, lambda s: s.update(spec=None)),
    "known": lambda f: sealed(f, lambda s: s["spec"]["setting"].update(known="half")),
    "metrics": lambda f: sealed(f, lambda s: s.update(metrics=[1])),
}
ALTERATIONS = {
    "byte": lambda f: flip(f / "scores.npy"),
    "metric": lambda f: (f / "record.json").write_text(
        (f / "record.json").read_text().replace('"mAP": ', '"mAP": 1')
    ),
    "shape": lambda f: other_scores(f, lambda scores: scores[:5]),
    "nan": lambda f: other_scores(f, lambda scores: scores * np.nan),
    "pickle": lambda f: other_scores(f, lambda scores: np.array([{}], dtype=object)),
    "scores without end": lambda f: (
        (f / "scores.npy").unlink(),
        (f / "scores.npy").symlink_to("/dev/zero"),
    ),
    "short": lambda f: sealed(f, lambda s: s["per_class"].update(AP=[1.0])),
    "group": lambda f: sealed(f, lambda s: s["task"].update(groups={"head": [99]})),
}
HARMLESS = {
    "history": lambda f: (f / "history.csv").write_bytes(b"a,b\n\xff\xfe,\x00\n" + b"x" * 200_000),
    "examples": lambda f: (f / "examples.npz").write_bytes(b"PK\x03\x04 no archive"),
    "pipes": lambda f: [os.mkfifo(f / name) for name in ("history.txt", "repeat.json")],
    "never named": lambda f: (f / ".record.json.next").mkdir(),
    "log": lambda f: ((f / "log.txt").unlink(), (f / "log.txt").mkdir()),
    "scores gone": lambda f: (f / "scores.npy").unlink(),
}


ASKED = json.dumps(specification("coop", partial(0.5), seed=99).to_json())
PLANS = [
    "[" * 200_000,
    '{"command": 5, "runs": [{"spec": null}, 3]}',
    '{"command": "x", "runs": [{"spec": {"method": {"name": 5}}, "reason": {}}]}',
    f'{{"command": ["x"], "runs": [{{"spec": {ASKED}}}]}}',
    f'{{"command": "\\ud800", "runs": [{{"spec": {ASKED}}}]}}',
]

WRONG = {"null": None, "list": [1], "table": {"a": 1}, "text": "x", "number": -7, "deep": [[[{}]]]}
# of every field of a record, and of the tables in it, by somebody who can seal
ODD = {
    f"{field} {name}": lambda f, field=field, value=value: sealed(
        f, lambda s: s.update({field: value})
    )
    for field in integrity.FIELDS
    for name, value in WRONG.items()
} | {
    f"{table}.{field} {name}": lambda f, table=table, field=field, value=value: sealed(
        f, lambda s: s[table].update({field: value})
    )
    for table, fields in {
        "task": ("classes", "views", "fingerprint", "groups", "known_positives", "n_test"),
        "spec": ("method", "setting", "encoder", "seed"),
        "provenance": ("commit", "plugins", "end"),
        "cost": ("fit_s", "extraction_s"),
        "per_class": ("AP",),
    }.items()
    for field in fields
    for name, value in WRONG.items()
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A run for each kind of harm, and one that nothing happened to."""
    out, runs = tmp_path_factory.mktemp("harmed"), {}
    kinds = [*DAMAGES, *ALTERATIONS, *HARMLESS, "good"]
    methods = list(METHODS)
    for k, kind in enumerate(kinds):
        spec = specification(methods[k % 5], partial(0.5), seed=k // 5)
        runs[kind] = write_run(out, spec, images=40, examples=kind == "examples")
    for kind, harm in {**DAMAGES, **ALTERATIONS, **HARMLESS}.items():
        harm(out / "runs" / runs[kind])
    (out / "plans").mkdir()
    for k, text in enumerate(PLANS):
        (out / "plans" / f"{k}.json").write_text(text)
    os.mkfifo(out / "plans" / "pipe.json")
    argv = ["report", "--out", str(out), "--tables-only"]
    assert commands.main(argv, run_all.QUICK, run_all.FULL) == 0
    return data_of(page.build([out]).path), runs


def test_every_bad_record_is_named_and_every_other_is_shown(sweep):
    data, runs = sweep
    assert {runs[kind] for kind in DAMAGES} == {
        place.rpartition("/")[2] for place, _ in data["damaged"]
    }
    failed = {kind for kind in runs if runs[kind] in data["failures"]}
    assert failed == set(ALTERATIONS)
    for kind in (*HARMLESS, "good"):
        assert data["runs"][runs[kind]]["state"] == "done", kind


def test_a_field_of_any_type_stops_no_page(tmp_path):
    """Each is named, is a failure, or is shown; none ends the report, and the good ones stand."""
    runs = {}
    for k, kind in enumerate([*ODD, "good", "gone plugin"]):
        spec = specification(list(METHODS)[k % 5], partial(0.5), seed=k // 5)
        runs[kind] = write_run(tmp_path, spec, images=20)
        if kind in ODD:
            ODD[kind](tmp_path / "runs" / runs[kind])
    plugin = {"methods:gone": "/nowhere/gone.py"}
    sealed(
        tmp_path / "runs" / runs["gone plugin"], lambda s: s["provenance"].update(plugins=plugin)
    )
    data = data_of(page.build([tmp_path]).path)
    damaged = {place.rpartition("/")[2] for place, _ in data["damaged"]}
    assert set(runs.values()) <= damaged | set(data["runs"]), "a run is lost"
    for kind in ("good", "gone plugin"):
        assert data["runs"][runs[kind]]["state"] == "done"
    assert len(ODD) > 150 and len(damaged) > 80


@pytest.mark.parametrize("name", ["thumbnails", "names"])
def test_pictures_and_names_that_do_not_fit_are_named(tmp_path, name):
    run = write_run(tmp_path, specification("coop", partial(0.5)), images=20)
    (path,) = tmp_path.glob("tasks/*.npz")
    np.savez(path, **{**dict(np.load(path)), name: np.zeros(3)})
    data = data_of(page.build([tmp_path]).path)
    assert data["runs"][run]["state"] == "failed" and name in str(data["runs"][run]["error"])
