"""Dependencies point one way, and the import path of the supervisors stays free of torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = sorted((ROOT / "benchmark").rglob("*.py"))
PLUGINS = sorted([*(ROOT / "methods").glob("*.py"), *(ROOT / "settings").glob("*.py")])


def imported(file: Path) -> set[str]:
    """Top-level and dotted names of the project's modules that a file imports, also inside
    functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {
        name
        for name in found
        if name.split(".")[0] in {"benchmark", "methods", "settings", "reports", "run_all"}
    }


@pytest.mark.parametrize("file", ENGINE, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_engine_names_no_method_and_no_setting(file):
    forbidden = {
        name for name in imported(file) if name.split(".")[0] in {"methods", "settings", "run_all"}
    }
    assert not forbidden
    if file.name != "cli.py":
        assert not any(name.startswith("reports") for name in imported(file))


@pytest.mark.parametrize("file", PLUGINS, ids=lambda file: str(file.relative_to(ROOT)))
def test_plugins_import_the_types_and_their_own_helpers(file):
    allowed = (
        *(
            "benchmark.task",
            "benchmark.metrics",
            "benchmark.prompt_encoder",
            "benchmark.encoder",
            "benchmark.data",
        ),
        f"{file.parent.name}._",
    )
    for name in imported(file) - {"benchmark", file.parent.name}:
        assert name.startswith(allowed), f"{file} imports {name}"


@pytest.mark.parametrize(
    "file", sorted((ROOT / "reports").glob("*.py")), ids=lambda file: file.name
)
def test_reports_are_made_from_records_alone(file):
    allowed = ("benchmark.store", "benchmark.metrics", "benchmark.statistics", "reports")
    for name in imported(file) - {"benchmark"}:
        assert name.startswith(allowed), f"{file} imports {name}"


def test_a_supervisor_imports_no_torch():
    code = "import sys, benchmark.schedule; print('torch' in sys.modules, 'pandas' in sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert printed.split() == ["False", "False"]
