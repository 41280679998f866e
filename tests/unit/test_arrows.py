"""Which room may import which: one table, and every import of the project is held against it."""

import ast
import subprocess
import sys
from pathlib import Path

import benchmark

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("benchmark", "methods", "settings", "reports", "run_all.py")

# Room -> the rooms it may import, from the ground up: a room only names rooms above its own line.
ARROWS = {
    "files": "",
    "spec": "",
    "task": "spec",
    "metrics": "task",
    "integrity": "files spec",
    "parameters": "",
    "sources": "files",
    "store": "files integrity spec",
    "traces": "",
    "clip": "files spec task",
    "registry": "files parameters spec task",
    "data": "files registry sources spec task",
    "features": "clip data files sources spec task",
    "catalogue": "files registry spec",
    "methods": "clip metrics registry task",
    "settings": "data task",
    "presets": "registry spec task",
    "staleness": "files registry sources store",
    "run": "clip data features files metrics registry spec staleness store task traces",
    "estimate": "clip data spec store task",
    "plan": "clip data estimate presets registry spec staleness store task",
    "sweep": "files spec staleness store traces",
    "planned": "files integrity spec",
    "reports": "files metrics planned spec store",
    "pretraining": "clip data metrics spec task",
    "commands": "catalogue clip data estimate features files metrics plan planned registry reports "
    "run spec staleness store sweep task",
    "run_all": "commands",
}


def files() -> list[Path]:
    found = [ROOT / name for name in FOLDERS]
    return [p for place in found for p in ([place] if place.is_file() else place.rglob("*.py"))]


def imported(file: Path) -> set[str]:
    """Dotted names that a file imports, also inside functions and under TYPE_CHECKING."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    found.discard("benchmark.__version__")
    return {name for name in found if name.split(".")[0] in {Path(f).stem for f in FOLDERS}}


def room(name: str) -> str:
    """The room of a dotted name or of a file's path: the first folder, below `benchmark`, which
    itself re-exports names of `benchmark.task` and `benchmark.parameters`."""
    if name == "benchmark" or name.removeprefix("benchmark.") in benchmark.__all__:
        return "task"
    parts = name.split(".")
    return parts[1] if parts[0] == "benchmark" and len(parts) > 1 else parts[0]


def test_imports_run_one_way_room_by_room():
    wrong = []
    for file in files():
        own = room(str(file.relative_to(ROOT).with_suffix("")).replace("/", "."))
        if own == "__init__":
            continue
        wrong += [
            f"{file.relative_to(ROOT)} imports {name}"
            for name in sorted(imported(file))
            if room(name) != own and room(name) not in ARROWS[own].split()
        ]
    assert not wrong, "\n".join(wrong)


def test_the_table_has_no_circle():
    order = list(ARROWS)
    for own, others in ARROWS.items():
        assert all(order.index(other) < order.index(own) for other in others.split()), own


def test_a_plugin_imports_no_other_plugin_but_helpers():
    for kind in ("methods", "settings"):
        for file in (ROOT / kind).glob("*.py"):
            siblings = [n for n in imported(file) if n.startswith(f"{kind}.")]
            assert all(n.split(".")[1].startswith("_") for n in siblings), f"{file}: {siblings}"


def loaded_of(names: set[str], code: str) -> str:
    """Which of these modules a process has imported after it ran `code`, as its last line."""
    whole = f"import sys; {code}; print(sorted({names!r} & set(sys.modules)))"
    printed = subprocess.run(
        [sys.executable, "-c", whole], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return printed.splitlines()[-1]


def test_a_supervisor_imports_no_torch():
    assert loaded_of({"torch", "pandas"}, "import benchmark.sweep.schedule") == "[]"


def test_a_plan_imports_nothing_that_it_does_not_need(tmp_path):
    """It names methods, which import torch; what else takes a quarter of a second is for runs."""
    plan = (
        f"import run_all; run_all.main(['plan', '--out', {str(tmp_path)!r}], run_all.QUICK, None)"
    )
    slow = {"scipy", "sklearn", "pandas", "matplotlib", "requests", "pooch", "torchvision"}
    assert loaded_of(slow, plan) == "[]"
