"""The shared plugin tests: every check over every method, and over a fresh template."""

import ast
from pathlib import Path

import pytest

from benchmark import registry
from benchmark.commands import check, new

ROOT = Path(__file__).resolve().parents[2]
METHODS = registry.names("methods")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("one_check", check.CHECKS, ids=lambda function: function.__name__)
def test_method(name, one_check):
    one_check(name)


def test_the_template_passes_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "_files", {})
    path = tmp_path / "fresh_idea.py"
    path.write_text(new.METHOD)
    assert check.report(registry.register_file("methods", path)) == 0, capsys.readouterr().out


def test_the_checks_can_fail(tmp_path, monkeypatch, capsys):
    """A method that draws unseeded noise fails the checks on seeds, on batches and on labels."""
    monkeypatch.setattr(registry, "_files", {})
    path = tmp_path / "noisy_idea.py"
    body = (
        "return torch.from_numpy(__import__('numpy').random.default_rng().random((len(x), "
        "len(classes))))"
    )
    source = new.METHOD[: new.METHOD.index("        text = clip.text")] + f"        {body}\n"
    path.write_text(source)
    assert check.report(registry.register_file("methods", path)) == 1
    printed = capsys.readouterr().out
    for name in (
        "same_seed_same_scores",
        "hidden_labels_have_no_influence",
        "images_are_scored_alone",
        "beats_chance",
    ):
        assert f"FAILED  {name}" in printed


def test_training_that_makes_it_worse_is_a_warning(monkeypatch, capsys):
    reached = {"zero_shot_clip": 60.0, "coop": 52.3, "dualcoop": 61.0}
    monkeypatch.setattr(check, "toy_precision", reached.__getitem__)
    monkeypatch.setattr(check, "CHECKS", ())
    assert check.report("coop") == 0
    assert "warning mAP 52.3 is below zero-shot CLIP's 60.0" in capsys.readouterr().out
    for name in ("dualcoop", "zero_shot_clip"):
        assert check.report(name) == 0 and "warning" not in capsys.readouterr().out


# Two methods of the first version do more than one paper's formula (a sweep over C of many runs as
# one, full fine-tuning), and its two settings several published protocols.
LARGER = {"linear_probe", "lm_clip", "long_tail", "zero_shot"}
PLUMBING = ("__post_init__", "state_dict", "load_state_dict")  # not the method itself


def code_lines(path):
    """Numbers of the lines with code: none of comments, docstrings, presets, explanations."""
    source = path.read_text()
    left_out = set()
    for node in ast.walk(ast.parse(source)):
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        texts = {getattr(target, "id", "") for target in targets} & {"PRESETS", "EXPLANATIONS"}
        text = isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)
        if texts or text:
            left_out |= set(range(node.lineno, node.end_lineno + 1))
    return {
        number
        for number, line in enumerate(source.splitlines(), 1)
        if number not in left_out and line.strip() and not line.strip().startswith("#")
    }


PLUGINS = sorted((*ROOT.glob("methods/[!_]*.py"), *ROOT.glob("settings/[!_]*.py")))


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_a_plugin_fits_on_a_page(path):
    """60 lines, of which at most 10 check fields, save and load."""
    lines = code_lines(path)
    assert (len(lines) <= 60) == (path.stem not in LARGER), len(lines)
    plumbing = {
        number
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name in PLUMBING
        for number in range(node.lineno, node.end_lineno + 1)
    }
    if path.stem not in LARGER:
        assert len(plumbing & lines) <= 10, sorted(plumbing & lines)
