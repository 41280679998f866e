"""Results on disk: one folder a run, one record a folder; the folder tells the state of the run.

    out/runs/<id>/      record.json  scores.npy  history.csv  log.txt  claim  examples.npz
    checkpoints/  repeat.json (of a repeat that did not end well)  attempt/ (of one at work)
    out/tasks/<fingerprint>.npz      test labels, views and names that several runs share

There is no index and no database: deleting a folder deletes a run, copying folders together merges
two sweeps. A result that is done is only ever replaced by another one that is done.
"""

import contextlib
import io
import json
import math
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypedDict, cast

import numpy as np
import numpy.typing as npt

from benchmark import integrity
from benchmark.files import lock, unlock, write_atomically
from benchmark.spec import SCHEMA, JsonObject, Spec

if TYPE_CHECKING:
    import pandas as pd  # imported where it is used: a supervisor reads records and must start fast

NEXT_RECORD, NEXT_SCORES = ".record.json.next", ".scores.npy.next"  # whole, about to be named
LARGEST_TASK = 1_000_000_000  # bytes unpacked; NUS-WIDE has about ten million
SIDE_FILES = ("history.csv", "examples.npz", "checkpoints", "tensorboard")


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
    extraction_s: float  # of the stored features, whichever runs computed them
    fit_s: float
    predict_s: float
    peak_ram_mb: float  # on top of …
    ram_before_mb: float  # … what the process held when the run began
    peak_gpu_mb: float
    trainable_parameters: int
    device: str
    threads: int
    shared_by: int  # runs at once on the device
    cohort: int  # runs that were fitted as one; their seconds are shared equally


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


