"""Whether a record is what the run wrote: its shape, its seal, and the checksum of its scores.

A result folder may come from anybody and may have suffered: nothing here raises anything but
`Damaged`, whose message says in a few words what is wrong.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmark.files import read_file
from benchmark.spec import JsonObject

LARGEST = 64_000_000  # bytes of a record; the largest of NUS-WIDE have about one million
PER_CLASS = ("known_positives", "known_negatives", "classes")  # lists of a task
LARGEST_NUMBER = 2**63  # of whole numbers: beyond, arrays and floats fail
NUMBERS = {int, float, type(None)}
Check = Callable[[object], bool]  # of a field
STATES = ("done", "failed", "crashed", "timeout")


class Damaged(ValueError):
    """What stands on the disk is not what a run writes."""


def seal(state: JsonObject) -> str:
    """sha256 over the canonical JSON of a record without its seal: it breaks when anything in the
    record is edited, and it covers the scores by their checksum."""
    rest = {key: value for key, value in state.items() if key != "seal"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def load(path: Path) -> JsonObject:
    """The JSON of a record, with the types that its readers rely on; the seal is not looked at.

    Raises `FileNotFoundError` when there is none and `Damaged` for anything else.
    """
    try:
        content = read_file(path, LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        state = msgspec.json.decode(content)  # stricter than `json`: NaN, 1e999, lone surrogates
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged(f"record.json cannot be read ({error.strerror})") from None
    except RecursionError:
        raise Damaged("record.json is nested too deeply") from None
    except ValueError as error:  # broken JSON or UTF-8, a number beyond all numbers
        raise Damaged(f"record.json is cut or broken ({error})") from None
    if not isinstance(state, dict):
        raise Damaged("record.json holds no record")
    for name, (described, fits) in FIELDS.items():
        if name not in state:
            raise Damaged(f"record.json lacks the field {name!r} (of another version?)")
        if not fits(state[name]):
            raise Damaged(f"in record.json {name!r} is not {described}")
    return state


def describes_a_run(state: object) -> bool:
    """Whether the JSON of a spec has the types that its readers rely on."""
    return _spec(state)


def sealed(state: JsonObject) -> bool:
    """Whether the record is as it was written, to the last digit."""
    return state.get("seal") == seal(state)


def check_scores(path: Path, expected: str) -> None:
    """Raises `Damaged` when the file of scores is not the one that the record was written with. One
    that is gone is no alteration: the record stands without it."""
    try:
        found = checksum(read_file(path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise Damaged(f"scores.npy cannot be read ({error.strerror})") from None
    if found != expected:
        raise Damaged("altered: scores.npy is not what the run wrote")


# The state of these two is a record, or its JSON.


def check_arrays(
    state: Mapping[str, Any], scores: np.ndarray, truth: Mapping[str, np.ndarray]
) -> None:
    """Raises `Damaged` when scores, test labels and record do not fit one another."""
    targets, classes = truth["targets"], len(truth["classes"])
    if scores.shape != targets.shape or scores.ndim != 2 or scores.shape[1] != classes:
        raise Damaged(f"scores of shape {scores.shape}, test labels of {targets.shape}")
    if scores.dtype.kind != "f" or targets.dtype.kind not in "iu":
        raise Damaged(f"scores are {scores.dtype}, test labels {targets.dtype}")
    if not np.isfinite(scores).all():
        raise Damaged("a score is not finite")
    for name in truth["views"]:
        rows, columns = truth[f"view_rows/{name}"], truth[f"view_columns/{name}"]
        fits = (rows.shape, columns.shape) == ((len(targets),), (classes,))
        if not fits or rows.dtype.kind + columns.dtype.kind != "bb":
            raise Damaged(f"the view {name!r} does not fit the test labels")
    shown = truth.get("thumbnails", np.empty((0, 1, 1, 3), np.uint8))
    if shown.ndim != 4 or shown.shape[3] != 3 or shown.dtype != np.uint8:
        raise Damaged(f"thumbnails of shape {shown.shape} are no pictures")
    if len(truth.get("names", targets)) != len(targets) or len(shown) > len(targets):
        raise Damaged(f"names of {len(truth['names'])} images, test labels of {len(targets)}")
    for name in truth["groups"]:
        if truth[f"group/{name}"].shape != (classes,):
            raise Damaged(f"the group {name!r} does not fit the classes")
    check_classes(state, classes)


def check_classes(state: Mapping[str, Any], classes: int) -> None:
    """Raises `Damaged` when a list per class has another length, or a group names no class."""
    task = state["task"]
    lists = {**state["per_class"], **{n: task[n] for n in PER_CLASS if n in task}}
    for name, values in lists.items():
        if len(values) != classes:
            raise Damaged(f"{len(values)} values of {name} for {classes} classes")
    for name, positions in task.get("groups", {}).items():
        if not all(0 <= position < classes for position in positions):
            raise Damaged(f"the group {name!r} names a class that there is not")


def checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---- the types of the fields ---------------------------------------------------------------------


def _number(value: object) -> bool:
    # as `json` makes them: a truth value is none
    return type(value) in NUMBERS and not (type(value) is int and abs(value) > LARGEST_NUMBER)


def _whole(value: object) -> bool:
    return type(value) is int and abs(value) <= LARGEST_NUMBER


def _texts(value: object) -> bool:
    return isinstance(value, list) and set(map(type, value)) <= {str}


def _numbers(value: object) -> bool:
    return isinstance(value, list) and all(map(_number, value))


def _table(of: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(of(one) for one in value.values())


def _object(**fields: Check) -> Check:
    """A dictionary whose fields, where they are there, have these types."""

    def fits(value: object) -> bool:
        if not isinstance(value, dict):
            return False
        return all(fits(value[name]) for name, fits in fields.items() if name in value)

    return fits


def _text(value: object) -> bool:
    return isinstance(value, str)


def _choice(value: object) -> bool:
    """A plugin with its parameters: texts, numbers, and lists of them."""
    if isinstance(value, dict):
        return all(_parameter(one) for one in value.values())
    return False


def _parameter(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_parameter, value))
    return value is None or isinstance(value, str | int | float)


_setting = _object(name=_text, dataset=_text, known=_number)
_spec = _object(
    method=_choice,
    setting=lambda value: _choice(value) and _setting(value),
    encoder=_object(name=_text, weights=_text, image_size=_whole, resize=_text, statistics=_text),
    selection=_text,
    seed=_whole,
    limit=_whole,
)
_whole_numbers = _table(_whole)
_task = _object(
    n_train=_whole,
    n_val=_whole,
    n_test=_whole,
    n_classes=_whole,
    known_rate=_number,
    known_positives=_numbers,
    known_negatives=_numbers,
    images_without_known_label=_whole,
    fingerprint=_text,
    labels=_text,
    views=_table(_whole_numbers),
    classes=_texts,
    groups=_table(lambda positions: isinstance(positions, list) and all(map(_whole, positions))),
    prevalence=_number,
    notes=_object(),
)
_cost = _object(
    feature_s=_number,
    extraction_s=_number,
    fit_s=_number,
    predict_s=_number,
    peak_ram_mb=_number,
    peak_gpu_mb=_number,
    trainable_parameters=_number,
    device=_text,
    threads=_number,
    shared_by=_number,
)
_provenance = _object(
    commit=_text,
    code_digest=_text,
    weights_sha256=_text,
    scores_sha256=_text,
    host=_text,
    start=_text,
    end=_text,
    versions=_table(_text),
    argv=_texts,
    plugins=_table(_text),
)
FIELDS: dict[str, tuple[str, Check]] = {
    "schema": ("a number", _whole),
    "id": ("a text", _text),
    "status": (f"one of {', '.join(STATES)}", lambda value: value in STATES),
    "spec": ("the description of a run", _spec),
    "task": ("the description of a task", _task),
    "metrics": ("a table of views and metrics", _table(_table(_number))),
    "per_class": ("a table of numbers per class", _table(_numbers)),
    "chosen": ("a table", _object()),
    "trials": ("a number", _whole),
    "cost": ("a table of costs", _cost),
    "provenance": ("a table", _provenance),
    "error": ("a table", _object(type=_text, message=_text, log=_text)),
    "attempt": ("a number", _whole),
}
