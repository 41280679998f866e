"""A supervisor: leases a slot, drives a child process through the runs, sees to it that every run
ends in a record.

It imports no torch and does no work of its own, so nothing that a run does can take it down. There
is no queue: each supervisor walks the same list of jobs and claims what is neither finished nor
claimed. That holds across processes, machines and invocations, and what a dead one leaves behind is
picked up by the next that walks past.
"""

import os
import signal
import socket
import threading
import time
from pathlib import Path

from benchmark.files import share
from benchmark.sweep.leases import holders, lease
from benchmark.sweep.manifest import Sweep
from benchmark.sweep.serve import bank_mark, serve
from benchmark.sweep.slots import machine_slots
from benchmark.sweep.worker import TICK

SILENCE = 2.0  # seconds without a lease or a run to claim before the user hears why


def supervise(folder: str) -> None:
    """Works on the sweep in this folder until all of its runs are finished or it is stopped."""
    try:
        sweep = Sweep.load(Path(folder))
    except FileNotFoundError:
        if not Path(folder).parent.is_dir():
            raise FileNotFoundError(
                f"{socket.gethostname()} sees no {folder}: --out must be shared by all workers"
            ) from None
        return  # stopped before we began
    # joblib runs a single task in the main process
    if sweep.backend == "loky" and os.getpid() != sweep.main:
        # Ctrl-C reaches the whole terminal; the main process decides
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with_main, args=(sweep.main,), daemon=True).start()
    share(sweep.out)
    candidates = machine_slots(sweep.slots, sweep.per_gpu)
    todo = sweep.jobs
    # never a second time by us, even if no record could be written (disk full)
    tried: set[str] = set()
    worked = time.monotonic()
    while candidates and not sweep.stopped():
        todo = [job for job in todo if job.id not in tried and not sweep.finished(job.id)]
        if not todo:
            return
        before = len(tried)
        with lease(candidates) as leased:
            if leased is None:
                others = holders(candidates, sweep.main)
                reason = f"waiting for a slot: taken by {others}" if others else ""
            else:
                reason = "waiting for runs that another sweep computes"
                if not serve(sweep, todo, tried, *leased, slots=len(candidates)):
                    broken = leased[0].visible
                    candidates = [slot for slot in candidates if slot.visible != broken]
        # no free slot, or others hold all that is left: they may die, so look again
        if len(tried) > before:
            worked = time.monotonic()
        else:
            if time.monotonic() - worked > SILENCE and reason:
                left = [
                    job.id
                    for job in todo
                    if job.id not in tried and (not job.bank or bank_mark(sweep, job).exists())
                ]
                sweep.tell(slot="", status="waiting", message=reason, left=left[:100])
                worked = time.monotonic() + 60  # and again after a minute
            time.sleep(3 * TICK)


def _end_with_main(main: int) -> None:
    while os.getppid() == main:
        time.sleep(TICK)
    os._exit(1)  # closes the socket to the child, whose guard then ends its group
