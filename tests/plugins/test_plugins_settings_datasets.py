"""The shared checks of settings and data sets, over all that the suite has, its templates, and
wrong plugins, each of which must be refused with the sentence that says what to do."""

import pytest

from benchmark import data, registry
from benchmark.commands import check, check_datasets, check_settings, new

EMBEDDED = [name for name in data.names() if data.embedded(name)]


@pytest.fixture(autouse=True)
def _forget_plugins(monkeypatch):
    monkeypatch.setattr(registry, "_files", {})


@pytest.mark.parametrize("name", registry.names("settings"))
@pytest.mark.parametrize("one_check", check_settings.CHECKS, ids=lambda function: function.__name__)
def test_setting(name, one_check):
    one_check(name)


@pytest.mark.parametrize("name", EMBEDDED)
def test_data_set(name):
    for one_check in check_datasets.CHECKS:
        one_check(name)


def checked(path, text):
    path.write_text(text)
    kind, name = check._known(str(path))
    return check.report(name, kind)


@pytest.mark.parametrize(("kind", "template"), [("dataset", new.DATASET), ("setting", new.SETTING)])
def test_templates_pass_as_they_stand(tmp_path, capsys, kind, template):
    name = f"fresh_{kind}_of_a_test"
    assert checked(tmp_path / f"{name}.py", template.replace("NAME", name)) == 0, (
        capsys.readouterr().out
    )


# name -> what to replace in the template, by what, and the sentence that must come
WRONG = {
    "returns_a_dictionary": ("    return Dataset(", "    return dict(", "not a benchmark.Dataset"),
    "labels_of_another_shape": ("y=y,", "y=y[:, :2],", "labels of shape (360, 2)"),
    "labels_of_another_value": ("* PRESENT", "* 7", "a label is none of 1, 0, -1"),
    "labels_of_another_type": (".astype(np.int8) * PRESENT", ".astype(float)", "are float64, not"),
    "a_class_twice": ('"green", "blue"', '"red", "blue"', "two classes are called 'red'"),
    "an_image_twice": ("/{i:04d}", "/{i // 2:04d}", "two images are called"),
    "train_in_test": ("np.arange(TRAIN, n)", "np.arange(TRAIN - 1, n)", "is in train and in test"),
    "no_test": ('"test": np.arange(TRAIN, n)', '"val": np.arange(TRAIN, n)', "no image in test"),
    "rows_too_large": ("np.arange(TRAIN, n)", "np.arange(TRAIN, n + 1)", "numbers from 0 to 359"),
    "unseeded_labels": ("default_rng(i)", "default_rng()", "give other labels"),
    "absolute_names": ('f"fresh', 'f"/data/fresh', "is an absolute path"),
    "open_is_a_lambda": ("open=open_image", "open=lambda i: open_image(i)", "cannot be sent to"),
    "open_gives_grey": ("fromarray(pixels)", 'fromarray(pixels).convert("L")', "has mode L"),
    "open_gives_an_array": ("return Image.fromarray(pixels)", "return pixels", "not a PIL image"),
    "a_class_never_shown": ("< 0.4", "< -1", "no image in train shows"),
    "missing_is_a_text": ("return []", 'return "labels.csv"', "it should be a list of paths"),
    "missing_finds_nothing": ("EMBEDDED = True", "EMBEDDED = False", "names nothing in a folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_data_set_is_refused_with_the_right_sentence(tmp_path, capsys, name):
    old, replacement, sentence = WRONG[name]
    source = new.DATASET.replace("NAME", "fresh")
    assert old in source
    if name == "a_class_never_shown":
        source = source.replace("    present[i % len(CLASSES)] = True\n", "")
    assert checked(tmp_path / f"{name}.py", source.replace(old, replacement)) == 1
    failures = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAILED")]
    assert sentence in failures[0]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("no_load", "def missing(root):\n    return []\n", r"it has no function load\(root\)"),
        ("no_missing", "def load(root):\n    return 1\n", r"it has no function missing\(root\)"),
        ("no_plugin", "x = 1\n", "neither a dataclass Method or Setting nor functions load"),
        ("no_python", "def load(:\n", "no_python.py:1 is no Python"),
        ("voc2007", "def load(root):\n    return 1\n", "has the name of the built-in"),
    ],
)
def test_a_file_that_is_no_plugin_is_refused(tmp_path, name, text, sentence):
    with pytest.raises(ValueError, match=sentence):
        checked(tmp_path / f"{name}.py", text)


def test_a_setting_that_leaks_test_labels_is_refused(tmp_path, capsys):
    leaking = new.SETTING.replace(
        'rng = np.random.default_rng(seed_for("mask", self.dataset, seed))',
        "rng = np.random.default_rng(int(dataset.y[test].sum()))",
    )
    assert checked(tmp_path / "leaking_setting.py", leaking) == 1
    assert "FAILED  hidden_labels_of_test_change_nothing" in capsys.readouterr().out
