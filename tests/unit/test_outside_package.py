"""A package of somebody else, installed by pip, offers a method, a setting and a data set."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tests/fixtures/outside_package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder into which pip installed the suite and the package, as wheels and not editable."""
    site = tmp_path_factory.mktemp("site")
    # copies: setuptools leaves its build folders beside the sources
    suite, package = (tmp_path_factory.mktemp("copies") / name for name in ("suite", "package"))
    shutil.copytree(PACKAGE, package)
    suite.mkdir()
    for name in ("benchmark", "methods", "settings", "reports"):
        shutil.copytree(ROOT / name, suite / name)
    for name in ("run_all.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, suite)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", site, suite, package], check=True, capture_output=True)
    return site


def call(installed: Path, folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """The program in a working folder of the user's own."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    environment.pop("LOWLABEL_DATA", None)
    return subprocess.run(
        [sys.executable, installed / "bin/lowlabel", *argv],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_its_plugins_are_listed_without_importing_them(installed, tmp_path):
    printed = call(installed, tmp_path, "list").stdout
    assert "nearest_mean" in printed and "shrinkage=1.0" in printed
    assert "few_positives" in printed and "positives=0.5" in printed
    assert "coloured_bars" in printed


def test_hints_name_the_program_that_was_called(installed, tmp_path):
    printed = call(installed, tmp_path, "data", "voc2007").stdout
    assert "lowlabel data voc2007 --download" in printed and "run_all.py" not in printed
    asked = call(installed, tmp_path, "--settings", "partial", "--datasets", "voc2007")
    assert "(see: lowlabel data voc2007)" in asked.stderr, asked.stderr


def test_a_misspelt_parameter_of_its_method_is_answered(installed, tmp_path):
    result = call(installed, tmp_path, "plan", "--methods", "nearest_mean(shrinkige=2.)")
    assert result.returncode == 2 and "Did you mean 'shrinkage'?" in result.stderr


def test_its_method_runs_in_its_setting_on_its_data(installed, tmp_path):
    """In a child process, as every run, from a folder with files named like the suite's own."""
    (tmp_path / "settings.py").write_text("raise SystemExit('not yours')\n")
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods/__init__.py").write_text("raise SystemExit('not yours')\n")
    flags = ["--methods", "nearest_mean", "--settings", "few_positives", "--seeds", "0"]
    result = call(installed, tmp_path, *flags, "--slots", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = (tmp_path / "results/runs").glob("*/record.json")
    record = json.loads(path.read_text())
    assert record["status"] == "done"
    assert record["spec"]["setting"]["dataset"] == "coloured_bars"
    assert record["metrics"]["all"]["mAP"] > 50


def test_new_writes_beside_the_user_and_its_method_is_named_by_its_file(installed, tmp_path):
    assert call(installed, tmp_path, "new", "method", "my_idea").returncode == 0
    plan = call(installed, tmp_path, "plan", "--methods", "my_idea.py")
    assert "my_idea partial pictograms" in plan.stdout, plan.stderr
