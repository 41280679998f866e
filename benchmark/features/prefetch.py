"""Batches on their way to a GPU: the next one is made and pinned while the present one is used."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from benchmark.task import upload

Item = TypeVar("Item")


def to_device(batches: Iterable[np.ndarray], device: torch.device) -> Iterator[Tensor]:
    """The batches as tensors on the device, in order. On the CPU they are made when they are asked
    for: there a thread would only compete."""
    if device.type == "cpu":
        yield from map(torch.from_numpy, batches)
        return
    pinned = (torch.from_numpy(batch).pin_memory() for batch in batches)
    for batch in one_ahead(pinned):
        yield upload(batch, device)


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; each is made in a thread while its predecessor is in use."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next, items, end)
        while (item := waiting.result()) is not end:
            waiting = thread.submit(next, items, end)
            yield item  # type: ignore[misc]  # the sentinel is no item
