"""Records that are damaged or altered: each is named on the page, none stops the others."""

import json

import numpy as np
import pytest

from benchmark import integrity
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
    "short": lambda f: sealed(f, lambda s: s["per_class"].update(AP=[1.0])),
    "group": lambda f: sealed(f, lambda s: s["task"].update(groups={"head": [99]})),
}
HARMLESS = {
    "history": lambda f: (f / "history.csv").write_bytes(b"a,b\n\xff\xfe,\x00\n" + b"x" * 200_000),
    "examples": lambda f: (f / "examples.npz").write_bytes(b"PK\x03\x04 no archive"),
    "log": lambda f: ((f / "log.txt").unlink(), (f / "log.txt").mkdir()),
    "scores gone": lambda f: (f / "scores.npy").unlink(),
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
