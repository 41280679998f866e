"""What was asked for, kept beside what was computed: `out/plans/<digest of the command>.json`, one
file a command, so that a report of an unfinished sweep knows what is missing."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmark.files import read_file, write_atomically
from benchmark.integrity import describes_a_run
from benchmark.spec import Spec


@dataclass(frozen=True)
class Planned:
    """One run of a plan: `state` is todo, done, stale, failed or n/a and `command` runs it."""

    spec: Spec
    state: str = "todo"
    reason: str = ""
    command: str = ""


def keep(out: Path, command: str, rows: Sequence[Planned]) -> Path:
    """Writes the plan of a command; the same command, given again, replaces it."""
    path = out / "plans" / f"{hashlib.sha256(command.encode()).hexdigest()[:12]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    runs = [
        {"spec": row.spec.to_json(), **({"reason": row.reason} if row.state == "n/a" else {})}
        for row in rows
    ]
    write_atomically(path, json.dumps({"command": command, "runs": runs}).encode())
    return path


def kept(out: Path) -> list[Planned]:
    """The runs of every plan below `out`, each once, n/a or todo (records say the rest); a file
    that cannot be read is passed over."""
    found: dict[str, Planned] = {}
    for path in sorted(out.glob("plans/*.json")):
        try:
            plan = msgspec.json.decode(read_file(path))
            for run in plan["runs"]:
                texts = run.get("reason", ""), plan["command"]
                if describes_a_run(run["spec"]) and set(map(type, texts)) == {str}:
                    spec = Spec.from_json(run["spec"])
                    found[spec.id] = Planned(spec, "n/a" if "reason" in run else "todo", *texts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return list(found.values())
