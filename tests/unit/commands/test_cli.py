"""Verbs and flags are frozen; a user error is one line and exit code 2."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

import run_all
from benchmark import __version__, commands
from benchmark.commands import new
from benchmark.commands.parser import command_line, parsers
from benchmark.commands.suite import parse_seeds
from benchmark.spec import nearest
from tests.fixtures.synthetic_records import partial, specification, write_run

ROOT = Path(__file__).resolve().parents[3]

SURFACE = {
    "run": "--settings --methods --datasets --encoders --seeds --selection --limit --shard "
    "--fresh --data --allow-subset --out "
    "--backend --address --slots --per-gpu --cohort --timeout --tensorboard",
    "plan": "--settings --methods --datasets --encoders --seeds --selection --limit --shard "
    "--fresh --data --allow-subset --out --measure",
    "report": "--out --open --tables-only --metric",
    "list": "kind --data --allow-subset",
    "one": "id --out --data --allow-subset --plugin --pdb --keep --checkpoint",
    "new": "kind name",
    "check": "name",
    "diff": "a b --out",
    "data": "name --data --allow-subset --download",
}


def main(*argv: str) -> int:
    return commands.main(list(argv), run_all.QUICK, run_all.FULL)


def test_verbs_and_flags_are_frozen():
    _, verbs = parsers()
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
        (["plna"], "Did you mean 'plan'?"),
        (["--sittings", "partial"], "Did you mean '--settings'?"),
        (["plan", "--slots", "3"], "plan does not take '--slots'"),
        (["run", "--backend", "locy"], "Did you mean 'loky'?"),
        (["list", "method"], "Did you mean 'methods'?"),
        (["diff", "abc"], "are required: b"),
        (["plan", "--methods", "zero_shot"], "Did you mean 'zero_shot_clip'?"),
        (["plan", "--settings", "partiel"], "Did you mean 'partial'?"),
        (["plan", "--settings", "partial(knwon=.1)"], "Did you mean 'known'?"),
        (["plan", "--settings", "partial(known=7.)"], "above 0 and up to 1"),
        (["plan", "--settings", "partial(known=[])"], "lists no value"),
        (["plan", "--settings", "partial(known=.5)(known=.1)"], "Cannot read"),
        (["plan", "--settings", "partial(known=.5, known=.1)"], "Cannot read"),
        (["plan", "--settings", "partial(known=" + "-" * 5000 + "1)"], "Cannot read"),
        (["plan", "--methods", "coop(epochs=-1)"], "epochs=-1 should be from 1"),
        (["plan", "--methods", "coop(learning_rate=1e999)"], "no finite number"),
        (["plan", "--methods", "lm_clip(draws=0.)"], "draws=0.0 should be above 0"),
        (["plan", "--methods", "coop(copies=-2)"], "from 0"),
        (["plan", "--methods", "coop(augment=flop)"], "one of '', 'flip'"),
        (["plan", "--seeds", "5-2"], "smaller number first"),
        (["plan", "--seeds", "0-99999999999"], "too many"),
        (["--slots", "-1"], "slots"),
        (["--slots", "9" * 4000], "slots go from 0"),
        (["--per-gpu", "0"], "GPU"),
        (["plan", "--methods", "./loop.py"], "There is no plugin file"),
        (["check", "coop(epochs=2)"], "without parameters"),
        (["--out", "a/" * 2000], "recursion"),
        (["--backend", "dask"], "--address"),
        (["--backend", "dask", "--address", "nowhere:1"], "dask"),
        (["plan", "--data", "taken"], "is not a folder"),
        (["--out", "taken"], "taken"),
        (["report", "--out", "taken"], "There is no result folder"),
        (
            ["plan", "--settings", "partial", "--datasets", "pictogram"],
            "Did you mean 'pictograms'?",
        ),
        (["plan", "--settings", "partial", "--datasets", "voc2007"], "voc2007 wants"),
        (["plan", "--settings", "partial", "--encoders", "RN51/openai"], "RN50"),
        (["plan", "--settings", "partial", "--selection", "best"], "Known: last, val, oracle"),
        (["plan", "--seeds", "a-b"], "Write 0-4 or 0,3"),
        (["--settings", "partial", "--timeout", "soon"], "2h"),
        (["--cohort", "0"], "auto, off or 27"),
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
    (tmp_path / "taken").write_text("a file where a folder is wanted")
    (tmp_path / "loop.py").symlink_to("loop.py")
    before = sorted(tmp_path.iterdir())
    assert main(*argv) == 2
    assert sorted(tmp_path.iterdir()) == before, "a mistake left something behind"
    printed = capsys.readouterr()
    assert said in printed.err, printed.err
    assert printed.err.count("\n") == 1 and "Traceback" not in printed.err
    assert not printed.out


LIGHT = (
    ["--help"],
    ["--version"],
    ["plna"],
    ["--sittings", "x"],
    ["run", "--backend", "locy"],
    ["list", "mehods"],
    ["plan", "--methods", "zero_shot"],
    ["run", "--settings", "partial(knwon=.1)"],
    ["run", "--datasets", "pictogram"],
    ["plan", "--seeds", "a-b"],
    ["check", "cop"],
    ["one", "abcdef"],
)


@pytest.mark.parametrize("argv", LIGHT, ids=" ".join)
def test_help_and_mistakes_of_spelling_need_nothing_heavy(argv):
    code = (
        "import sys, run_all\n"
        "try: run_all.command()\n"
        "except SystemExit: pass\n"
        "print({'torch', 'pandas', 'scipy', 'open_clip'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *argv], cwd=ROOT, capture_output=True, text=True
    )
    assert result.stdout.endswith("set()\n") and not result.returncode, result.stderr


def test_help_shows_the_verbs_the_flags_of_run_and_three_examples(capsys):
    with pytest.raises(SystemExit) as end:
        main("--help")
    printed = capsys.readouterr().out
    assert not end.value.code
    for word in (*commands.VERBS, *SURFACE["run"].split()):
        assert word in printed, word
    assert printed.partition("examples:")[2].count("python run_all.py") == 3


def test_commands_are_written_as_the_program_was_called(monkeypatch):
    for started, wanted in {
        "/usr/bin/lowlabel": "lowlabel",
        "run_all.py": "python run_all.py",
        "../the suite/run_all.py": "python '../the suite/run_all.py'",
        "pytest": "python run_all.py",
    }.items():
        monkeypatch.setattr("sys.argv", [started, "plan", "--out", "my results"])
        assert command_line() == f"{wanted} plan --out 'my results'"


def test_version(capsys):
    with pytest.raises(SystemExit):
        main("--version")
    assert capsys.readouterr().out.strip() == f"lowlabel-bench {__version__}"


def test_of_a_long_list_the_nearest_five_are_named():
    known = [f"method_{i}" for i in range(30)]
    said = nearest("methud_7", known)
    assert "Did you mean 'method_7'?" in said and said.count("method_") == 1 + 5


@pytest.mark.parametrize(
    "text, seeds", [("0", (0,)), ("0-2", (0, 1, 2)), ("3,0-1", (3, 0, 1)), ("1,1", (1,))]
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


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


@pytest.mark.parametrize("kind", ["method", "setting"])
def test_new_writes_into_the_working_folder(kind, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main("new", kind, "my_own_idea") == 0
    assert (tmp_path / "my_own_idea.py").read_text().startswith('"""my_own_idea: ')
    assert "check my_own_idea.py" in capsys.readouterr().out
    assert main("new", kind, "my_own_idea") == 2  # and never over something
    assert "my_own_idea.py exists already" in capsys.readouterr().err


