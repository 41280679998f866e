"""Verbs and flags are frozen; a user error is one line and exit code 2."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

import run_all
from benchmark import commands

ROOT = Path(__file__).resolve().parents[3]

SURFACE = {
    "run": "--settings --methods --datasets --encoders --seeds --selection --data --out --shard "
    "--fresh "
    "--backend --address --slots --per-gpu --timeout --tensorboard",
    "plan": "--settings --methods --datasets --encoders --seeds --selection --data --out --shard "
    "--fresh",
    "report": "--out --open --tables-only",
    "list": "kind --data",
    "one": "id --out --data --pdb --checkpoint",
    "new": "kind name",
    "check": "name",
    "diff": "a b --out",
    "data": "name --data --download",
}


def main(*argv: str) -> int:
    return commands.main(list(argv), run_all.QUICK, run_all.FULL)


def test_verbs_and_flags_are_frozen():
    verbs = next(
        action
        for action in commands.parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ).choices
    assert tuple(verbs) == commands.VERBS
    for verb, parser in verbs.items():
        flags = {
            action.option_strings[-1] if action.option_strings else action.dest
            for action in parser._actions
        }
        assert flags - {"--help"} == set(SURFACE[verb].split()), verb


@pytest.mark.parametrize(
    "argv, said",
    [
        (["plan", "--methods", "zero_shot"], "Did you mean 'zero_shot_clip'?"),
        (["plan", "--settings", "partiel"], "Did you mean 'partial'?"),
        (["plan", "--settings", "partial(knwon=.1)"], "Did you mean 'known'?"),
        (["plan", "--settings", "partial(known=7.)"], "fraction"),
        (
            ["plan", "--settings", "partial", "--datasets", "pictogram"],
            "Did you mean 'pictograms'?",
        ),
        (["plan", "--settings", "partial", "--datasets", "voc2007"], "voc2007 wants"),
        (["plan", "--settings", "partial", "--encoders", "RN51/openai"], "RN50"),
        (["plan", "--settings", "partial", "--selection", "best"], "Known: last, val, oracle"),
        (["plan", "--seeds", "a-b"], "Write 0-4 or 0,3"),
        (["--settings", "partial", "--timeout", "soon"], "2h"),
        (["plan", "--shard", "5/3"], "5/3"),
        (["report", "--out", "no-such-folder"], "There is no result folder"),
        (["one", "abcdef"], "no record"),
        (["new", "method", "9lives"], "cannot be a plugin's name"),
        (["new", "method", "coop"], "exists already"),
        (["check", "cop"], "Did you mean 'coop'?"),
        (["data", "voc2008"], "Did you mean 'voc2007'?"),
    ],
)
def test_a_user_error_is_one_line_and_exit_code_2(argv, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(*argv) == 2
    printed = capsys.readouterr()
    assert said in printed.err, printed.err
    assert printed.err.count("\n") == 1 and "Traceback" not in printed.err
    assert not printed.out


def test_an_unknown_flag_is_exit_code_2():
    result = subprocess.run(
        [sys.executable, ROOT / "run_all.py", "--sittings", "x"], capture_output=True, text=True
    )
    assert result.returncode == 2 and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "text, seeds", [("0", (0,)), ("0-2", (0, 1, 2)), ("3,0-1", (3, 0, 1)), ("1,1", (1,))]
)
def test_seeds(text, seeds):
    assert commands.parse_seeds(text) == seeds


def test_list_names_everything(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main("list") == 0
    printed = capsys.readouterr().out
    for name in (
        "coop",
        "dualcoop",
        "partial",
        "long_tail",
        "pictograms",
        "digits",
        "voc2007",
        "pocket-RN",
    ):
        assert name in printed


def test_plan_of_the_readme_command_has_all_ratios_and_runs_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        main("plan", "--settings", "partial", "--methods", "zero_shot_clip", "--datasets", "digits")
        == 0
    )
    printed = capsys.readouterr().out
    for ratio in range(1, 10):
        assert f"known=0.{ratio}" in printed
    assert "27 todo" in printed  # nine ratios, three seeds
    assert not list(tmp_path.iterdir())


def test_data_on_an_empty_folder_prints_a_table(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main("data", "--data", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    for name in ("voc2007", "coco2014", "nus_wide", "voc_mlt", "coco_mlt"):
        assert name in printed
