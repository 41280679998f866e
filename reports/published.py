"""Published numbers from `published.csv`: never merged with measured ones, always with their source
and certainty."""

import csv
import functools
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("published.csv")
# read on an aggregator, in an issue or quoted by others; printed with a mark
SECOND_HAND = "verified-secondary"


@dataclass(frozen=True)
class Published:
    """One line of a paper's table: `values[column, metric]`, column as in our tables ("0.1", "avg",
    "zsl", "all")."""

    method: str
    ours: str  # name of our method that re-implements it, or ""
    backbone: str
    input_size: str
    paper: str
    source: str
    key: str  # "DualCoOp22 T1": short name of paper and place, unique in the file
    second_hand: bool
    values: dict[tuple[str, str], str]

    @property
    def label(self) -> str:
        where = ", ".join(
            filter(None, [self.backbone, self.input_size and f"{self.input_size} px"])
        )
        return f"{self.method} ({where})" if where else self.method


def published(family: str, dataset: str) -> list[Published]:
    """Lines of papers for a setting family and data set; certainty other than `verified` is marked,
    none is guessed."""
    lines: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for row in _rows():
        if (row["family"], row["dataset"]) == (family, dataset):
            lines[
                tuple(row[k] for k in ("method", "ours", "backbone", "input_size", "paper"))
            ].append(row)
    return [
        Published(
            method,
            ours,
            backbone,
            input_size,
            paper,
            source="; ".join(dict.fromkeys(row["source"] for row in rows)),
            key=source_keys()[paper],
            second_hand=any(row["certainty"] == SECOND_HAND for row in rows),
            values={(row["column"], row["metric"]): row["value"] for row in rows},
        )
        for (method, ours, backbone, input_size, paper), rows in lines.items()
    ]


@functools.cache
def source_keys() -> dict[str, str]:
    """{paper: key}: its first word and the year, a letter more where two papers share that."""
    keys: dict[str, str] = {}
    for row in _rows():
        if row["paper"] not in keys:
            word = re.sub(r"[^A-Za-z0-9+-]", "", row["paper"].split(" ")[0]) or "paper"
            key = base = f"{word}{row['year'][-2:]}"
            letters = iter("bcdefghijklmnopqrstuvwxyz")
            while key in keys.values():
                key = base + next(letters)
            keys[row["paper"]] = key
    return keys


@functools.cache
def _rows() -> list[dict[str, str]]:
    with FILE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def same_backbone(published_backbone: str, encoder_name: str) -> bool:
    """Whether "CLIP ViT-B/16" and "ViT-B-16" are the same encoder. An ImageNet backbone never is
    one of ours."""
    plain = published_backbone.replace("CLIP", "").replace("/", "-").strip()
    return plain.lower() == encoder_name.lower()
