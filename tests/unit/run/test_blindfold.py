"""Labels on the disk are closed to a method at work; its pictures, features and own files are
open."""

import os

import numpy as np
import pytest

from benchmark.commands import new
from benchmark.plan import Axes, make_plan
from benchmark.run.blindfold import blindfold
from benchmark.run.execute import execute
from benchmark.store import Store

THIEF = """
        import numpy as np
        from pathlib import Path
        out = Path(run.folder).parents[2]
        stolen = [np.load(path)["targets"] for path in sorted(out.glob("tasks/*.npz"))]
        """


def test_a_method_cannot_read_the_truth_that_an_earlier_run_left(tmp_path):
    for name, line in (("honest", ""), ("thief", THIEF)):
        plugin = tmp_path / f"{name}.py"
        text = new.METHOD.replace("x, y = train.features", line + "x, y = train.features")
        assert line in text
        plugin.write_text(text)
        axes = Axes((str(plugin),), ("partial(known=.5)",), ("pictograms",))
        (row,) = make_plan(axes, Store(tmp_path))
        record = execute(row.job(), tmp_path)
        assert record["status"] == ("failed" if line else "done"), record["error"]
    assert record["error"]["type"] == "PermissionError" and "tasks" in record["error"]["message"]
    assert list(tmp_path.glob("tasks/*.npz"))  # it was there to be read


def test_what_is_closed_and_what_is_open(tmp_path):
    data, out = tmp_path / "data", tmp_path / "data" / "results"  # also inside the data folder
    for path in ("voc/Annotations/1.xml", "voc/1.JPG", "results/tasks/a.npz"):
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_bytes(b"x")
    link = tmp_path / "innocent.jpg"
    link.symlink_to(data / "voc/Annotations/1.xml")
    closed = (data / "voc/Annotations/1.xml", out / "tasks/a.npz", link, os.fsencode(link))
    with blindfold(out, str(data)):
        for path in closed:
            with pytest.raises(PermissionError, match="may hold test labels"):
                open(path).close()
        with pytest.raises(PermissionError):
            np.load(out / "tasks" / "a.npz")
        (data / "voc/1.JPG").read_bytes()
        (out / "runs").mkdir()
        (out / "runs" / "history.csv").write_text("a")
    for path in closed:
        open(path).close()
