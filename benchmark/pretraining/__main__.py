"""`python -m benchmark.pretraining pretrain NAME`: trains the weights of a pocket CLIP anew."""

import argparse
from pathlib import Path

from benchmark.clip.pocket import NAMES
from benchmark.pretraining import distil, pretrain


def main() -> None:
    """Read the command line and pretrain."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.pretraining", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "pretrain", help="train from scratch or resume; writes weights, sha256 and log"
    )
    command.add_argument("name", choices=NAMES)
    command.add_argument(
        "--folder", type=Path, default=Path("results/pretraining"), help="for checkpoint and log"
    )
    command.add_argument(
        "--samples",
        type=int,
        help="scenes to train on (default: as many as the shipped weights saw)",
    )
    command.add_argument("--cores", type=int, default=1, help="processor cores (default: 1)")
    options = parser.parse_args()
    train, module = (
        (distil.distil, distil) if options.name in distil.TEACHER else (pretrain.pretrain, pretrain)
    )
    train(options.name, options.folder, options.samples or module.SAMPLES, options.cores)


if __name__ == "__main__":
    main()
