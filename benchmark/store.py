"""Results on disk: one folder a run, one record a folder; the folder tells the state of the run.

    out/runs/<id>/      record.json  scores.npy  history.csv  log.txt  claim  examples.npz
    checkpoints/
    out/tasks/<fingerprint>.npz      test labels, views and names that several runs share

There is no index and no database: deleting a folder deletes a run, copying folders together merges
two sweeps.
"""

import contextlib
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypedDict

import numpy as np

from benchmark.files import lock, write_atomically

if TYPE_CHECKING:
    import pandas as pd  # imported where it is used: a supervisor reads records and must start fast

SCHEMA = 1  # a record of another schema counts as missing, so its run is computed again


class Record(TypedDict):
    """How one run ended. JSON without NaN: what is undefined is null."""

    schema: int
    id: str  # 12 hex digits, the name of the folder
    # done | failed (exception, or an exit without a record) | crashed (signal) | timeout
    status: str
    # {"method": {"name", …}, "setting": {"name", …}, "encoder": {…}, "selection", "seed"}
    spec: dict[str, Any]
    # n_train n_val n_test n_classes; known_rate; known_positives (C,), known_negatives (C,);
    task: dict[str, Any]
    #                       fingerprint (of the label matrices), view sizes, classes, groups, notes
    # {view: {metric: value}}, recomputable from scores.npy at any time
    metrics: dict[str, dict[str, float | None]]
    # {"AP": [C]}, null where a class has no positive test image
    per_class: dict[str, list[float | None]]
    chosen: dict[str, Any]  # what was selected on val …
    trials: int  # … and how many candidates were looked at
    # feature_s fit_s predict_s peak_ram_mb peak_gpu_mb trainable_parameters device shared_by
    cost: dict[str, Any]
    # git commit + dirty flag, code digest, weights sha256, versions, host, argv, start, end
    provenance: dict[str, Any]
    error: dict[
        str, Any
    ]  # type, message, log (its last 2,000 characters), exit_code or signal; {} when done
    attempt: int  # 1, or 2 after a signal


def empty_record(id: str, spec: dict[str, Any], status: str, attempt: int = 1) -> Record:
    """A record with every field and nothing measured, to be filled in."""
    return Record(
        schema=SCHEMA,
        id=id,
        status=status,
        spec=spec,
        task={},
        metrics={},
        per_class={},
        chosen={},
        trials=0,
        cost={},
        provenance={},
        error={},
        attempt=attempt,
    )


