"""Supervisors on the workers of a Dask cluster, also on workers that join while the sweep runs (a
SLURM queue, say)."""

import contextlib
import importlib.util
import logging
import re
import socket
import time
from collections.abc import Callable
from typing import Any  # a Dask client: `distributed` has no types

from benchmark.spec import JsonObject

POLL = 0.5  # seconds between two looks at who has joined
CONNECT = 6  # seconds that a scheduler has to answer
ADDRESS = re.compile(r"(?:(?:tcp|tls|ucx|ws|wss)://)?(\[[^]]+\]|[^:/\s]+):(\d+)/?")


class NoScheduler(ValueError):
    """No Dask scheduler answers at the address."""


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of "tcp://head:8786". Raises `ValueError` for what is no address."""
    match = ADDRESS.fullmatch(address.strip())
    if match is None:
        raise ValueError(
            f"{address!r} is no address of a Dask scheduler: write --address tcp://HOST:8786, as "
            f"`dask scheduler` prints it"
        )
    return match[1].strip("[]"), int(match[2])


def require_scheduler(address: str) -> None:
    """Raises `ValueError` when there is no Dask, no address, or (`NoScheduler`) nobody answers
    there within seconds: Dask's own client goes on trying and cannot be stopped meanwhile."""
    if not address:
        raise ValueError("the dask backend needs --address, e.g. --address tcp://host:8786")
    if importlib.util.find_spec("distributed") is None:
        raise ValueError('the dask backend needs: pip install -e ".[cluster]"')
    try:
        socket.create_connection(parse_address(address), timeout=CONNECT).close()
    except (OSError, OverflowError) as error:
        raise NoScheduler(
            f"no dask scheduler answers at {address} ({error}): start it with `dask scheduler`, "
            f"then the same command continues"
        ) from error


def _hush() -> None:
    """What Dask and its event loop log when a scheduler goes away, we say in a sentence. After
    Dask's import, which gives each of its loggers a level."""
    for name in ("asyncio", "tornado", *logging.root.manager.loggerDict):
        if name.split(".")[0] in ("asyncio", "tornado", "distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _workers(client: Any, address: str) -> JsonObject:
    try:
        told: JsonObject = client.sync(client.scheduler.identity, callback_timeout=CONNECT)
        return dict(told["workers"])
    except Exception:
        require_scheduler(address)  # the better sentence, where it is gone
        raise


def spread_over_dask(
    address: str, per_gpu: int, supervise: Callable[[str], None], folder: str
) -> None:
    """Runs `supervise(folder)` for every slot of every worker; returns when all of them returned.

    Dask moves a task that needs a resource to no worker that joins later, so each worker's share is
    handed out when it joins. What a dying worker held, Dask starts again on another one. The tasks
    are Dask's own: joblib would compute the share of a lone worker with one thread in this process.
    Raises what a supervisor raised, or Dask when tasks are lost, e.g. because the scheduler went
    away.
    """
    import distributed  # of the extra [cluster]

    known: set[str] = set()
    tasks: list[Any] = []
    require_scheduler(address)
    _hush()
    client = distributed.Client(address, timeout=CONNECT)
    try:
        while not tasks or not all(task.done() for task in tasks):
            workers = _workers(client, address)
            for name in workers.keys() - known:
                known.add(name)
                gpus = workers[name]["resources"].get("GPU")
                # Without declared GPUs it goes by threads; leases keep a machine to its slots in
                # any case.
                count = workers[name]["nthreads"] if gpus is None else int(gpus * per_gpu)
                resources = {} if gpus is None else {"GPU": 1 / per_gpu}
                tasks += [
                    client.submit(supervise, folder, pure=False, resources=resources)
                    for _ in range(count)
                ]
            time.sleep(POLL)
        if any(task.cancelled() for task in tasks):
            require_scheduler(address)  # as above
        for task in tasks:
            task.result()
    finally:
        with contextlib.suppress(Exception):  # a scheduler that is gone does not say goodbye
            client.close(timeout=2)
