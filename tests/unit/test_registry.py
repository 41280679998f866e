"""Plugins by name and path, texts to descriptions, run ids."""

import importlib.metadata
import json
import sys
from pathlib import Path

import pytest

import run_all
from benchmark import commands, registry, sources
from benchmark.spec import Choice
from benchmark.task import Method

PLUGIN = '''
from dataclasses import dataclass
from typing import ClassVar

@dataclass
class Method:
    """Nothing."""
    PRESETS: ClassVar[dict] = {"small": {"size": 3}}
    needs: ClassVar[str] = "global"
    open_vocabulary: ClassVar[bool] = True
    size: int = 7
    rate: float = 0.5
    layers: tuple = (1, 2)
    preset: str = ""
'''


@pytest.fixture
def idea(tmp_path, monkeypatch) -> str:
    monkeypatch.setattr(registry, "_files", {})
    path = tmp_path / "idea.py"
    path.write_text(PLUGIN)
    yield registry.register_file("methods", path)
    sys.modules.pop("lowlabel_plugin_methods_idea", None)


def test_a_file_is_never_taken_for_another_of_its_name(tmp_path, monkeypatch):
    for folder, size in (("a", 1), ("b", 2)):
        monkeypatch.setattr(registry, "_files", {})
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "twin.py").write_text(
            PLUGIN.replace("size: int = 7", f"size: int = {size}")
        )
        name = registry.register_file("methods", tmp_path / folder / "twin.py")
        assert registry.make("methods", name, {}).size == size


def test_all_files_of_the_folders_are_plugins_with_the_fixed_class_name():
    for kind, expected in {
        "methods": {"zero_shot_clip", "linear_probe", "coop", "dualcoop", "lm_clip"},
        "settings": {"partial", "zero_shot", "long_tail"},
    }.items():
        assert expected <= set(registry.names(kind))
        assert not any(name.startswith("_") for name in registry.names(kind))
        for name in registry.names(kind):
            assert registry.load(kind, name).__name__ == registry.CLASS_NAMES[kind]


def test_unknown_names_are_answered_with_the_nearest_and_the_known_ones(idea):
    with pytest.raises(ValueError, match=r"Did you mean 'dualcoop'\?.*dualcoop_plus"):
        registry.load("methods", "dualcop")
    with pytest.raises(ValueError, match=r"has no parameter 'sise'. Did you mean 'size'\?"):
        registry.make("methods", idea, {"sise": 1})
    with pytest.raises(ValueError, match=r"has no preset 'smal'. Did you mean 'small'\?"):
        registry.make("methods", idea, {"preset": "smal"})
    with pytest.raises(ValueError, match="should be int"):
        registry.make("methods", idea, {"size": "many"})
    with pytest.raises(ValueError, match="There is no plugin file"):
        registry.register_file("methods", "no/such.py")


def test_presets_fill_in_before_explicit_parameters(idea):
    assert registry.make("methods", idea, {}).size == 7
    assert registry.make("methods", idea, {"preset": "small"}).size == 3
    assert registry.make("methods", idea, {"preset": "small", "size": 4}).size == 4
    assert registry.make("methods", idea, {}, preset="small").preset == "small"


@pytest.mark.parametrize(
    "text, meaning",
    [
        ("coop", ("coop", {})),
        ("coop(a=[1, 2], b='x')", ("coop", {"a": [1, 2], "b": "x"})),
        ("coop( rate = .5 )", ("coop", {"rate": 0.5})),
        ("my/idea.py(size=2)", ("my/idea.py", {"size": 2})),
        ("tuned(method=coop(epochs=5))", ("tuned", {"method": "coop(epochs=5)"})),
    ],
)
def test_parse(text, meaning):
    assert registry.parse(text) == meaning


@pytest.mark.parametrize(
    "text", ["coop(", "coop(1)", "coop(**x)", "coop(a=1+b)", "coop(a=1) extra"]
)
def test_unreadable_texts_are_user_errors(text):
    with pytest.raises(ValueError, match="Cannot read"):
        registry.parse(text)


def test_a_list_is_several_runs_and_a_tuple_is_a_value(idea):
    expanded = registry.expand(
        "methods", f"{idea}(size=[1, 2], layers=(3, 4))", {"rate": [0.1, 0.2], "size": [9]}
    )
    assert [values for _, values in expanded] == [
        {"rate": rate, "size": size, "layers": (3, 4)} for rate in (0.1, 0.2) for size in (1, 2)
    ]


