"""Flags that no other test walks through, from the command line to what they leave behind."""

import os
import pdb
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest

import run_all
from benchmark import commands, data
from benchmark.store import Store
from tests.fixtures.miniatures import build_voc2007

ROOT = Path(__file__).resolve().parents[3]
SMALL = ["--settings", "partial(known=.5)", "--datasets", "digits", "--seeds", "0", "--limit", "60"]
COOP = "coop(epochs=2)"
PLUGIN = """
from dataclasses import dataclass
import time
import benchmark

@dataclass
class Method(benchmark.Method):
    '''{doc}'''
    needs = "global"

    def fit(self, clip, train, val, run):
        {fit}

    def predict(self, clip, x, classes):
        return clip.scale * x @ clip.text(list(classes)).T
"""


def main(*argv: str) -> int:
    return commands.main(list(argv), run_all.QUICK, run_all.FULL)


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """Results of CoOp with the epoch chosen on test, TensorBoard beside it."""
    folder = tmp_path_factory.mktemp("flags") / "out"
    flags = ["--methods", COOP, "--selection", "oracle", "--tensorboard", "--backend", "inline"]
    assert main(*SMALL, *flags, "--out", str(folder)) == 0
    return folder


def only(out: Path) -> dict:
    (record,) = Store(out).records()
    return record


def test_selection_and_tensorboard(out):
    record = only(out)
    assert record["spec"].selection == "oracle" and "best_valid_mAP" in record["chosen"]
    assert list((Store(out).folder(record["id"]) / "tensorboard").iterdir())


def test_checkpoint_and_keep(out, capsys):
    record = only(out)
    assert main("one", record["id"], "--out", str(out), "--checkpoint", "best_valid_mAP") == 0
    assert f"mAP {record['metrics']['all']['mAP']:.2f}" in capsys.readouterr().out
    assert main("one", record["id"], "--out", str(out)) == 0
    assert "reproduced" in capsys.readouterr().out
    assert only(out)["attempt"] == record["attempt"]
    assert main("one", record["id"], "--out", str(out), "--keep") == 0
    assert only(out)["attempt"] == record["attempt"] + 1


def test_fresh_runs_what_is_done_once_more(out, capsys):
    path = Store(out).folder(only(out)["id"]) / "record.json"
    before = path.stat().st_mtime_ns
    flags = [*SMALL, "--methods", COOP, "--selection", "oracle", "--backend", "inline"]
    assert main(*flags, "--out", str(out)) == 0
    assert "nothing to compute" in capsys.readouterr().out and path.stat().st_mtime_ns == before
    assert main(*flags, "--out", str(out), "--fresh", "all") == 0
    assert path.stat().st_mtime_ns > before and only(out)["status"] == "done"


def test_tables_only_and_open(out, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    (out / "report.html").unlink(missing_ok=True)
    assert main("report", "--out", str(out), "--tables-only") == 0
    assert list((out / "tables").glob("*.tex")) and not (out / "report.html").exists()
    assert main("report", "--out", str(out), "--open") == 0
    assert opened == [(out / "report.html").resolve().as_uri()]


def test_shorter_lists_only_where_they_are_meant(tmp_path, monkeypatch):
    monkeypatch.delenv("LOWLABEL_ALLOW_SUBSET", raising=False)
    build_voc2007(tmp_path / "voc")
    axes = ["--settings", "partial(known=.5)", "--datasets", "voc2007", "--seeds", "0"]
    axes += ["--methods", "zero_shot_clip", "--encoders", "pocket-RN", "--limit", "16"]
    flags = ["--data", str(tmp_path / "voc"), "--out", str(tmp_path / "out"), "--backend", "inline"]
    data._load.cache_clear()
    assert main(*axes, *flags) == 1
    record = only(tmp_path / "out")
    assert record["status"] == "failed" and "add --allow-subset" in record["error"]["message"]
    assert main(*axes, *flags, "--allow-subset") == 0
    record = only(tmp_path / "out")
    assert record["status"] == "done" and any("subset" in note for note in record["task"]["notes"])


def test_timeout_pdb_and_plugin(tmp_path, monkeypatch, capsys):
    """A plugin that hangs ends as `timeout`; repeated by `one` it must be named, and may be
    debugged."""
    path, out = tmp_path / "sleepy.py", tmp_path / "out"
    path.write_text(PLUGIN.format(doc="Hangs.", fit="time.sleep(600)"))
    command = [sys.executable, str(ROOT / "run_all.py"), *SMALL, "--methods", str(path)]
    flags = ["--timeout", "1s", "--slots", "1", "--per-gpu", "1", "--out", str(out)]
    environment = {**os.environ, "LOWLABEL_LEASES": str(tmp_path / "leases")}
    ended = subprocess.run([*command, *flags], env=environment, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    record = only(out)
    assert record["status"] == "timeout" and "1 s" in record["error"]["message"]
    path.write_text(PLUGIN.format(doc="Raises.", fit="raise RuntimeError('look here')"))
    assert main("one", record["id"], "--out", str(out)) == 2
    assert "--plugin" in capsys.readouterr().err
    stopped: list[object] = []
    monkeypatch.setattr(pdb, "post_mortem", stopped.append)
    named = ["--plugin", str(path), "--pdb"]
    assert main("one", record["id"], "--out", str(out), *named) == 1
    assert len(stopped) == 1 and only(out)["status"] == "timeout"
