"""What was asked for, kept beside what was computed: `out/plans/<digest of the command>.json`, one
file a command, so that a report of an unfinished sweep knows what is missing."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.files import write_atomically
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
            plan = json.loads(path.read_bytes())
            for run in plan["runs"]:
                spec = Spec.from_json(run["spec"])
                state = "n/a" if "reason" in run else "todo"
                found[spec.id] = Planned(spec, state, run.get("reason", ""), plan["command"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return list(found.values())
