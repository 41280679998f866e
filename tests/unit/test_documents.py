"""The documents are true: every command in them is understood, the cheap ones run, and what they
name exists."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

import run_all
from benchmark import commands, registry
from benchmark.commands import new
from benchmark.commands.parser import parse, parsers
from benchmark.commands.plan import planned
from methods._loss_names import LOSSES

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmark/**/README.md"))
)
# First parts of paths that are ours; other paths are of runs, of users, or of other people's code.
ROOMS = {"benchmark", "methods", "settings", "reports", "tests", "docs", ".ci", ".github"}
# steps of the functions that docs/formulas.md names
HELPERS = {
    "methods._partial_losses.expected_positives",
    "methods._regions.score_regions",
    "settings._masks.known_mask",
}
# flags of other programs
FOREIGN = {"--nthreads", "--resources", "--array", "--gres", "--host", "--index-url", "--cores"}


def fenced(text: str) -> list[str]:
    """The blocks between ``` lines."""
    return re.findall(r"^```[^\n]*\n(.*?)^```", text, re.M | re.S)


def command_lines(document: Path) -> list[list[str]]:
    """The arguments of every call of this program, in blocks or between backticks."""
    text = document.read_text()
    lines = [line for block in fenced(text) for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`((?:python run_all\.py|lowlabel)[^`]*)`", text)
    found = []
    for line in lines:
        for part in re.split(r"&&|\|(?=\s)", line):
            words = part.split("#")[0].strip().removeprefix("$ ")
            is_call = words.startswith(("python run_all.py", "lowlabel "))
            if is_call and "…" not in words:
                words = words.replace("$SLURM_ARRAY_TASK_ID", "0")
                found.append(shlex.split(words)[1 + words.startswith("python") :])
    return found


CALLS = [(path, argv) for path in DOCUMENTS for argv in command_lines(path)]


@pytest.fixture
def working_folder(tmp_path, monkeypatch):
    """A folder in which the files that documents call their own exist: my_idea.py, my/idea.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_files", {})
    (tmp_path / "my").mkdir()
    for path in ("my_idea.py", "my/idea.py"):
        (tmp_path / path).write_text(new.METHOD)
    registry.register_file("methods", "my_idea.py")
    return tmp_path


@pytest.mark.parametrize(
    "document, argv", CALLS, ids=[f"{path.name}: {' '.join(argv)}" for path, argv in CALLS]
)
def test_a_command_is_understood_and_run_if_it_is_cheap(document, argv, working_folder, capsys):
    if argv and argv[0] in ("--help", "--version"):
        return
    arguments = parse(argv)
    if arguments.verb in ("run", "plan"):
        try:
            planned(arguments, run_all.FULL if arguments.settings else run_all.QUICK)
        except FileNotFoundError as error:  # real data is not on this machine, and it says so
            assert " wants " in str(error)
    elif arguments.verb == "list" or (arguments.verb == "data" and not arguments.download):
        assert commands.main(argv, run_all.QUICK, run_all.FULL) == 0
    elif arguments.verb == "new":
        (working_folder / f"{arguments.name}.py").unlink(missing_ok=True)
        registry._files.clear()
        assert commands.main(argv, run_all.QUICK, run_all.FULL) == 0


def test_documents_hold_commands():
    assert len(CALLS) > 15


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_exists(document):
    text = document.read_text()
    prose = re.sub(r"^```[^\n]*\n.*?^```", "", text, flags=re.M | re.S)
    flags = {
        flag for verb in parsers()[1].values() for a in verb._actions for flag in a.option_strings
    }
    unknown = set(re.findall(r"`(--[a-z][a-z-]*)", prose)) - flags - FOREIGN - {"--version"}
    for link in re.findall(r"\]\(([^)#:\s]+)\)", prose):
        if not (document.parent / link).exists():
            unknown.add(link)
    for quoted in re.findall(r"`([^`\n]+)`", prose):
        ours = quoted.partition("/")[0] in ROOMS and re.fullmatch(r"[\w./*-]+", quoted)
        ours = ours or re.fullmatch(r"[\w-]+\.(md|toml|cff|yml)", quoted)
        if ours and not list(ROOT.glob(quoted.rstrip("/"))):
            unknown.add(quoted)
    assert not unknown, f"{document.name} names {sorted(unknown)}"


def test_environment_variables_and_entry_points_exist():
    source = "".join(
        path.read_text()
        for folder in ("benchmark", "tests")
        for path in (ROOT / folder).rglob("*.py")
    )
    for document in DOCUMENTS:
        for name in re.findall(r"LOWLABEL_[A-Z_]+", document.read_text()):
            assert f'"{name}"' in source, f"{document.name}: {name}"
        for module in re.findall(r"python -m ((?:benchmark|tests)[\w.]*)", document.read_text()):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def functions_of(folder):
    """Dotted names of the public functions in the helpers of a folder."""
    return {
        f"{folder}.{path.stem}.{node.name}"
        for path in (ROOT / folder).glob("_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name[0] != "_"
    }


def test_the_table_of_formulas_names_what_there_is():
    """Every function it names can be imported, every loss and every mask stands in it."""
    text = (ROOT / "docs/formulas.md").read_text()
    for name in re.findall(r"`((?:methods|settings)\.[\w.]+)`", text):
        module, _, function = name.rpartition(".")
        assert callable(getattr(importlib.import_module(module), function, None)), name
    missing = {name for name in LOSSES if f"`{name}`" not in text}
    formulas = ("_partial_losses", "_losses", "_pseudo_labels", "_regions", "_prototypes")
    wanted = {name for name in functions_of("methods") if name.split(".")[1] in formulas}
    wanted |= {name for name in functions_of("settings") if name.endswith(("_mask", "_positive"))}
    missing |= {name for name in wanted - HELPERS if f"`{name}`" not in text}
    assert not missing, f"docs/formulas.md does not name {sorted(missing)}"
    for block in fenced(text):
        exec(block, {})


def test_the_readme_names_everything_that_can_be_compared():
    text = (ROOT / "README.md").read_text()
    for kind in ("methods", "settings"):
        own = {path.stem for path in (ROOT / kind).glob("[!_]*.py")}
        missing = {name for name in own if f"`{name}`" not in text}
        assert not missing, f"README.md does not name the {kind} {sorted(missing)}"
