"""From the command line: a plugin that takes the labels from the disk, or out of the memory of the
process, does not pass `check`, and what opens a file of labels ends as a failed run."""

import pytest

import run_all
from benchmark import commands, registry
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


@pytest.mark.parametrize("way", FROM_DISK)
def test_labels_from_the_disk(thief, way, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LOWLABEL_DATA", str(tmp_path / "data"))
    plugin = thief(f"takes_{way}", FROM_DISK[way])
    assert main("check", plugin) == 1
    printed = capsys.readouterr().out
    assert "FAILED  same_seed_same_scores: PermissionError" in printed
    assert CLOSED in printed and "nothing to steal" not in printed
    flags = ["--settings", "partial(known=.5)", "--datasets", "digits", "--seeds", "0"]
    flags += ["--limit", "16", "--backend", "inline", "--data", "data"]
    assert main("run", "--methods", plugin, *flags) == 1
    (record,) = Store("results").records()
    assert record["status"] == "failed" and CLOSED in record["error"]["message"]
    assert not record["metrics"]


@pytest.mark.parametrize("way", FROM_MEMORY)
def test_labels_from_the_memory(thief, way, capsys):
    """No run can keep a plugin from looking about in its own process; `check` finds out."""
    assert main("check", thief(f"takes_{way}", FROM_MEMORY[way], SCORED)) == 1
    assert "FAILED  hidden_labels_have_no_influence" in capsys.readouterr().out
