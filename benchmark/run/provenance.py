"""Where a number came from: commit, versions, host, command, time."""

import functools
import importlib.metadata
import platform
import socket
import subprocess
import sys
from datetime import datetime, timezone

from benchmark.files import ROOT
from benchmark.store import Provenance

PACKAGES = ("torch", "open_clip_torch", "numpy", "scipy", "scikit-learn", "pandas", "pillow")


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@functools.cache
def _git() -> tuple[str, bool]:
    """Commit of the checkout and whether it had uncommitted changes; empty outside a checkout or
    without git."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        status = subprocess.run(
            ["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "", False
    return commit.stdout.strip(), bool(status.stdout.strip())


@functools.cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def of_this_process() -> Provenance:
    """Everything that is known before a run starts."""
    commit, dirty = _git()
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
        },
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "argv": sys.argv,
    }
