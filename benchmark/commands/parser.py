"""Every verb and flag of the suite; a test freezes them."""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from benchmark import __version__
from benchmark.spec import nearest

VERBS = ("run", "plan", "report", "data", "list", "one", "new", "check", "diff")
KINDS = ("methods", "settings", "datasets", "encoders")

EXAMPLES = """
examples:
  {program}                                   the quick suite on the embedded data, then the report
  {program} --settings partial --methods coop 'dualcoop(context_length=[4,16])' --seeds 0-4
  {program} plan --settings zero_shot --data /data --datasets coco2014 --encoders RN50/openai@224
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """The flags of a command line; without a verb it is `run`. Raises `ValueError` for a mistake;
    `--help` and `--version` print and exit."""
    top, verbs = parsers()
    if argv and argv[0] in ("-h", "--help", "--version"):
        top.parse_args(argv)
    if argv and not argv[0].startswith("-") and argv[0] not in VERBS:
        raise ValueError(f"There is no verb {argv[0]!r}. {nearest(argv[0], list(VERBS))}")
    verb, *rest = argv if argv and argv[0] in VERBS else ["run", *argv]
    arguments, unknown = verbs[verb].parse_known_args(rest)
    if unknown:
        flags = [flag for action in verbs[verb]._actions for flag in action.option_strings]
        hint = nearest(unknown[0].partition("=")[0], sorted(set(flags) - {"-h"}))
        raise ValueError(f"{verb} does not take {unknown[0]!r}. {hint}")
    arguments.verb = verb
    return arguments


def program() -> str:
    """What the user typed to get here: the console script, or the file of the checkout."""
    return "lowlabel" if Path(sys.argv[0]).stem == "lowlabel" else "run_all.py"


def command() -> str:
    """How a person calls this program again, from the folder where it was called."""
    if program() == "lowlabel":
        return "lowlabel"
    started = Path(sys.argv[0])
    return shlex.join(["python", str(started) if started.name == "run_all.py" else "run_all.py"])


def command_line() -> str:
    """What was typed, to be typed again."""
    return f"{command()} {shlex.join(sys.argv[1:])}".rstrip()


def as_called(text: str) -> str:
    """A text whose commands are written as the user writes them."""
    return text.replace("python run_all.py", command()).replace("`run_all.py", f"`{program()}")


class _Parser(argparse.ArgumentParser):
    """A mistake is an exception, so that it is told in one line like any other."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see: {self.prog} --help)")


def _one_of(*known: str) -> Callable[[str], str]:
    """A flag's type whose error names the nearest match; the empty text is its absence."""

    def value(text: str) -> str:
        if text and text not in known:
            raise argparse.ArgumentTypeError(f"{text!r} is not known. {nearest(text, list(known))}")
        return text

    return value


def _count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of images, 1 or more")
    return int(text)


def _cohort(text: str) -> int:
    """Runs computed as one at most; 0 leaves the number to the suite."""
    if text in ("auto", "off"):
        return ("auto", "off").index(text)
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of runs: write auto, off or 27")
    return int(text)


