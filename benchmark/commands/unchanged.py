"""Whether a report would come out as it stands: a digest of all that it is made from, kept beside
it.

Records, scores and labels count by size, inode and both of their times, so that whoever alters one
is noticed, whatever he sets its date to; plans and sources count by their contents; of methods and
settings, wherever they lie, counts what decides whether a number is stale.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.files import ROOT, read_file, write_atomically
from benchmark.staleness import code_digest
from benchmark.store import Record

CODE = ("benchmark", "methods", "settings", "reports")
SOURCES = (".py", ".html", ".css", ".js", ".csv")
MADE = ("report.html", "results.csv", "results.parquet", "tables", "figures")


@dataclass
class Inputs:
    """What a report of `out` is made from, as it is now; taken before the report is written."""

    out: Path
    # method, setting, data set and plugin files of every record
    codes: list[tuple[str, str, str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        whole = hashlib.sha256()
        for line in (*_files(self.out), *_sources(), *map(_code, self.codes)):
            whole.update(line.encode() + b"\n")
        self.digest = whole.hexdigest()

    @property
    def note(self) -> Path:
        return self.out / "cache" / "report.json"

    def keep(self, text: str) -> None:
        """Notes what the report that stands now was made from, and its summary."""
        state = {
            "made_from": self.digest,
            "codes": self.codes,
            "made": _made(self.out),
            "text": text,
        }
        self.note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.note, json.dumps(state).encode())


def before(out: Path, records: Iterable[Record]) -> Inputs:
    """The inputs of a report of these records."""
    codes = {}
    for record in records:
        spec, plugins = record["spec"], record["provenance"].get("plugins", {})
        key = (spec.methods, spec.setting.name, spec.dataset, tuple(sorted(plugins.items())))
        codes[key] = (*key[:3], plugins)
    return Inputs(out, [codes[key] for key in sorted(codes)])


def summary(out: Path) -> str | None:
    """The text of the report that stands, None where it would come out otherwise."""
    # whatever is wrong with the note, a new report mends it
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        state = json.loads(read_file(out / "cache" / "report.json"))
        codes = [(str(m), str(s), str(d), dict(p)) for m, s, d, p in state["codes"]]
        if state["made"] == _made(out) and state["made_from"] == Inputs(out, codes).digest:
            return str(state["text"])
    return None


def _files(out: Path) -> Iterator[str]:
    """A line for each file of each run, each task and each plan."""
    for run in _entries(out / "runs"):
        for file in _entries(Path(run.path)):
            if file.name not in ("claim", "attempt"):
                yield f"{run.name}/{_stamp(file)}"
    for folder in ("tasks", "plans"):
        for file in _entries(out / folder):
            yield f"{folder}/{file.name} {_whole(Path(file.path))}"


def _sources() -> Iterator[str]:
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SOURCES:
                yield f"{path.relative_to(ROOT)} {_whole(path)}"


def _whole(path: Path) -> str:
    try:
        return hashlib.sha256(read_file(path)).hexdigest()
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _code(key: tuple[str, str, str, dict[str, str]]) -> str:
    try:
        return code_digest(*key)
    except ValueError as error:  # a plugin that is gone
        return str(error)


def _made(out: Path) -> list[str]:
    """A line for each file of the report itself: what somebody removed is made again."""
    found = [entry for entry in _entries(out) if entry.name in MADE]
    inside = [file for entry in found if entry.is_dir() for file in _entries(Path(entry.path))]
    return [f"{file.path} {_stamp(file)}" for file in (*found, *inside) if file.is_file()]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)
    return []


def _stamp(entry: os.DirEntry[str]) -> str:
    state = entry.stat(follow_symlinks=False)  # a link may lead nowhere
    return f"{entry.name} {state.st_size} {state.st_ino} {state.st_mtime_ns} {state.st_ctime_ns}"
