"""Supervisors on the workers of a Dask cluster, also on workers that join while the sweep runs (a
SLURM queue, say)."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import joblib

POLL = 0.5  # seconds between two looks at who has joined


def require_scheduler(address: str) -> None:
    """Raises `ValueError` when there is no Dask, no address, or nobody answers there."""
    if not address:
        raise ValueError("the dask backend needs --address, e.g. --address tcp://host:8786")
    try:
        import distributed
    except ImportError:
        raise ValueError('the dask backend needs: pip install -e ".[cluster]"') from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        distributed.Client(address, timeout=5).close()
    # whatever the network or Dask says
    except Exception as error:
        raise ValueError(f"no dask scheduler answers at {address}: {error}") from None


def spread_over_dask(
    address: str, per_gpu: int, supervise: Callable[[str], None], folder: str
) -> None:
    """Runs `supervise(folder)` for every slot of every worker, through joblib; returns when all of
    them returned.

    Dask moves a task that needs a resource to no worker that joins later, so each worker's share is
    handed out when it joins. What a dying worker held, Dask starts again on another one. Raises
    what joblib or Dask raise when tasks are lost, e.g. because the scheduler went away.
    """
    import distributed  # of the extra [cluster]

    problems: list[Exception] = []

    def hand_out(client: Any, count: int, resources: dict[str, float]) -> None:
        try:
            with joblib.parallel_config(
                backend="dask", client=client, resources=resources, n_jobs=-1
            ):
                tasks = (joblib.delayed(supervise)(folder) for _ in range(count))
                joblib.Parallel(batch_size=1, pre_dispatch="all")(tasks)
        except Exception as problem:  # a thread cannot raise into the one that waits for it
            problems.append(problem)

    known: set[str] = set()
    threads: list[threading.Thread] = []
    with distributed.Client(address, timeout=10) as client:
        while not threads or any(thread.is_alive() for thread in threads):
            workers = client.sync(client.scheduler.identity)["workers"]
            for name in workers.keys() - known:
                known.add(name)
                gpus = workers[name]["resources"].get("GPU")
                # Without declared GPUs it goes by threads; leases keep a machine to its slots in
                # any case.
                count = workers[name]["nthreads"] if gpus is None else int(gpus * per_gpu)
                resources = {} if gpus is None else {"GPU": 1 / per_gpu}
                threads.append(
                    threading.Thread(target=hand_out, args=(client, count, resources), daemon=True)
                )
                threads[-1].start()
            time.sleep(POLL)
    if problems:
        raise problems[0]
