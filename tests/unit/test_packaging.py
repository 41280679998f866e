"""What is imported is declared, what is declared is documented, and the fixture package works."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OWN = {"benchmark", "methods", "settings", "reports", "run_all", "tests"}
# import name -> package, where they differ
PACKAGES = {
    **{"PIL": "pillow", "sklearn": "scikit-learn", "open_clip": "open_clip_torch"},
    "fontTools": "fonttools",
}
# asked for by an extra, imported inside a function whose error says so; or brought by another
OPTIONAL = {"dask", "distributed", "tensorboard", "torchvision", "huggingface_hub", "pyarrow"}


def declared(table: str) -> set[str]:
    """Names in a list of requirements of pyproject.toml (tomllib is newer than Python 3.10)."""
    text = (ROOT / "pyproject.toml").read_text()
    block = re.search(rf"^{table} = \[\n(.*?)^\]$", text, re.M | re.S)
    assert block, table
    return set(re.findall(r'^\s*"([A-Za-z0-9_-]+)', block[1], re.M))


def imported() -> set[str]:
    files = [ROOT / "run_all.py"]
    for folder in ("benchmark", "methods", "settings", "reports"):
        files += (ROOT / folder).rglob("*.py")
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return {PACKAGES.get(name, name) for name in found - set(sys.stdlib_module_names) - OWN}


def test_what_is_imported_is_declared_and_the_other_way_round():
    assert imported() - OPTIONAL == declared("dependencies")


def test_the_table_of_licences_is_complete():
    rows = re.findall(r"^\| (\w[\w-]*) \|", (ROOT / "docs/dependencies.md").read_text(), re.M)
    assert set(rows) - {"package", "extra"} == declared("dependencies")
    extras = (ROOT / "docs/dependencies.md").read_text().partition("| extra |")[2]
    for package in declared("test"):
        assert package in extras, package


def test_versions_agree():
    from benchmark import __version__

    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_workflow_calls_the_ci_script_on_every_supported_python():
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    pyproject = (ROOT / "pyproject.toml").read_text()
    versions = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', pyproject)
    assert re.findall(r'"(3\.\d+)"', workflow) == versions
    assert re.findall(r"run: (.*)", workflow) == ["bash .ci/run"]
    assert f'requires-python = ">={versions[0]}"' in pyproject
