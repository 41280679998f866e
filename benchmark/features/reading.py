"""Reads images of a data set as pixels, prefetched by loader processes where files are decoded."""

import os
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmark.clip.preprocessing import Transform
from benchmark.task import Dataset

MOST_DECODERS = 8
MAX_LISTED = 20  # broken images named in one message


PLAIN = -1  # instead of a seed: this image is not augmented


class _Reader(torch.utils.data.Dataset[tuple[np.ndarray | None, str]]):
    """Reads one image per (row, seed); a broken one becomes a message, so that the parent can list
    all of them."""

    def __init__(self, dataset: Dataset, transform: Transform, augment: str) -> None:
        self.open, self.names, self.transform, self.augment = (
            dataset.open,
            dataset.names,
            transform,
            augment,
        )

    def __getitem__(self, item: tuple[int, int]) -> tuple[np.ndarray | None, str]:
        row, seed = item
        try:
            # convert decodes; a lazy open alone would not notice a cut file
            image = self.open(row).convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            return None, f"{self.names[row]}: {error}"
        if seed == PLAIN:
            return self.transform(image), ""
        return self.transform(image, self.augment, np.random.default_rng(seed)), ""


def _collate(items: list[tuple[np.ndarray | None, str]]) -> tuple[Tensor | None, list[str]]:
    broken = [message for _, message in items if message]
    whole = [pixels for pixels, _ in items if pixels is not None]
    return (None if broken else torch.from_numpy(np.stack(whole))), broken


def loader_processes(dataset: Dataset, rows: np.ndarray) -> int:
    """How many processes shall decode: none for rendered images and small numbers, where starting
    them costs more; in a sweep no more than the cores of the slot, since the others decode too."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    cores = int(os.environ.get("LOWLABEL_DECODERS", cores))
    return min(cores, MOST_DECODERS) if len(rows) >= 256 and dataset.sizes[rows].any() else 0


def read(
    dataset: Dataset,
    batches: Iterable[np.ndarray],
    transform: Transform,
    augment: str = "",
    seeds: Iterable[np.ndarray] | None = None,
    workers: int = 0,
) -> Iterator[tuple[Tensor | None, list[str]]]:
    """For each batch of rows (b,): pixels (b, S, S, 3) uint8 and an empty list, or None and what is
    broken in it.

    `seeds` (b,) for each batch, one per image, or PLAIN, make an augmentation independent of the
    number of processes.
    """
    batches = [np.asarray(rows) for rows in batches]
    seeds = [np.full(len(rows), PLAIN) for rows in batches] if seeds is None else list(seeds)
    items = [
        list(zip(rows.tolist(), numbers.tolist(), strict=True))
        for rows, numbers in zip(batches, seeds, strict=True)
    ]
    yield from torch.utils.data.DataLoader(
        _Reader(dataset, transform, augment),
        batch_sampler=items,
        num_workers=workers,
        collate_fn=_collate,
        # its own, so that reading draws nothing from torch's global random state
        generator=torch.Generator(),
    )


def broken_images(messages: list[str]) -> ValueError:
    """One error that names the broken images, up to 20 of them."""
    more = "at least " if len(messages) >= MAX_LISTED else ""
    return ValueError(
        f"{more}{len(messages)} image(s) cannot be read; replace or restore these files and start "
        f"the same command "
        "again, features computed so far are kept:\n  " + "\n  ".join(messages[:MAX_LISTED])
    )
