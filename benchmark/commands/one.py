"""`run_all.py one ID`: one run again, in this process, or one of its checkpoints evaluated
again."""

import argparse
import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmark import data, registry
from benchmark.clip.precision import switched
from benchmark.commands.names import find
from benchmark.commands.suite import Suite
from benchmark.files import share
from benchmark.run.execute import execute
from benchmark.run.parts import open_world, predict
from benchmark.run.scoring import score
from benchmark.spec import Job, nearest
from benchmark.store import Record, Store
from benchmark.sweep.leases import wait_for_slot
from benchmark.sweep.slots import machine_slots

SAME = 0.005  # points: equal in the two digits that are printed


def prepare(arguments: argparse.Namespace, suite: Suite) -> Callable[[], int]:
    out = Path(arguments.out)
    share(out)
    record = find(Store(out), arguments.id)
    require_named(record, arguments.plugin)
    if arguments.checkpoint:
        checkpoint_file(out, record, arguments.checkpoint)
    machine_slots()  # a GPU that cannot be used is said before the work
    return functools.partial(run, out, record, arguments.pdb, arguments.checkpoint, arguments.keep)


def require_named(record: Record, named: list[str]) -> None:
    """Raises `ValueError` for a run of a plugin file that the command line does not name: a record
    may come from anybody, and its word alone runs no code."""
    spec = record["spec"]
    used = {"methods": spec.method.name, "settings": spec.setting.name}
    used["datasets"] = registry.parse(spec.dataset)[0]
    allowed = {Path(path).resolve() for path in named}
    for key, path in record["provenance"].get("plugins", {}).items():
        kind, _, name = key.partition(":")
        if used.get(kind) != name:
            continue
        del used[kind]
        if Path(path).resolve() not in allowed:
            raise ValueError(
                f"this run is of a file outside the suite, {path}; a record alone runs no code: "
                f"add --plugin {path}"
            )
    for kind, name in used.items():
        registry.locate(kind, name)  # what is gone is said before the work


def run(
    out: Path, record: Record, debug: bool = False, checkpoint: str = "", keep: bool = False
) -> int:
    """Repeats a run with its output on the terminal and says whether it was reproduced; the record
    stays as it was unless `keep`. With `checkpoint`, only scores its checkpoints/NAME.pt."""
    print(f"{record['id']}  {record['spec'].label}")
    registry.register_plugins(record["provenance"].get("plugins", {}))
    with wait_for_slot(machine_slots(), print) as slot:
        torch.set_num_threads(slot.threads)
        if checkpoint:
            with switched(record["spec"].encoder.precision):
                values = evaluate_checkpoint(record, out, checkpoint, torch.device(slot.device))
            print_metrics(values)
            return 0 if record["status"] == "done" else 1
        job = Job(
            record["spec"],
            data=os.environ.get("LOWLABEL_DATA", str(data.root().resolve())),
            plugins=registry.plugin_files(),
        )
        with contextlib.ExitStack() as stack:
            place = out if keep else stack.enter_context(beside(out))
            again = execute(job, place, slot.device, attempt=record["attempt"] + 1, debug=debug)
    print_metrics(again["metrics"])
    if again["status"] != "done":
        return 1
    same, text = compared(record, again)
    print(text if keep else f"{text} The record is as it was; --keep overwrites it.")
    return 0 if same or keep else 1


@contextlib.contextmanager
def beside(out: Path) -> Iterator[Path]:
    """A result folder that vanishes, with the computed features of `out` in it."""
    with tempfile.TemporaryDirectory(prefix="lowlabel-one-") as folder:
        if (out / "features").is_dir():
            (Path(folder) / "features").symlink_to((out / "features").resolve())
        yield Path(folder)


def print_metrics(values: dict[str, dict[str, float | None]]) -> None:
    for view, metrics in values.items():
        numbers = [f"{name} {v:.2f}" for name, v in metrics.items() if v is not None]
        print(f"{view}: {', '.join(numbers)}")


def compared(record: Record, again: Record) -> tuple[bool, str]:
    """Whether a repeat gave every metric of the record, to what tables print and a digit more, and
    a sentence."""
    if record["status"] != "done":
        return True, f"The record is {record['status']}: there is no number to reproduce."
    gaps = {
        (view, name): (value, again["metrics"].get(view, {}).get(name))
        for view, metrics in record["metrics"].items()
        for name, value in metrics.items()
    }
    found = {
        place: abs(old - new)
        for place, (old, new) in gaps.items()
        if old is not None and new is not None
    }
    (view, name), (old, new) = next(iter(gaps.items()))
    missing = [place for place, (one, other) in gaps.items() if (one is None) != (other is None)]
    headline = f"{old:.2f} = {new:.2f}" if old is not None and new is not None else "–"
    if not missing and max(found.values(), default=0.0) < SAME:
        return True, f"reproduced: {name} {headline} ({view}), and every other metric."
    worst = max(found, key=lambda place: found[place]) if found else missing[0]
    before, now = gaps[worst]
    change = f"{found[worst]:.2f}" if worst in found else "a metric that one of them lacks"
    return False, (
        f"not reproduced: {name} ({view}) was {old} and is {new}; the largest difference is "
        f"{change}, {worst[1]} ({worst[0]}), {before} before and {now} now."
    )


def evaluate_checkpoint(
    record: Record, out: Path, checkpoint: str, device: torch.device
) -> dict[str, dict[str, float | None]]:
    """{view: {metric: value}} of a stored state of a run, computed from the weights file alone."""
    path = checkpoint_file(out, record, checkpoint)
    world = open_world(record["spec"], out, device)
    state = torch.load(path, map_location=device, weights_only=True)
    world.method.load_state_dict(world.clip, world.train.classes, state)
    scores = predict(world, world.test, world.task.classes)
    values, _ = score(world.task, scores, predict(world, world.val, world.val.classes))
    return values


def checkpoint_file(out: Path, record: Record, name: str) -> Path:
    """checkpoints/NAME.pt of a run. Raises `ValueError` with the names that there are."""
    path = Store(out).folder(record["id"]) / "checkpoints" / f"{name}.pt"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.pt"))
        raise ValueError(f"There is no checkpoint {path}. {nearest(name, known)}")
    return path