def parsers() -> tuple[_Parser, dict[str, _Parser]]:
    """The parser of the bare program and the one of each verb."""
    top = _Parser(
        program(),
        description="Compares methods for multi-label image recognition with few labels.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"lowlabel-bench {__version__}")
    verbs = top.add_subparsers(metavar="VERB", title="verbs (VERB --help explains its flags)")
    out, where, axes = (_Parser(add_help=False) for _ in range(3))
    _add_axes(axes.add_argument_group("which runs"))
    _add_out(out)
    _add_data(where)

    def verb(name: str, help: str, *parents: _Parser) -> _Parser:
        return verbs.add_parser(name, parents=parents, help=help, description=f"{name}: {help}")

    parsers = {
        "run": verb("run", "run what is missing, then report (the default)", axes),
        "plan": verb(
            "plan", "every run: todo, done, stale, failed, n/a; hours; runs nothing", axes
        ),
        "report": verb("report", "tables, figures and HTML from whatever exists"),
        "data": verb("data", "what is there, what is missing, where from", where),
        "list": verb("list", "methods, settings, data sets, encoders", where),
        "one": verb("one", "one run again, here, with its output on the terminal", out, where),
        "new": verb("new", "a template that passes `check` as it stands"),
        "check": verb("check", "the shared plugin tests on the embedded data"),
        "diff": verb("diff", "why two numbers differ", out),
    }
    parsers["plan"].add_argument(
        "--measure",
        action="store_true",
        help="first measure, in about a minute, what no run has measured yet on this machine",
    )
    _add_run(parsers["run"])
    _add_others(parsers)
    sections = parsers["run"].format_help().partition("which runs:")
    top.epilog = (
        "flags of run (plan takes the first group)\n\nwhich runs:"
        + sections[2]
        + EXAMPLES.format(program=command())
    )
    return top, parsers


def _add_out(flags: argparse._ActionsContainer) -> None:
    flags.add_argument("--out", metavar="DIR", default="results", help="results (the default)")


def _add_data(flags: argparse._ActionsContainer) -> None:
    flags.add_argument("--data", metavar="DIR", help="the data sets (default: data)")
    flags.add_argument(
        "--allow-subset",
        action="store_true",
        help="take lists of a data set that are shorter than the official ones",
    )


def _add_axes(which: argparse._ActionsContainer) -> None:
    """What is compared: the flags that `run` and `plan` share."""
    which.add_argument(
        "--settings",
        nargs="+",
        metavar="S",
        help="partial, zero_shot, 'partial(known=[.1,.5])', a path",
    )
    which.add_argument(
        "--methods", nargs="+", metavar="M", help="coop, 'dualcoop(context_length=32)', my/idea.py"
    )
    which.add_argument(
        "--datasets",
        nargs="+",
        metavar="D",
        default=[],
        help="default: found under --data, or embedded",
    )
    which.add_argument(
        "--encoders", nargs="+", metavar="E", default=[], help="e.g. RN101/openai@448"
    )
    which.add_argument(
        "--seeds",
        nargs="+",
        metavar="N",
        help="0-4 or 0,3 (default: 0-2; quick suite: 0)",
    )
    which.add_argument(
        "--selection",
        type=_one_of("last", "val", "oracle"),
        default="last",
        metavar="last|val|oracle",
        help="which epoch counts (default: last)",
    )
    which.add_argument(
        "--limit",
        type=_count,
        default=0,
        metavar="N",
        help="a smoke run on N images a split; its numbers never mix with real ones",
    )
    which.add_argument(
        "--shard",
        default="",
        metavar="I/N",
        help="only every N-th run, for job arrays: 0/16 … 15/16",
    )
    which.add_argument(
        "--fresh",
        type=_one_of("failed", "stale", "all"),
        default="",
        metavar="failed|stale|all",
        help="which finished runs to repeat",
    )
    _add_data(which)
    _add_out(which)


def _add_run(run: argparse.ArgumentParser) -> None:
    how = run.add_argument_group("how they are run")
    how.add_argument(
        "--backend",
        type=_one_of("inline", "loky", "threading", "dask"),
        default="loky",
        metavar="loky|threading|inline|dask",
        help="what spreads them (default: loky)",
    )
    how.add_argument("--address", default="", help="of a Dask scheduler, tcp://…")
    how.add_argument(
        "--slots",
        type=int,
        default=0,
        metavar="N",
        help="runs at once (default: one per GPU, else per physical core)",
    )
    how.add_argument("--per-gpu", type=int, default=1, metavar="N", help="runs that share a GPU")
    how.add_argument(
        "--cohort",
        type=_cohort,
        default="auto",
        metavar="auto|off|N",
        help="how many runs of a method that can are computed as one (default: auto)",
    )
    how.add_argument(
        "--timeout",
        default="",
        metavar="T",
        help="of one run, times their number for runs computed as one: 90s, 30m, 2h "
        "(default: none)",
    )
    how.add_argument("--tensorboard", action="store_true", help="also write TensorBoard events")


def _add_others(parsers: dict[str, _Parser]) -> None:
    report = parsers["report"]
    report.add_argument(
        "--out", action="append", help="result folder; repeat to join several (default: results)"
    )
    report.add_argument("--open", action="store_true", help="open the report in a browser")
    report.add_argument("--tables-only", action="store_true", help="only results/tables")
    report.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="FILE",
        help="also tables/NAME.csv by NAME(targets, scores) of NAME.py, from the kept scores",
    )

    parsers["data"].add_argument("name", nargs="?", help="a data set; default: all")
    parsers["data"].add_argument("--download", action="store_true", help="fetch what is missing")

    parsers["list"].add_argument("kind", nargs="?", type=_one_of(*KINDS), help=", ".join(KINDS))

    parsers["one"].add_argument("id", help="of a run, or its first digits")
    parsers["one"].add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE",
        help="a plugin file that the run may use; repeat for several",
    )
    parsers["one"].add_argument("--pdb", action="store_true", help="debugger at the exception")
    parsers["one"].add_argument(
        "--keep", action="store_true", help="overwrite the record; default: only compare with it"
    )
    parsers["one"].add_argument(
        "--checkpoint", default="", metavar="NAME", help="evaluate checkpoints/NAME.pt, no training"
    )

    kinds = _one_of("method", "setting", "dataset")
    parsers["new"].add_argument("kind", type=kinds, help="method, setting or dataset")
    parsers["new"].add_argument("name", help="of the plugin and its file")

    parsers["check"].add_argument("name", help="a method, setting or data set, or its file")

    parsers["diff"].add_argument("a", help="id of a run, or its first digits")
    parsers["diff"].add_argument("b", help="id of another")
