"""200 command lines that nobody should write: exit code 0, 1 or 2, and never a traceback."""

import dataclasses
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import run_all
from benchmark import commands, registry
from benchmark.commands import check, report, run
from benchmark.spec import Choice, Encoder, Spec
from benchmark.store import Store, empty_record
from benchmark.sweep.schedule import Summary

WORDS = [
    "", " ", "coop", "partial", "pocket-RN", "-1", "0", "1e999", "nan", "()", "coop()", "coop(",
    "coop(epochs=0)", "coop(epochs=-3)", "coop(epochs=[])", "coop(epochs=[1,2])", "coop(1)",
    "coop(**x)", "coop(epochs=1)(epochs=2)", "coop(epochs=" + "-" * 5000 + "1)", "(" * 3000,
    "coop(learning_rate='a')", "partial(known=0)", "partial(known=2)", "partial(known=[.1,.1])",
    "partial(dataset=voc2007)", "partial(preset=paper)", "partial(preset=none)", "zero_shot",
    "long_tail(val_fraction=1)", "tuned(method=coop)", "tuned(method=tuned)", "linear_probe(",
    "RN50/openai@223", "RN50/none", "RN50//no/file.pt", "pocket-RN@0", "pocket-ViT/openai", "@@",
    "0-2", "2-0", "0-99999999999", "1,,2", "²", "0-0", "3/2", "0/0", "1/2", "a/b", "last", "oracle",
    "best", "failed", "stale", "5m", "0s", "-5m", "1e9h", "dask", "loky", "tcp://nowhere:1",
    "no/dir", "/dev/null", "taken", "broken.py", "exits.py", "no_needs.py", "globl.py", "binary.py",
    "../../x", "fine.py", "\x00", "\udcff", "é\n\t", "%s%n", "--", "-", "-x",
    "--fresh", "voc2007", "pictograms",
]  # fmt: skip
FLAGS = [
    "--settings", "--methods", "--datasets", "--encoders", "--seeds", "--selection", "--shard",
    "--fresh", "--data", "--out", "--backend", "--address", "--slots", "--per-gpu", "--timeout",
    "--cohort", "--tensorboard", "--tables-only", "--checkpoint", "--pdb", "--plugin",
    "--allow-subset", "--nope", "--limit",
]  # fmt: skip
HEAD = b"from dataclasses import dataclass\n@dataclass\nclass Method:\n"
FILES = {
    "broken.py": b"def f(:\n",
    "exits.py": b"import sys\nsys.exit(3)\n",
    "no_needs.py": HEAD + b"    pass\n",
    "globl.py": HEAD + b"    needs = 'globl'\n",
    "binary.py": b"\xff\xfe\x00\x01",
    "fine.py": HEAD + b"    needs = 'global'\n",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with plugins of every kind of badness and a result; nothing is computed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_files", {})
    monkeypatch.setattr(run, "run_jobs", lambda jobs, out, **options: Summary(done=len(jobs)))
    monkeypatch.setattr(run, "fetch_weights", lambda rows: None)
    monkeypatch.setattr(report, "build", lambda *arguments, **options: Path("report.html"))
    monkeypatch.setattr(check, "report", lambda *arguments: 0)
    for name, text in FILES.items():
        (tmp_path / name).write_bytes(text)
    (tmp_path / "taken").write_text("a file where a folder is wanted")
    spec = Spec(Choice("gone"), Choice("partial", {"dataset": "x"}), Encoder("a", "b", 1))
    store = Store(tmp_path / "results")
    store.write(empty_record(spec, "crashed"))
    store.write(empty_record(dataclasses.replace(spec, seed=1), "done"), np.zeros((2, 2)))
    return tmp_path


def command_line(draw: random.Random) -> list[str]:
    verbs = [*commands.VERBS, "run", "run", "plan", "plan", "plan", "nothing"]
    line = [draw.choice(verbs)] if draw.random() < 0.9 else []
    for _ in range(draw.randrange(4)):
        if draw.random() < 0.75:
            line.append(draw.choice(FLAGS))
        line += [draw.choice(WORDS) for _ in range(draw.randrange(1, 3))]
    return line


def test_200_command_lines_end_in_a_sentence(folder, monkeypatch, capsys):
    draw, codes, problems = random.Random(7), [], []
    ids = [record["id"] for record in Store(folder / "results").records()]
    lines = [["diff", ids[0], ids[1]], ["one", ids[0]], ["one", ids[0], "--checkpoint", "x"]]
    lines += [["plan", "--methods", name] for name in FILES]
    lines += [command_line(draw) for _ in range(200 - len(lines))]
    for line in lines:
        if line[:1] in (["data"], ["new"]):  # they write and download
            continue
        try:
            code = commands.main(line, run_all.QUICK, run_all.FULL)
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            problems.append(f"{[word[:80] for word in line]}: {error!r:.300}")
            continue
        printed = capsys.readouterr()
        if code not in (0, 1, 2) or "Traceback" in printed.err:
            problems.append(f"{line}: {code} {printed.err}")
        if code == 2 and printed.err.count("\n") != 1:
            problems.append(f"{line}: {printed.err}")
        codes.append(code)
    assert not problems, "\n".join(problems)
    assert codes.count(2) > 50 and codes.count(0) > 10  # both kinds are drawn


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken.py", "broken.py cannot be imported: SyntaxError"),
        ("exits.py", "exits.py cannot be imported: SystemExit"),
        ("no_needs.py", "does not say what it needs"),
        ("globl.py", "needs 'globl'"),
        ("binary.py", "binary.py cannot be"),
    ],
)
def test_a_plugin_that_is_none_is_one_sentence(folder, name, said, capsys):
    assert commands.main(["plan", "--methods", f"./{name}"], run_all.QUICK, run_all.FULL) == 2
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1