class Store:
    """The results below `out`. Holds no state: two processes may each have one for the same
    folder."""

    def __init__(self, out: Path | str) -> None:
        self.out = Path(out)

    def folder(self, id: str) -> Path:
        return self.out / "runs" / id

    def read(self, id: str) -> Record | None:
        """The record of a run, or None (= todo) when it is missing, cut short, malformed or of
        another schema."""
        try:
            record = json.loads((self.folder(id) / "record.json").read_bytes())
        except (FileNotFoundError, ValueError):  # ValueError covers broken JSON and broken UTF-8
            return None
        whole = isinstance(record, dict) and record.keys() >= Record.__annotations__.keys()
        return record if whole and record["schema"] == SCHEMA and record["id"] == id else None

    def write(self, record: Record, scores: np.ndarray | None = None) -> None:
        """Keeps a record and its scores (N_test, C); at no moment does a record stand beside scores
        of another run.

        The record is written last, so a run without one is todo whatever else lies in its folder.
        Raises `OSError` (disk full, no permission) and leaves no half-written file.
        """
        folder = self.folder(record["id"])
        folder.mkdir(parents=True, exist_ok=True)
        # of a process that was killed while it wrote; we hold the claim
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        (folder / "record.json").unlink(missing_ok=True)
        if scores is None:
            (folder / "scores.npy").unlink(missing_ok=True)
        else:
            buffer = io.BytesIO()
            np.save(buffer, np.asarray(scores, dtype=np.float32), allow_pickle=False)
            write_atomically(folder / "scores.npy", buffer.getvalue())
        # No newline at the end: then every shorter file is broken JSON, and a cut at any byte is
        # noticed.
        write_atomically(
            folder / "record.json", json.dumps(plain(record), allow_nan=False, indent=1).encode()
        )

    def scores(self, id: str) -> np.ndarray:
        """Test scores (N_test, C) float32 of a run that is done. Raises `FileNotFoundError`
        otherwise."""
        return np.load(self.folder(id) / "scores.npy", allow_pickle=False)

    def records(self) -> list[Record]:
        """Every readable record, ordered by id."""
        found = (
            self.read(path.parent.name) for path in sorted(self.out.glob("runs/*/record.json"))
        )
        return [record for record in found if record is not None]

    def frame(self) -> "pd.DataFrame":
        """One row for each record × view × metric.

        Columns: id, method, method_parameters (one text, "lr=0.1, n_ctx=4"), setting,
        setting_<parameter> … (a column for each parameter of any setting, empty where it has none),
        encoder, selection, seed, status, view, metric, value. A run that is not done has one row
        with empty view, metric and value.
        """
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for record in self.records():
            spec = record["spec"]
            run = {
                "id": record["id"],
                "method": spec["method"]["name"],
                "method_parameters": parameters_label(spec["method"]),
                "setting": spec["setting"]["name"],
                **{
                    f"setting_{name}": value
                    for name, value in spec["setting"].items()
                    if name != "name"
                },
                "encoder": encoder_label(spec["encoder"]),
                "selection": spec["selection"],
                "seed": spec["seed"],
                "status": record["status"],
            }
            for view, found in (record["metrics"] or {None: {None: None}}).items():
                rows += [
                    {**run, "view": view, "metric": metric, "value": value}
                    for metric, value in found.items()
                ]
        ends = ["encoder", "selection", "seed", "status", "view", "metric", "value"]
        starts = ["id", "method", "method_parameters", "setting"]
        middle = list(
            dict.fromkeys(name for row in rows for name in row if name.startswith("setting_"))
        )
        frame = pd.DataFrame(rows, columns=starts + middle + ends)
        return frame.astype({"value": "float64"})

    def write_task(self, fingerprint: str, arrays: Mapping[str, Any]) -> None:
        """Keeps what runs of one task share (targets (N_test, C) int8, classes, views, groups,
        names, thumbnails …)."""
        path = self.out / "tasks" / f"{fingerprint}.npz"
        if path.exists():  # named by its content
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {name: np.asarray(value) for name, value in arrays.items()}
        assert all(column.dtype != object for column in columns.values()), (
            "object arrays would be pickled"
        )
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **columns)
        write_atomically(path, buffer.getvalue())

    def task(self, fingerprint: str) -> dict[str, np.ndarray]:
        """The arrays of `write_task`. Raises `FileNotFoundError` when no run of that task has
        ended."""
        with np.load(self.out / "tasks" / f"{fingerprint}.npz", allow_pickle=False) as arrays:
            return dict(arrays)

    @contextlib.contextmanager
    def claim(self, id: str) -> Iterator[IO[bytes] | None]:
        """`with store.claim(id) as mine:` the lock on a run, or None when somebody else is
        computing it.

        The kernel frees it when the last process that holds the descriptor is gone: there are no
        stale claims.
        """
        folder = self.folder(id)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "claim").open("ab") as file:
            yield file if lock(file) else None


def plain(value: Any) -> Any:
    """The value in JSON's types: arrays become lists, tuples become lists, NaN and infinities
    become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def parameters_label(part: Mapping[str, Any]) -> str:
    """`{"name": "coop", "n_ctx": 4}` -> "n_ctx=4", sorted by name."""
    return ", ".join(f"{name}={part[name]!r}" for name in sorted(part) if name != "name")


def encoder_label(encoder: Mapping[str, Any]) -> str:
    """The encoder as it is written on the command line, e.g. "RN50/openai@224+crop"."""
    weights = f"/{encoder['weights']}" if encoder.get("weights") else ""
    size = f"@{encoder['image_size']}" if encoder.get("image_size") else ""
    crop = "+crop" if encoder.get("resize") == "crop" else ""
    statistics = "+imagenet" if encoder.get("statistics") == "imagenet" else ""
    return f"{encoder['name']}{weights}{size}{crop}{statistics}"