def test_new_in_the_checkout_writes_beside_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(new, "ROOT", tmp_path)
    (tmp_path / "methods").mkdir()
    assert new.write("method", "my_own_idea", tmp_path) == tmp_path / "methods/my_own_idea.py"


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


@pytest.mark.parametrize("limit", ["much", "-1", "nan", "inf"])
def test_a_bank_limit_that_is_no_number_is_one_line(tmp_path, monkeypatch, capsys, limit):
    monkeypatch.setenv("LOWLABEL_BANK_LIMIT", limit)
    flags = ["--settings", "partial(known=.5)", "--methods", "zero_shot_clip", "--seeds", "0"]
    assert main("run", *flags, "--out", str(tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert "LOWLABEL_BANK_LIMIT" in error and error.count("\n") == 1
    assert not list((tmp_path / "out").glob("runs/*"))


def test_seeds_are_read_with_commas_or_blanks(capsys, tmp_path):
    flags = ["plan", "--settings", "few_shot", "--methods", "sparc", "--out", str(tmp_path)]
    for seeds in (["0,1,4"], ["0-1", "4"], ["0", "1", "4"]):
        assert commands.main([*flags, "--seeds", *seeds], run_all.QUICK, run_all.FULL) == 0
        printed = capsys.readouterr().out
        assert "3 of 3 runs" in printed and "seed=4" in printed, printed


def test_a_terminal_that_knows_no_dash_shows_another_sign(tmp_path, monkeypatch):
    for method in ("coop", "dualcoop"):
        write_run(tmp_path, specification(method, partial(0.5)), images=40)
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    assert main("report", "--out", str(tmp_path), "--tables-only") == 0
    ascii_only.flush()
    assert b"?" in ascii_only.buffer.getvalue() and b"leads with" in ascii_only.buffer.getvalue()
