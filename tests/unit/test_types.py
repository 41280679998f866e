"""What the type checker is told not to look at is rare, and says why."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("benchmark", "methods", "settings", "reports")
FILES = [ROOT / "run_all.py", *(path for f in FOLDERS for path in (ROOT / f).rglob("*.py"))]


@pytest.mark.parametrize("words, most", [(r"\bAny\b", 60), (r"\bdict\[str, Any\]", 25)])
def test_untyped_values_are_rare(words, most):
    found = {path: len(re.findall(words, path.read_text())) for path in FILES}
    assert sum(found.values()) <= most, {str(path): n for path, n in found.items() if n}


def test_every_ignored_error_has_a_name_and_a_reason():
    lines = [(path, line) for path in FILES for line in path.read_text().splitlines()]
    ignored = [(path, line) for path, line in lines if "type: ignore" in line]
    assert ignored
    wrong = [
        f"{path}: {line}"
        for path, line in ignored
        if not re.search(r"# type: ignore\[[a-z-]+\]  # \w", line)
    ]
    assert not wrong, "\n".join(wrong)
