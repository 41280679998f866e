"""`python -m tests.speed.papers`: the table of docs/cost.md, what the tables of the papers take.

Counted, not measured: operations of the towers from the shapes of their weights, bytes of the
features, divided by the rates below. A step of learned prompts is 4 · 12 · W² · layers operations a
row, forward and back; class-specific contexts have K · C · (M + name) rows, and a name with its
period and end about 4."""

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

import benchmark.clip.torchvision_shim  # noqa: F401  (before open_clip)

import open_clip  # isort: skip

# operations a second that a step reaches: float32 without TF32. One core: measured. The GPUs: half
# of what their makers give for float32 outside tensor cores, 29 and 67 · 10¹²
RATES = {"one core": 90e9, "workstation GPU": 15e12, "H100": 33e12}
NAME = 4  # tokens


class Table(NamedTuple):
    """A table of a paper: runs = label rates or splits × seeds of one method."""

    title: str
    encoder: str
    size: int
    images: int  # of the training
    classes: int
    length: int  # M
    specific: bool
    epochs: int
    runs: int
    all_images: int


TABLES = (
    Table("DualCoOp, VOC2007 partial", "RN101", 448, 5011, 20, 16, True, 50, 27, 9963),
    Table("DualCoOp, COCO partial", "RN101", 448, 82081, 80, 16, True, 50, 27, 122218),
    Table("DualCoOp, COCO 48/17 zero-shot", "RN50", 224, 73774, 48, 64, False, 50, 3, 77000),
    Table("DualCoOp, NUS-WIDE zero-shot", "RN50", 224, 161789, 100, 64, False, 50, 3, 269648),
)


def image_operations(name: str, size: int) -> float:
    """Of the image tower, counted by torch on a device without memory."""
    config = open_clip.get_model_config(name)
    config["vision_cfg"]["image_size"] = size
    with torch.device("meta"):
        model = open_clip.CLIP(
            **{key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}
        )
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.visual.eval()(torch.zeros(1, 3, size, size))
    return float(counter.get_total_flops())


def text_operations(table: Table) -> float:
    """Of the text tower in one step."""
    layers, width = 12, 512
    names = table.classes * NAME
    rows = 2 * (names + table.length * (table.classes if table.specific else 1))
    return 4 * 12 * width**2 * layers * rows


def spelled(seconds: float) -> str:
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} days"


def main() -> None:
    heads = [f"{name}: features, one run, all" for name in RATES]
    print(f"| table | runs | regions on disk | {' | '.join(heads)} |")
    print("|" + "---|" * (3 + len(heads)))
    for table in TABLES:
        image = image_operations(table.encoder, table.size)
        side = table.size // 32
        width = open_clip.get_model_config(table.encoder)["embed_dim"]
        disk = table.all_images * (side**2 + 1) * width * 2 / 1e9
        steps = table.epochs * -(-table.images // 32)
        cells = []
        for rate in RATES.values():
            features, run = table.all_images * image / rate, steps * text_operations(table) / rate
            total = features + table.runs * run
            cells.append(f"{spelled(features)}, {spelled(run)}, {spelled(total)}")
        print(f"| {table.title} | {table.runs} | {disk:.0f} GB | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
