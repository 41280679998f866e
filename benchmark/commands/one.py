"""`run_all.py one ID`: one run again, in this process, or one of its checkpoints evaluated
again."""

import argparse
import functools
import os
from collections.abc import Callable
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
from benchmark.sweep.slots import machine_slots, wait_for_slot


def prepare(arguments: argparse.Namespace, suite: Suite) -> Callable[[], int]:
    out = Path(arguments.out)
    share(out)
    record = find(Store(out), arguments.id)
    require_named(record, arguments.plugin)
    if arguments.checkpoint:
        checkpoint_file(out, record, arguments.checkpoint)
    machine_slots()  # a GPU that cannot be used is said before the work
    return functools.partial(run, out, record, arguments.pdb, arguments.checkpoint)


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


def run(out: Path, record: Record, debug: bool = False, checkpoint: str = "") -> int:
    """Repeats a run with its output on the terminal; with `checkpoint`, only scores its
    checkpoints/NAME.pt."""
    print(f"{record['id']}  {record['spec'].label}")
    registry.register_plugins(record["provenance"].get("plugins", {}))
    with wait_for_slot(machine_slots(), print) as slot:
        torch.set_num_threads(slot.threads)
        if checkpoint:
            with switched(record["spec"].encoder.precision):
                values = evaluate_checkpoint(record, out, checkpoint, torch.device(slot.device))
        else:
            job = Job(
                record["spec"],
                data=os.environ.get("LOWLABEL_DATA", str(data.root().resolve())),
                plugins=registry.plugin_files(),
            )
            record = execute(job, out, slot.device, attempt=record["attempt"] + 1, debug=debug)
            values = record["metrics"]
    for view, metrics in values.items():
        print(
            f"{view}: "
            + ", ".join(
                f"{name} {value:.2f}" for name, value in metrics.items() if value is not None
            )
        )
    return 0 if record["status"] == "done" else 1


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
