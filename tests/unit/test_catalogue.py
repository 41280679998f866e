"""What the source of a plugin says is what the imported class says, and costs no import."""

import ast
import dataclasses
import subprocess
import sys

import pytest

from benchmark import catalogue, registry

PLUGINS = [(kind, name) for kind in registry.CLASS_NAMES for name in registry.names(kind)]


@pytest.mark.parametrize("kind, name", PLUGINS)
def test_source_and_class_agree(kind, name):
    plugin, found = registry.load(kind, name), catalogue.entry(kind, name)
    fields = {field.name: field.default for field in dataclasses.fields(plugin) if field.init}
    assert found.parameters.keys() == fields.keys()
    if name != "tuned":  # its presets are computed from a list
        assert found.presets == tuple(getattr(plugin, "PRESETS", {}))
    assert found.summary and found.summary in plugin.__doc__
    for parameter, source in found.parameters.items():
        assert ast.literal_eval(source) == fields[parameter], parameter


def test_fields_of_a_base_class_in_a_helper_are_read(tmp_path):
    (tmp_path / "child.py").write_text(
        "from dataclasses import dataclass\n"
        "from methods.zero_shot_clip import Method as Parent\n"
        "@dataclass\nclass Mine:\n    depth: int = 3\n"
        "class Plain:\n    width: int = 3\n"
        "@dataclass\nclass Method(Parent, Mine, Plain):\n"
        '    """Mine.\n\n    More."""\n    beta: float = 1e-3\n'
    )
    name = registry.register_file("methods", tmp_path / "child.py")
    found = catalogue.entry("methods", name)
    assert found.summary == "Mine."
    assert {"template", "depth", "beta"} <= set(found.parameters)
    assert "width" not in found.parameters  # its class is no dataclass
    assert found.parameters["beta"] == "0.001"


def test_a_file_with_a_syntax_error_is_listed_as_such(tmp_path):
    (tmp_path / "half_written.py").write_text("class Method:\n    def fit(self\n")
    name = registry.register_file("methods", tmp_path / "half_written.py")
    assert "cannot be read" in catalogue.entry("methods", name).summary


def test_listing_methods_imports_no_torch():
    code = (
        "import sys, run_all; sys.argv[1:] = ['list', 'methods']; run_all.command();"
        "assert not {'torch', 'open_clip', 'pandas'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=registry.ROOT, capture_output=True, text=True
    )
    assert not result.returncode and "dualcoop" in result.stdout, result.stderr
