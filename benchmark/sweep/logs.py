"""Logs of runs: a limit to their size, and their end."""

import contextlib
import os
from pathlib import Path

LARGEST_LOG, KEPT_LOG = 32_000_000, 4_000_000  # bytes


def tail(path: Path, characters: int = 2000) -> str:
    """The end of a log, which may be of any size."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 4 * characters))
        return file.read(4 * characters).decode(errors="replace")[-characters:]
    return ""


def limit_log(path: Path) -> None:
    """Cuts a log that grew too large and keeps its end; whoever writes on appends to that."""
    with contextlib.suppress(OSError):
        size = path.stat().st_size
        if size > LARGEST_LOG:
            left_out = f"[{size - KEPT_LOG:,} bytes before this were left out]\n"
            with path.open("a+b") as file:  # appends, so that it overwrites nobody's line
                file.seek(size - KEPT_LOG)
                kept = file.read()  # to the end, which may have moved since
                file.truncate(0)
                file.write(left_out.encode() + kept)