def headline(record: Record) -> str:
    """The first metric of the first view, "mAP 72.4", "" for a run without numbers."""
    for metrics in record["metrics"].values():
        for name, value in metrics.items():
            return f"{name} {value:.1f}" if value is not None else ""
    return ""


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
            return self.examined(id)
        except (FileNotFoundError, integrity.Damaged):
            return None

    def examined(self, id: str) -> Record:
        """As `read`. Raises `FileNotFoundError`, or `integrity.Damaged` that says what is wrong."""
        return _record(self._state(id), id)

    def _state(self, id: str) -> JsonObject:
        """The JSON of a record."""
        folder = self.folder(id)
        if (folder / NEXT_RECORD).exists():
            with contextlib.suppress(OSError):  # a folder that may only be read: it stays as it is
                _commit(folder)
        return integrity.load(folder / "record.json")

    def last(self, id: str) -> Record | None:
        """The record of the last attempt, which a failed repeat leaves beside the finished one."""
        with contextlib.suppress(FileNotFoundError, integrity.Damaged):
            return _record(integrity.load(self.folder(id) / "repeat.json"), id)
        return self.read(id)

    def ended_ns(self, id: str) -> int:
        """When the last attempt ended, by the clock of the file system; 0 when there was none."""
        moments = [0]
        for name in ("record.json", "repeat.json"):
            with contextlib.suppress(FileNotFoundError):
                moments.append((self.folder(id) / name).stat().st_mtime_ns)
        return max(moments)

    def altered(self, id: str, scores: bool = True) -> str:
        """Why a record (and its scores) are not what the run wrote, or ""."""
        try:
            return self._altered(self._state(id), id, scores)
        except (FileNotFoundError, integrity.Damaged) as error:
            return str(error)

    def _altered(self, state: JsonObject, id: str, scores: bool) -> str:
        if "seal" not in state:
            return "unsealed (of an older version): nothing tells whether it is what the run wrote"
        if not integrity.sealed(state):
            return "altered: record.json is not what the run wrote"
        if scores and state["status"] == "done":
            integrity.check_scores(self.folder(id) / "scores.npy", state.get("scores_sha256", ""))
        return ""

    def write(self, record: Record, scores: np.ndarray | None = None) -> None:
        """Keeps a record and its scores (N_test, C); at no moment does a record stand beside scores
        of another run.

        Both are staged and then take their names together, so that a kill or a full disk at any
        moment leaves the old result or the new one. What is not done never replaces what is: it
        becomes `repeat.json` beside it. Raises `OSError` and leaves no half-written file.
        """
        id = record["id"]
        folder = self.folder(id)
        folder.mkdir(parents=True, exist_ok=True)
        # of a process that was killed while it wrote; we hold the claim
        for leftover in [*folder.glob(".*.tmp"), folder / NEXT_SCORES]:
            leftover.unlink(missing_ok=True)
        data = b""
        if scores is not None:
            buffer = io.BytesIO()
            np.save(buffer, np.asarray(scores, dtype=np.float32), allow_pickle=False)
            data = buffer.getvalue()
        state: JsonObject = plain({**record, "spec": record["spec"].to_json()})
        state["scores_sha256"] = integrity.checksum(data) if data else ""
        state["seal"] = integrity.seal(json.loads(json.dumps(state, allow_nan=False)))
        # No newline at the end: then every shorter file is broken JSON, and a cut at any byte is
        # noticed.
        text = json.dumps(state, allow_nan=False, indent=1).encode()
        finished = self.read(id)
        if record["status"] != "done" and finished is not None and finished["status"] == "done":
            write_atomically(folder / "repeat.json", text)
            return
        try:
            if data:
                write_atomically(folder / NEXT_SCORES, data)
            write_atomically(folder / NEXT_RECORD, text)
        except BaseException:
            (folder / NEXT_SCORES).unlink(missing_ok=True)
            raise
        if not data:
            (folder / "scores.npy").unlink(missing_ok=True)
        _commit(folder)
        (folder / "repeat.json").unlink(missing_ok=True)

    def attempt(self, id: str) -> Path:
        """An empty folder for what a run writes while it is at work; see `keep_attempt`."""
        folder = self.folder(id) / "attempt"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def keep_attempt(self, id: str) -> None:
        """Curves, checkpoints and examples of the attempt take the place of those of the run,
        unless the attempt was a repeat that did not end well."""
        folder = self.folder(id)
        if not (folder / "repeat.json").exists():
            for name in SIDE_FILES:
                _remove(folder / name)
            for path in (folder / "attempt").iterdir():
                _remove(folder / path.name)
                path.rename(folder / path.name)
        shutil.rmtree(folder / "attempt", ignore_errors=True)

    def scores(self, id: str) -> np.ndarray:
        """Test scores (N_test, C) float32 of a run that is done. Raises `FileNotFoundError`
        otherwise."""
        scores: np.ndarray = np.load(self.folder(id) / "scores.npy", allow_pickle=False)
        return scores

    def has_scores(self, record: Record) -> bool:
        """Whether the scores of a run and the labels of its task are here."""
        task = self.out / "tasks" / f"{record['task'].get('fingerprint', '')}.npz"
        return task.is_file() and (self.folder(record["id"]) / "scores.npy").is_file()

    def records(self) -> list[Record]:
        """Every readable record, ordered by id."""
        found = (self.read(id) for id in self._ids())
        return [record for record in found if record is not None]

    def verified(self) -> list[Record]:
        """As `records`, for readers that trust nothing: a result that is not what the run wrote, or
        does not fit its test labels, comes as the failure that it is."""
        records = []
        tasks: dict[str, dict[str, np.ndarray] | str] = {}
        for id in self._ids():
            try:
                state = self._state(id)
                record = _record(state, id)
            except (FileNotFoundError, integrity.Damaged):
                continue
            reason = self._distrust(state, record, tasks) if record["status"] == "done" else ""
            if reason:
                failure = empty_record(record["spec"], "failed", record["attempt"])
                kind = "Unsealed" if reason.startswith("unsealed") else "Altered"
                failure["error"] = {"type": kind, "message": reason}
                failure["provenance"] = record["provenance"]
                record = failure
            records.append(record)
        return records

    def _distrust(
        self, state: JsonObject, record: Record, tasks: dict[str, dict[str, np.ndarray] | str]
    ) -> str:
        """Why a result is not to be believed, or ""; `tasks` remembers what was read."""
        fingerprint = record["task"].get("fingerprint", "")
        try:
            reason = self._altered(state, record["id"], scores=True)
            if reason:
                return reason
            if fingerprint not in tasks:
                tasks[fingerprint] = self._readable_task(fingerprint)
            task = tasks[fingerprint]
            if isinstance(task, str):
                return task
            if task and (self.folder(record["id"]) / "scores.npy").exists():
                integrity.check_arrays(record, self.scores(record["id"]), task)
            integrity.check_classes(record, len(record["task"].get("classes", ())))
        except integrity.Damaged as error:
            return str(error)
        # numpy and zipfile raise whatever a broken file leads to
        except Exception as error:
            return f"scores.npy cannot be read ({type(error).__name__}: {error})"
        return ""

    def _readable_task(self, fingerprint: str) -> dict[str, np.ndarray] | str:
        try:
            return self.task(fingerprint)
        except FileNotFoundError:
            return {}
        except Exception as error:
            return f"its test labels, tasks/{fingerprint}.npz, cannot be read ({error})"

    def damaged(self) -> dict[str, str]:
        """Id -> what is wrong with it, for every record that cannot be read."""
        found = {}
        for id in self._ids():
            try:
                self.examined(id)
            except FileNotFoundError:
                continue
            except integrity.Damaged as error:
                found[id] = str(error)
        return found

    def _ids(self) -> list[str]:
        """Of every folder of a run, also of one that has no record yet."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.out / "runs") as found:
            return sorted(entry.name for entry in found if entry.is_dir())
        return []

    def frame(self) -> "pd.DataFrame":
        """One row for each record × view × metric.

        Columns: id, method, method_parameters (one text, "lr=0.1, n_ctx=4"), setting,
        setting_<parameter> … (a column for each parameter of any setting, empty where it has none),
        encoder, selection, seed, status, view, metric, value. A run that is not done has one row
        with empty view, metric and value.
        """
        import pandas as pd

        rows: list[dict[str, object]] = []
        for record in self.records():
            spec = record["spec"]
            run: dict[str, object] = {
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
            rows += [
                {**run, "view": view, "metric": metric, "value": value}
                for view, found in record["metrics"].items()
                for metric, value in found.items()
            ] or [run]
        ends = ["encoder", "selection", "seed", "status", "view", "metric", "value"]
        starts = ["id", "method", "method_parameters", "setting"]
        middle = list(
            dict.fromkeys(name for row in rows for name in row if name.startswith("setting_"))
        )
        frame = pd.DataFrame(rows, columns=starts + middle + ends)
        return frame.astype({"value": "float64"})

    def write_task(
        self, fingerprint: str, arrays: Callable[[], Mapping[str, npt.ArrayLike]]
    ) -> None:
        """Keeps what runs of one task share (targets (N_test, C) int8, classes, views, groups,
        names, thumbnails …); asks for it only where it is not kept yet."""
        path = self.out / "tasks" / f"{fingerprint}.npz"
        if path.exists():  # named by its content
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {name: np.asarray(value) for name, value in arrays().items()}
        assert all(column.dtype != object for column in columns.values()), (
            "object arrays would be pickled"
        )
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **columns)  # type: ignore[arg-type]  # none is `allow_pickle`
        write_atomically(path, buffer.getvalue())

    def task(self, fingerprint: str) -> dict[str, np.ndarray]:
        """The arrays of `write_task`. Raises `FileNotFoundError` when no run of that task has
        ended."""
        path = self.out / "tasks" / f"{fingerprint}.npz"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is gone")
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > LARGEST_TASK:  # a few kilobytes may unpack to any size
            raise integrity.Damaged(f"it would unpack to {size:,} bytes")
        with np.load(path, allow_pickle=False) as arrays:
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
            held = lock(file)
            try:
                yield file if held else None
            finally:
                if held:  # said aloud: a process that the run left behind has a copy of the handle
                    unlock(file)


def _record(state: JsonObject, id: str) -> Record:
    """The record of its JSON. Raises `Damaged` for one of another run or schema."""
    if state["schema"] != SCHEMA:
        raise integrity.Damaged(f"record.json is of schema {state['schema']}, not {SCHEMA}")
    try:
        spec = Spec.from_json(state["spec"])
        described = spec.id
    except (ValueError, TypeError) as error:
        raise integrity.Damaged(f"record.json describes no run ({error})") from None
    if state["id"] != id:
        raise integrity.Damaged(f"record.json is that of the run {state['id']}")
    if described != id:
        raise integrity.Damaged(f"record.json describes the run {described}")
    fields = {name: state[name] for name in Record.__annotations__}
    return cast(Record, {**fields, "spec": spec})


def _commit(folder: Path) -> None:
    """Gives a staged result its names. Whoever finds one that was left staged finishes the work;
    two who do so at once do no harm."""
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder / NEXT_SCORES, folder / "scores.npy")
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder / NEXT_RECORD, folder / "record.json")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def plain(value: object) -> Any:  # as `json` has it
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