def test_two_files_of_one_name_are_an_error_that_names_both(folder, capsys):
    for place in ("a", "b"):
        (folder / place).mkdir()
        (folder / place / "idea.py").write_bytes(FILES["fine.py"])
    line = ["plan", "--methods", "a/idea.py", "b/idea.py"]
    assert commands.main(line, run_all.QUICK, run_all.FULL) == 2
    printed = capsys.readouterr().err
    assert "a/idea.py" in printed and "b/idea.py" in printed and "one name" in printed


def test_a_helper_beside_a_plugin_simply_works(folder):
    (folder / "beside_it.py").write_text("NEEDS = 'global'\n")
    text = FILES["fine.py"].replace(b"'global'", b"beside_it.NEEDS")
    (folder / "with_helper.py").write_bytes(b"import beside_it\n" + text)
    line = ["plan", "--methods", "./with_helper.py"]
    assert commands.main(line, run_all.QUICK, run_all.FULL) == 0


def test_ctrl_c_is_one_line(folder, monkeypatch, capsys):
    def pressed(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_jobs", pressed)
    line = ["--methods", "zero_shot_clip", "--settings", "partial(known=.5)"]
    assert commands.main(line, run_all.QUICK, run_all.FULL) == 130
    assert "stopped" in capsys.readouterr().err


def test_a_full_disk_is_one_line(folder, monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device", "results/sweeps")

    monkeypatch.setattr(run, "run_jobs", full)
    line = ["--methods", "zero_shot_clip", "--settings", "partial(known=.5)"]
    assert commands.main(line, run_all.QUICK, run_all.FULL) == 2
    assert "No space left on device" in capsys.readouterr().err


INTERRUPTED = """
import runpy, sys

class Interrupt:
    def find_spec(name, *rest):
        if name == sys.argv[1]:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt)
sys.argv = ["run_all.py", "list", "methods"]
runpy.run_path("run_all.py", run_name="__main__")
"""


@pytest.mark.parametrize("module", ["benchmark.commands", "numpy", "benchmark.commands.list"])
def test_ctrl_c_during_the_imports_is_one_line(module):
    code = INTERRUPTED.replace("sys.argv[1]", repr(module))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(run_all.__file__).parent,
    )
    assert done.returncode in (130, -2) and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "stopped" in done.stderr
