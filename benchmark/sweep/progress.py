"""What a sweep is doing: a live view on a terminal, else one plain line for each run that ended."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from benchmark.spec import Job, JsonObject

COLOURS = {
    "done": "green",
    "failed": "red",
    "crashed": "red",
    "timeout": "yellow",
    "unwritten": "red",
}


class Progress:
    """Reads the events that supervisors leave in the folder of their sweep, and shows them."""

    def __init__(
        self,
        todo: Sequence[Job],
        total: int,
        slots: int,
        folder: Path,
        console: Console | None = None,
    ) -> None:
        self.todo = {job.id: job for job in todo}
        self.total, self.slots, self.folder = total, slots, folder
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.offsets: dict[Path, int] = {}
        # (host, slot) -> (ids, since): of runs that are computed as one there are several
        self.running: dict[tuple[str, str], tuple[list[str], float]] = {}
        self.counts: Counter[str] = Counter()
        self.seen: dict[str, float] = {}  # id -> seconds it took
        self.told: set[str] = set()  # what is said once, however often it is reported
        self.live: Live | None = None

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self.live = Live(
                console=self.console,
                refresh_per_second=4,
                get_renderable=self._view,
                transient=True,
            )
            self.live.start()
        return self

    def __exit__(
        self, kind: type | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.update()
        if self.live is not None:
            self.live.stop()

    @property
    def ended(self) -> int:
        return len(self.seen)

    def say(self, text: str) -> None:
        self.console.print(Text(text))

    def update(self) -> None:
        """Shows what happened since the last call."""
        for path in sorted(self.folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self.offsets.get(path, 0))
                for line in file:
                    if line.endswith(b"\n"):  # else it is being written: read it next time
                        self.offsets[path] = self.offsets.get(path, 0) + len(line)
                        self._event(json.loads(line))

    def _event(self, event: JsonObject) -> None:
        status = event["status"]
        if status in ("waiting", "unusable", "features", "alone"):
            self._note(event)
            return
        place = (event["host"], event["slot"])
        if status == "started":
            self.running[place] = (event["ids"], time.monotonic())
            if event["attempt"] > 1:
                self.say(f"crashed once, tried again: {self._label(event['ids'][0])}")
            return
        id = event["id"]
        self._no_longer_running(place, id)
        if id in self.seen:
            return
        self.seen[id] = event["seconds"]
        self.counts[status] += 1
        if self.live is None or status != "done":
            reason = f": {event['message']}" if event["message"] else ""
            line = f"{status} {self._label(id)} in {event['seconds']:.1f} s{reason}"
            self.console.print(
                Text(f"{self.headline()} | {line}", style=COLOURS[status] if self.live else "")
            )

    def _no_longer_running(self, place: tuple[str, str], id: str) -> None:
        ids, since = self.running.pop(place, ([], 0.0))
        others = [other for other in ids if other != id]
        if others:
            self.running[place] = (others, since)

    def _label(self, id: str) -> str:
        return f"{id} {self.todo[id].spec.label}"

    def _note(self, event: JsonObject) -> None:
        """Why somebody does not work; said once, however many supervisors find it out."""
        if event["status"] in ("features", "alone"):
            self.say(event["message"])
            return
        # the run of an unusable GPU is free again
        self.running.pop((event["host"], event["slot"]), None)
        ours = {id for ids, _ in self.running.values() for id in ids} | self.seen.keys()
        if event["status"] == "waiting" and ours.issuperset(event["left"]):
            return  # for runs that another slot of this sweep computes
        told = f"{event['host']}: {event['message']}"
        if told not in self.told:
            self.told.add(told)
            self.say(told)

    def headline(self) -> str:
        """ "[37/120] 2 failed, 1 h 10 min to go"."""
        bad = sum(number for status, number in self.counts.items() if status != "done")
        done = self.total - len(self.todo) + len(self.seen)
        parts = [f"{bad} failed"] * bool(bad) + [f"{duration(self.seconds_to_go())} to go"] * (
            done < self.total
        )
        return f"[{done}/{self.total}] {', '.join(parts)}".strip()

    def seconds_to_go(self) -> float:
        """From the estimates, corrected by how wrong they were so far, over the slots that there is
        work for."""
        left = [job for id, job in self.todo.items() if id not in self.seen]
        expected = sum(self.todo[id].seconds for id in self.seen)
        taken = sum(self.seen.values())
        remaining = sum(job.seconds for job in left)
        remaining *= taken / expected if expected and taken else 1.0
        return remaining / max(1, min(self.slots, len(left)))

    def _view(self) -> Group:
        bar = ProgressBar(
            total=self.total, completed=self.total - len(self.todo) + len(self.seen), width=40
        )
        top, slots = Table.grid(padding=(0, 2)), Table.grid(padding=(0, 2))
        top.add_row(bar, Text(self.headline(), style="bold"))
        for (host, slot), (ids, since) in sorted(self.running.items()):
            label = self._label(ids[0]) + f" and {len(ids) - 1} more" * (len(ids) > 1)
            slots.add_row(host, slot, label, duration(time.monotonic() - since))
        return Group(top, slots)


def duration(seconds: float) -> str:
    """ "1 h 10 min", "3 min 20 s", "12 s"."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
