"""Every file that can change a number counts; the digest is that of the code that was loaded."""

import shutil
import subprocess
import sys

import pytest

from benchmark import registry, sources, staleness
from benchmark.files import ROOT

NAMES = ("coop", "partial", "pictograms")

EDIT_EACH = """
from pathlib import Path
from benchmark import staleness, sources
names, root = {names!r}, Path.cwd()
base = staleness.code_digest(*names)
files = staleness._closure(*names, {{}}, sources.as_it_stands)
assert len(files) > 30 and all(root in file.parents for file in files), files
kept = []
for file in files:
    text = file.read_text()
    file.write_text(text + "\\nA_NUMBER = 1.602\\n")
    staleness.look_again()
    if staleness.code_digest(*names) == base:
        kept.append(file.name)
    quotes = 3 * chr(34)
    file.write_text(text.replace(quotes, quotes + 'Other words. ', 1) + "\\n# a comment\\n")
    staleness.look_again()
    if staleness.code_digest(*names) != base:
        kept.append("docstring of " + file.name)
    file.write_text(text)
print(len(files), kept)
"""


def test_each_reachable_file_edited_one_at_a_time_makes_a_record_stale(tmp_path):
    """In a copy: a new number in any file of the closure changes the digest, words do not."""
    for name in ("benchmark", "methods", "settings"):
        ignored = shutil.ignore_patterns("*.npz", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    code = [sys.executable, "-c", EDIT_EACH.format(names=NAMES)]
    result = subprocess.run(code, cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout.endswith(" []\n"), result.stdout + result.stderr
    reached = {file.name for file in staleness._closure(*NAMES, {}, sources.as_it_stands)}
    assert {
        "coop.py",
        "partial.py",
        "pictograms.py",
        "cohort.py",
        "execute.py",
        "metrics.py",
    } <= reached
    assert {"registry.py", "weights.py", "image_tower.py", "_scenes.py", "spec.py"} <= reached


def test_the_digest_is_of_the_code_that_was_loaded(tmp_path, monkeypatch):
    """Edited during a sweep: old numbers keep the old digest, and a plan sees the new one."""
    monkeypatch.setattr(registry, "_files", {})
    path = tmp_path / "edited_idea.py"
    path.write_text("x = 1\n")
    plugins = {"methods:edited_idea": str(path)}
    names = ("edited_idea", *NAMES[1:])
    before = staleness.loaded_digest(*names, plugins)
    path.write_text("x = 2\n")
    staleness.look_again()
    assert staleness.loaded_digest(*names, plugins) == before
    assert staleness.code_digest(*names, plugins) != before
    with pytest.raises(ValueError, match=r"edited_idea.*was edited"):
        staleness.require_unchanged(*names, plugins)


@pytest.mark.parametrize(
    "text", ["from benchmark import data", "import settings.partial", "import _b"]
)
def test_a_method_that_imports_test_labels_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.setattr(registry, "_files", {})
    path = tmp_path / "peeking_idea.py"
    path.write_text(f"def fit():\n    {text}\n")
    (tmp_path / "_b.py").write_text("from benchmark.data import load\n")
    with pytest.raises(ValueError, match="leads to test labels"):
        staleness.require_blind("peeking_idea", {"methods:peeking_idea": str(path)})
    for name in registry.names("methods"):
        staleness.require_blind(name)


def test_a_record_names_a_file_and_nothing_is_run(tmp_path):
    path, mark = tmp_path / "evil.py", tmp_path / "mark"
    path.write_text(f"open({str(mark)!r}, 'w')\n")
    names = ("evil", *NAMES[1:])
    assert staleness.code_digest(*names, {"methods:evil": str(path)}) and not mark.exists()
    path.write_text("(" * 100_000)
    staleness.look_again()
    with pytest.raises(ValueError, match="cannot be read"):
        staleness.code_digest(*names, {"methods:evil": str(path)})
    path.unlink()
    staleness.look_again()
    with pytest.raises(ValueError, match="is gone"):
        staleness.code_digest(*names, {"methods:evil": str(path)})
