"""Where the data sets come from, what is on disk, and safe, resumable downloads."""

from pathlib import Path


def interrupted(name: str, root: Path) -> list[str]:
    """Folders that say that an extraction for this data set was cut short."""
    return []
