"""Where a download keeps what it needs below the data folder. Apart from `fetch`, whose imports
take long: every plan asks what was interrupted."""

from pathlib import Path

from benchmark.data.download.sources import SOURCES, Source


def folder(root: Path) -> Path:
    return root / ".downloads"


def temporary(root: Path, source: Source) -> Path:
    """There as long as the archive is being unpacked."""
    return folder(root) / f"{source.file}.unpacking"


def record(root: Path, source: Source) -> Path:
    """Written last."""
    return folder(root) / f"{source.file}.json"


def interrupted(name: str, root: Path) -> list[str]:
    """Folders below `root` that say that an extraction for this data set was cut short."""
    folders = [temporary(root, source) for source in SOURCES.get(name, ())]
    return [f"{path.relative_to(root)} to be finished" for path in folders if path.exists()]
