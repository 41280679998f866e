"""The command line: verbs and flags. A user error is one line on stderr and exit code 2."""

import argparse
import functools
import os
import sys
import webbrowser
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmark import data

VERBS = ("run", "plan", "report", "list", "one", "new", "check", "diff", "data")
KINDS = ("methods", "settings", "datasets", "encoders")


@dataclass(frozen=True)
class Suite:
    """What a command compares unless flags say otherwise."""

    methods: tuple[str, ...]
    settings: tuple[str, ...]
    seeds: str
    # setting -> the data sets it is run on when they are there
    datasets: dict[str, tuple[str, ...]]
    sweeps: dict[str, dict[str, list]] = field(default_factory=dict)


def main(argv: list[str], quick: Suite, full: Suite) -> int:
    """Exit code 0 when every selected run ended done, 1 when any did not, 2 for a usage error.

    Usage errors come up before the work starts; a `ValueError` in the work itself is a fault and
    keeps its traceback.
    """
    verb_given = bool(argv) and argv[0] in VERBS
    only_help = bool(argv) and argv[0] in ("-h", "--help")
    arguments = parser().parse_args(argv if verb_given or only_help else ["run", *argv])
    if getattr(arguments, "data", None):
        os.environ["LOWLABEL_DATA"] = str(Path(arguments.data).resolve())
    suite = full if getattr(arguments, "settings", None) else quick
    try:
        result = globals()[f"_{arguments.verb}"](arguments, suite)
    except (ValueError, FileNotFoundError) as error:
        print(f"run_all.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return result() if callable(result) else result


def parser() -> argparse.ArgumentParser:
    """Every verb and flag of the suite; a test freezes them."""
    top = argparse.ArgumentParser(
        "run_all.py", description="Multi-label recognition with few labels, compared fairly."
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)

    out = argparse.ArgumentParser(add_help=False)
    out.add_argument("--out", default="results", help="result folder (default: results)")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--data", metavar="DIR", help="folder of the data sets (default: data)")

    axes = argparse.ArgumentParser(add_help=False, parents=[out, where])
    axes.add_argument(
        "--settings",
        nargs="+",
        metavar="S",
        help="partial, zero_shot, 'partial(known=[.1,.5])', a path",
    )
    axes.add_argument(
        "--methods", nargs="+", metavar="M", help="coop, 'dualcoop(context_length=32)', my/idea.py"
    )
    axes.add_argument(
        "--datasets",
        nargs="+",
        metavar="D",
        default=[],
        help="default: found under --data, or embedded",
    )
    axes.add_argument(
        "--encoders", nargs="+", metavar="E", default=[], help="e.g. RN101/openai@448"
    )
    axes.add_argument("--seeds", help="0-4 or 0,3 (default: 0-2; quick suite: 0)")
    axes.add_argument(
        "--selection", default="last", metavar="last|val|oracle", help="which epoch counts"
    )
    axes.add_argument(
        "--shard",
        default="",
        metavar="I/N",
        help="only every N-th run, for job arrays: 0/16 … 15/16",
    )
    axes.add_argument(
        "--fresh",
        choices=["failed", "stale", "all"],
        default="",
        help="which finished runs to repeat",
    )

    run = verbs.add_parser(
        "run", parents=[axes], help="run what is missing, then report (the default verb)"
    )
    run.add_argument("--backend", choices=["inline", "loky", "threading", "dask"], default="loky")
    run.add_argument("--address", default="", help="of a Dask scheduler, tcp://…")
    run.add_argument(
        "--slots",
        type=int,
        default=0,
        help="runs at once (default: one per GPU, else per physical core)",
    )
    run.add_argument("--per-gpu", type=int, default=1, help="runs that share a GPU")
    run.add_argument("--timeout", default="", help="of one run: 90s, 30m, 2h (default: none)")
    run.add_argument("--tensorboard", action="store_true", help="also write TensorBoard events")
    verbs.add_parser(
        "plan",
        parents=[axes],
        help="every run: todo, done, stale, failed, n/a; hours; runs nothing",
    )
    report = verbs.add_parser("report", help="tables, figures and HTML from whatever exists")
    report.add_argument(
        "--out", action="append", help="result folder; repeat to join several (default: results)"
    )
    report.add_argument("--open", action="store_true", help="open the report in a browser")
    report.add_argument("--tables-only", action="store_true", help="only results/tables")
    listing = verbs.add_parser(
        "list", parents=[where], help="methods, settings, data sets, encoders"
    )
    listing.add_argument("kind", nargs="?", choices=KINDS)
    one = verbs.add_parser(
        "one", parents=[out, where], help="one run again, here, with its output on the terminal"
    )
    one.add_argument("id")
    one.add_argument("--pdb", action="store_true", help="debugger at the exception")
    one.add_argument(
        "--checkpoint", default="", metavar="NAME", help="evaluate checkpoints/NAME.pt, no training"
    )
    new = verbs.add_parser("new", help="a template that passes `check` as it stands")
    new.add_argument("kind", choices=["method", "setting"])
    new.add_argument("name")
    check = verbs.add_parser("check", help="the shared plugin tests on the embedded data")
    check.add_argument("name", help="a method's name or path")
    diff = verbs.add_parser("diff", parents=[out], help="why two numbers differ")
    diff.add_argument("a")
    diff.add_argument("b")
    files = verbs.add_parser(
        "data", parents=[where], help="what is there, what is missing, where from"
    )
    files.add_argument("name", nargs="?")
    files.add_argument("--download", action="store_true")
    return top


# ---- run, plan, report ---------------------------------------------------------------------------


def _plan_rows(arguments: argparse.Namespace, suite: Suite) -> list:
    from benchmark.plan import Axes, make_plan, shard
    from benchmark.store import Store

    axes = Axes(
        methods=tuple(arguments.methods or suite.methods),
        settings=tuple(arguments.settings or suite.settings),
        datasets=tuple(arguments.datasets),
        candidates=suite.datasets,
        encoders=tuple(arguments.encoders),
        seeds=parse_seeds(arguments.seeds or suite.seeds),
        selection=arguments.selection,
        sweeps=suite.sweeps,
    )
    rows = make_plan(axes, Store(Path(arguments.out)))
    return shard(rows, arguments.shard) if arguments.shard else rows


def parse_seeds(text: str) -> tuple[int, ...]:
    """ "0-2,7" -> (0, 1, 2, 7)."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"Cannot read the seeds {text!r}. Write 0-4 or 0,3.")
        seeds.extend(range(int(first), int(last if dash else first) + 1))
    return tuple(dict.fromkeys(seeds))


def _run(arguments: argparse.Namespace, suite: Suite) -> Callable[[], int]:
    from benchmark.plan import selected
    from benchmark.sweep.schedule import parse_duration

    timeout = parse_duration(arguments.timeout) if arguments.timeout else None
    rows = _plan_rows(arguments, suite)
    _fetch_weights(selected(rows, arguments.fresh))
    return functools.partial(_sweep, rows, timeout, arguments, suite)


def _fetch_weights(rows: list) -> None:
    """Downloads each encoder's weights once, here, so that what is missing is one sentence and not
    a failure a run."""
    from benchmark.clip.encoder import Clip

    for encoder in {str(row.spec["encoder"]): row.spec["encoder"] for row in rows}.values():
        _ = Clip(encoder).weights_sha256


def _sweep(rows: list, timeout: float | None, arguments: argparse.Namespace, suite: Suite) -> int:
    from benchmark.plan import DONE, NOT_APPLICABLE, STALE, selected
    from benchmark.sweep.schedule import run_jobs

    chosen = selected(rows, arguments.fresh)
    not_applicable = sum(row.state == NOT_APPLICABLE for row in rows)
    done = len(rows) - not_applicable - len(chosen)
    if chosen:
        print(f"{len(chosen)} runs to do, {done} done before, {not_applicable} not applicable.")
        summary = run_jobs(
            [row.job(arguments.tensorboard) for row in chosen],
            Path(arguments.out),
            backend=arguments.backend,
            address=arguments.address,
            slots=arguments.slots,
            per_gpu=arguments.per_gpu,
            timeout=timeout,
            rerun={row.id for row in chosen if row.state in (DONE, STALE)},
            continue_command=" ".join(["python", *sys.argv]),
        )
        if summary.interrupted:
            return 130
        rows = _plan_rows(arguments, suite)
    else:
        print(f"All {done} runs are done; nothing to compute. (--fresh all runs them again.)")
    _build_report([Path(arguments.out)], rows)
    return 1 if selected(rows, "") else 0


def _build_report(outs: list[Path], rows: list | None = None, tables_only: bool = False) -> Path:
    from reports import page

    plan = (
        [{"id": r.id, "spec": r.spec, "state": r.state, "reason": r.reason} for r in rows]
        if rows
        else None
    )
    path = page.build(outs, plan=plan, tables_only=tables_only)
    print(f"Report: {path.resolve()}")
    return path


def _plan(arguments: argparse.Namespace, suite: Suite) -> int:
    from benchmark.plan import NOT_APPLICABLE, label, selected

    rows = _plan_rows(arguments, suite)
    for row in rows:
        print(
            f"{row.id}  {row.state:6} {label(row.spec)}{f'  ({row.reason})' if row.reason else ''}"
        )
    chosen = selected(rows, arguments.fresh)
    counts = Counter(row.state for row in rows)
    hours = sum(row.seconds for row in chosen) / 3600
    print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no runs")
    print(
        f"To do: {len(chosen)} of {len(rows) - counts[NOT_APPLICABLE]} runs, about {hours:.2f} "
        f"hours on one slot."
    )
    return 0


def _report(arguments: argparse.Namespace, suite: Suite) -> Callable[[], int]:
    outs = [Path(out) for out in arguments.out or ["results"]]
    for out in outs:
        if not out.is_dir():
            raise FileNotFoundError(
                f"There is no result folder {out}. Run `python run_all.py` first, or give --out."
            )
    return functools.partial(_write_report, outs, arguments)


def _write_report(outs: list[Path], arguments: argparse.Namespace) -> int:
    from benchmark.plan import recorded_rows
    from benchmark.store import Store

    rows = [row for out in outs for row in recorded_rows(Store(out).records())]
    path = _build_report(outs, rows, tables_only=arguments.tables_only)
    if arguments.open:
        webbrowser.open(path.resolve().as_uri())
    return 0


# ---- everything else -----------------------------------------------------------------------------


def _list(arguments: argparse.Namespace, suite: Suite) -> int:
    from benchmark.commands import list

    for kind in [arguments.kind] if arguments.kind else KINDS:
        print(list.table(kind))
    return 0


def _one(arguments: argparse.Namespace, suite: Suite) -> int:
    from benchmark.commands import one

    return one.run(
        Path(arguments.out), arguments.id, debug=arguments.pdb, checkpoint=arguments.checkpoint
    )


def _new(arguments: argparse.Namespace, suite: Suite) -> int:
    from benchmark.commands import new

    path = new.write(arguments.kind, arguments.name)
    print(f"Wrote {path}. Edit it, then: python run_all.py check {arguments.name}")
    return 0


def _check(arguments: argparse.Namespace, suite: Suite) -> int:
    from benchmark.commands import check

    return check.report(arguments.name)


def _diff(arguments: argparse.Namespace, suite: Suite) -> int:
    from benchmark.commands import diff

    print(diff.explain(Path(arguments.out), arguments.a, arguments.b))
    return 0


def _data(arguments: argparse.Namespace, suite: Suite) -> int:
    from benchmark.data.download import fetch

    if arguments.name:
        data.module(arguments.name)
    if arguments.download:
        for name in [arguments.name] if arguments.name else data.names():
            if not data.embedded(name):
                fetch.download(name, data.root())
    print(fetch.table(data.root(), arguments.name))
    return 0