def test_choice_round_trip_through_json(idea):
    method = registry.make("methods", idea, {"size": 2, "rate": 1})
    choice = Choice.from_json(json.loads(json.dumps(registry.describe(idea, method).to_json())))
    again = registry.rebuild("methods", choice)
    assert again == method
    assert again.layers == (1, 2)
    assert registry.describe(idea, again) == choice
    with pytest.raises(ValueError, match="no longer has the parameter 'gone'"):
        registry.rebuild("methods", Choice(idea, {**choice.parameters, "gone": 1}))


@pytest.mark.parametrize("needs, said", [("", "does not say what it needs"), ("globl", "'globl'")])
def test_a_method_that_does_not_say_what_it_needs_is_one_sentence(
    tmp_path, monkeypatch, capsys, needs, said
):
    monkeypatch.setattr(registry, "_files", {})
    line = f'    needs: ClassVar[str] = "{needs}"\n' if needs else ""
    path = tmp_path / f"idea_{needs or 'none'}.py"
    path.write_text(PLUGIN.replace('    needs: ClassVar[str] = "global"\n', line))
    flags = ["plan", "--methods", str(path), "--out", str(tmp_path / "out")]
    assert commands.main(flags, run_all.QUICK, run_all.FULL) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_plugin_without_the_base_class_gets_its_defaults(idea):
    plugin = registry.load("methods", idea)
    assert issubclass(plugin, Method) and plugin().state_dict() == {} and plugin.title == ""


def test_code_digest_ignores_comments_and_docstrings_but_no_code(tmp_path, monkeypatch):
    def digest_of(text: str) -> bytes:
        return sources.tree_digest(text)

    base = digest_of('"""Doc."""\ndef f(x):\n    """Doc."""\n    return x + 1\n')
    assert digest_of('"""Other."""\n\n# comment\ndef f(x):\n    return x + 1\n') == base
    assert digest_of('"""Doc."""\ndef f(x):\n    """Doc."""\n    return x + 2\n') != base


def test_code_digest_covers_helpers_of_helpers(tmp_path):
    (tmp_path / "plugin.py").write_text("from _a import f\n")
    (tmp_path / "_a.py").write_text("import os, _b\n")
    (tmp_path / "_b.py").write_text("x = 1\n")
    (tmp_path / "_unused.py").write_text("x = 1\n")
    closure = sources.import_closure([tmp_path / "plugin.py"])
    assert [file.name for file in closure] == ["_a.py", "_b.py", "plugin.py"]


def test_an_outside_file_must_not_hide_a_built_in_one(tmp_path):
    path = tmp_path / "coop.py"
    path.write_text(PLUGIN)
    with pytest.raises(ValueError, match="has the name of the built-in"):
        registry.register_file("methods", path)


def test_a_file_without_the_class_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_files", {})
    path = tmp_path / "empty_idea.py"
    path.write_text("x = 1\n")
    registry.register_file("methods", path)
    with pytest.raises(ValueError, match="has no dataclass called 'Method'"):
        registry.load("methods", "empty_idea")
    assert Path(registry.plugin_files()["methods:empty_idea"]) == path


def test_an_installed_package_offers_plugins_by_entry_point(monkeypatch):
    point = importlib.metadata.EntryPoint(
        "packaged", "methods.zero_shot_clip:Method", "lowlabel.methods"
    )
    monkeypatch.setattr(
        registry, "_entry_points", lambda kind: {"packaged": point} if kind == "methods" else {}
    )
    assert "packaged" in registry.names("methods") and "packaged" not in registry.names("settings")
    assert (
        registry.describe("packaged", registry.make("methods", "packaged", {})).name == "packaged"
    )


@pytest.mark.parametrize("kind", ["methods", "settings"])
def test_no_number_of_ours_may_be_anything(kind):
    """Every numeric parameter has a range that keeps out a large negative number."""
    for name in registry.names(kind):
        for field in registry.fields(registry.load(kind, name)).values():
            if isinstance(field.default, int | float) and not isinstance(field.default, bool):
                with pytest.raises(ValueError, match=field.name):
                    registry.make(kind, name, {field.name: type(field.default)(-(10**9))})


def test_a_preset_that_is_no_text():
    with pytest.raises(ValueError, match="is no name of a preset"):
        registry.make("methods", "coop", {"preset": 3})
