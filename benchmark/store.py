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
from typing import IO, TYPE_CHECKING, Any, TypedDict, cast

import numpy as np

from benchmark.files import lock, write_atomically
from benchmark.spec import SCHEMA, JsonObject, Spec

if TYPE_CHECKING:
    import pandas as pd  # imported where it is used: a supervisor reads records and must start fast


class TaskRecord(TypedDict, total=False):
    """What was asked, in numbers: the sizes of the parts and the labels that were known."""

    n_train: int
    n_val: int
    n_test: int
    n_classes: int
    known_rate: float  # fraction of the cells (image, seen class) of train and val
    known_positives: list[int]  # (C,)
    known_negatives: list[int]  # (C,)
    images_without_known_label: int
    fingerprint: str  # of the test labels and views: the name of the file in tasks/
    labels: str  # hash of the masked labels
    views: dict[str, dict[str, int]]  # {view: {"rows", "columns"}}
    classes: list[str]
    groups: dict[str, list[int]]  # {group: positions of its classes}
    prevalence: float  # percent, mean over the classes
    notes: JsonObject  # counted exclusions and rules of the data set


class Cost(TypedDict, total=False):
    """Seconds of the phases, peak memory (MB are 10⁶ bytes), and where."""

    feature_s: float
    fit_s: float
    predict_s: float
    peak_ram_mb: float  # on top of …
    ram_before_mb: float  # … what the process held when the run began
    peak_gpu_mb: float
    trainable_parameters: int
    device: str
    threads: int
    shared_by: int  # runs at once on the device


class Provenance(TypedDict, total=False):
    """Where a number came from."""

    commit: str
    dirty: bool
    code_digest: str
    weights_sha256: str
    versions: dict[str, str]
    host: str
    platform: str
    argv: list[str]
    plugins: dict[str, str]  # "kind:name" -> file
    start: str  # UTC, ISO 8601
    end: str


class Failure(TypedDict, total=False):
    """Why a run is not done."""

    type: str
    message: str
    log: str  # its last 2,000 characters
    exit_code: int
    signal: str


class Record(TypedDict):
    """How one run ended. JSON without NaN: what is undefined is null."""

    schema: int
    id: str  # 12 hex digits, the name of the folder
    status: str  # done | failed (exception or exit without a record) | crashed (signal) | timeout
    spec: Spec
    task: TaskRecord
    metrics: dict[str, dict[str, float | None]]  # {view: {metric: value}}
    per_class: dict[str, list[float | None]]  # {"AP": [C]}, null without a positive test image
    chosen: JsonObject  # what was selected on val …
    trials: int  # … and how many candidates were looked at
    cost: Cost
    provenance: Provenance
    error: Failure  # {} when done
    attempt: int  # 1, or 2 after a signal


def empty_record(spec: Spec, status: str, attempt: int = 1) -> Record:
    """A record with every field and nothing measured, to be filled in."""
    return Record(
        schema=SCHEMA,
        id=spec.id,
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
            state = json.loads((self.folder(id) / "record.json").read_bytes())
            if not (isinstance(state, dict) and state.keys() >= Record.__annotations__.keys()):
                return None
            if state["schema"] != SCHEMA or state["id"] != id:
                return None
            return cast(Record, {**state, "spec": Spec.from_json(state["spec"])})
        except (FileNotFoundError, ValueError):  # ValueError: broken JSON, broken UTF-8, no spec
            return None

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
            folder / "record.json",
            json.dumps(
                plain({**record, "spec": record["spec"].to_json()}), allow_nan=False, indent=1
            ).encode(),
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
                "method": spec.method.name,
                "method_parameters": spec.method.parameter_text,
                "setting": spec.setting.name,
                **{f"setting_{name}": value for name, value in spec.setting.parameters.items()},
                "encoder": spec.encoder.text,
                "selection": spec.selection,
                "seed": spec.seed,
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
