"""From the command line: a plugin that takes the labels from the disk, or out of the memory of the
process, does not pass `check`, and what opens a file of labels ends as a failed run."""

import pytest

import run_all
from benchmark import commands, metrics, registry
from benchmark.commands import new
from benchmark.store import Store

ANCHOR = "x, y = train.features"
CLOSED = "may hold test labels: a method learns from what `fit` is handed"
FROM_DISK = {
    "tasks": """out = Path(run.folder).parents[2]
        stolen = [np.load(path)["targets"] for path in out.glob("tasks/*.npz")]
        assert stolen, "nothing to steal"
        """,
    "data": """stolen = (Path(os.environ["LOWLABEL_DATA"]) / "labels.csv").read_text()
        """,
}
FROM_MEMORY = {
    "collector": """tasks = [one for one in gc.get_objects() if type(one).__name__ == "Task"]
        self.stolen = tasks[-1].test.y
        """,
    "callers": """frame = sys._getframe()
        while "task" not in frame.f_locals:
            frame = frame.f_back
        self.stolen = frame.f_locals["task"].test.y
        """,
}
SCORED = """        self.place = getattr(self, "place", 0) + len(x)
        return torch.from_numpy(self.stolen[self.place - len(x) : self.place].astype("f4"))
"""


@pytest.fixture
def thief(tmp_path, monkeypatch):
    """Writes a plugin with these lines in `fit` and, if given, at the end of `predict`."""
    monkeypatch.setattr(registry, "_files", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "labels.csv").write_text("image,label\n")

    def write(name, lines, predict=""):
        path = tmp_path / f"{name}.py"
        imports = (
            "import gc\nimport os\nimport sys\nfrom pathlib import Path\n\nimport numpy as np\n"
        )
        text = new.METHOD.replace("import torch\n", imports + "import torch\n", 1)
        text = text.replace(ANCHOR, lines + ANCHOR)
        if predict:
            text = text[: text.index("        text = clip.text")] + predict
        assert lines in text
        path.write_text(text)
        return f"./{path.name}"

    return write


def main(*argv):
    return commands.main(list(argv), run_all.QUICK, run_all.FULL)


def failure(plugin, *more):
    """Why the run of a plugin failed."""
    flags = ["--settings", "partial(known=.5)", "--datasets", "digits", "--seeds", "0"]
    flags += ["--limit", "16", "--backend", "inline", *more]
    assert main("run", "--methods", plugin, *flags) == 1
    (record,) = Store("results").records()
    assert record["status"] == "failed" and not record["metrics"]
    return record["error"]["message"]


@pytest.mark.parametrize("way", FROM_DISK)
def test_labels_from_the_disk(thief, way, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LOWLABEL_DATA", str(tmp_path / "data"))
    plugin = thief(f"takes_{way}", FROM_DISK[way])
    assert main("check", plugin) == 1
    printed = capsys.readouterr().out
    assert "FAILED  same_seed_same_scores: PermissionError" in printed
    assert CLOSED in printed and "nothing to steal" not in printed
    assert CLOSED in failure(plugin, "--data", "data")


@pytest.mark.parametrize("way", FROM_MEMORY)
def test_labels_from_the_memory(thief, way, capsys):
    """No run can keep a plugin from looking about in its own process; `check` finds out."""
    assert main("check", thief(f"takes_{way}", FROM_MEMORY[way], SCORED)) == 1
    assert "FAILED  hidden_labels_have_no_influence" in capsys.readouterr().out


def test_a_method_that_replaces_what_measures_it_has_no_number(thief, monkeypatch):
    monkeypatch.setattr(metrics, "average_precision", metrics.average_precision)  # put back after
    lines = """import benchmark.metrics
        benchmark.metrics.average_precision = lambda y, scores: np.ones(y.shape[1])
        """
    said = failure(thief("measures_itself", lines))
    assert said.startswith("benchmark.metrics.average_precision is not what it was")


def test_complex_scores_are_no_scores(thief):
    scored = "        return torch.zeros(len(x), len(classes), dtype=torch.complex64)\n"
    assert "complex" in failure(thief("complex_scores", "", scored))
