"""`run_all.py data`: what is on disk, what is missing and where it comes from; downloads that
survive interruptions.

Below the data folder, `.downloads` holds archives while they are needed (`*.part` while they
arrive), `*.unpacking` folders while they are unpacked, and `*.json`, written last: what was put in
place, with its checksum.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pooch
from rich.console import Console

from benchmark.data.download import places
from benchmark.data.download.archives import unpack
from benchmark.data.download.sources import SOURCES, STEPS, Source
from benchmark.data.download.transfer import DownloadError, ResumableDownloader
from benchmark.files import lock

__all__ = ["DownloadError", "Status", "download", "readable", "status"]


@dataclass(frozen=True)
class Status:
    """The state of one file: complete, by hand (in place, but not put there by this command),
    partial, interrupted, missing; and what is known about its checksum."""

    source: Source
    state: str
    checksum: str


def status(name: str, root: Path) -> list[Status]:
    """One row per file of a data set."""
    return [_status(source, root) for source in SOURCES.get(name, ())]


def _status(source: Source, root: Path) -> Status:
    official = source.checksum or "no official checksum known"
    part = places.folder(root) / f"{source.file}.part"
    if places.temporary(root, source).exists():
        return Status(source, "unpacking was interrupted", official)
    if (root / source.provides).exists():
        record = places.record(root, source)
        if not record.exists():
            return Status(source, "there, put by hand", "not checked")
        verdict = "verified" if source.checksum else "recorded, none is official"
        return Status(source, "there", f"{json.loads(record.read_text())['checksum']} {verdict}")
    if part.exists():
        return Status(
            source, f"{100 * part.stat().st_size / source.size:.0f} % downloaded", official
        )
    return Status(source, "missing", official)


# ---- download ------------------------------------------------------------------------------------


def download(name: str, root: Path, base_url: str = "") -> None:
    """Fetches and unpacks what is missing of a data set below `root`; what is there is left alone.

    `base_url` replaces the folder part of every address (tests, mirrors). An interrupted call
    continues where it stopped. Raises `DownloadError` that names file, expected and found when a
    checksum is wrong."""
    console = Console(stderr=True)
    if not SOURCES[name]:
        print(STEPS[name].format(root=root))
        return
    places.folder(root).mkdir(parents=True, exist_ok=True)
    for row in status(name, root):
        if row.state.startswith("there"):
            continue
        with _alone(root, row.source):
            # another process may have just finished it
            if not _status(row.source, root).state.startswith("there"):
                _fetch(row.source, root, base_url)
        console.print(f"{row.source.file}: complete")


def _fetch(source: Source, root: Path, base_url: str) -> None:
    folder = places.folder(root)
    archive = folder / source.file
    part = folder / f"{source.file}.part"
    _require_space(source, root, part)
    address = f"{base_url.rstrip('/')}/{source.file}" if base_url else source.address
    try:
        pooch.retrieve(
            address,
            source.checksum or None,
            source.file,
            folder,
            downloader=ResumableDownloader(part),
        )
    except DownloadError:
        raise
    except ValueError as error:  # pooch: names the file, the expected and the found checksum
        raise DownloadError(
            f"{error} Address: {address}. Try again, or compare with the official page"
        ) from error
    checksum = source.checksum or f"sha256:{pooch.file_hash(str(archive), alg='sha256')}"
    if source.archive:
        unpack(archive, root / source.target, places.temporary(root, source))
    else:
        (root / source.target).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(archive, folder / f"{source.file}.copy")
        (folder / f"{source.file}.copy").replace(root / source.target / source.file)
    record = places.record(root, source)
    content = {"address": address, "bytes": archive.stat().st_size, "checksum": checksum}
    record.with_suffix(".tmp").write_text(json.dumps(content, indent=1) + "\n")
    record.with_suffix(".tmp").replace(record)
    archive.unlink()  # its content is in place; only its record stays


def _require_space(source: Source, root: Path, part: Path) -> None:
    archive = places.folder(root) / source.file
    there = (
        archive.stat().st_size if archive.exists() else part.stat().st_size if part.exists() else 0
    )
    needed = max(source.size - there, 0) + (source.size if source.archive else 0)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise DownloadError(
            f"{source.file} needs {readable(needed)} more under {root} (archive and its content), "
            f"{readable(free)} are "
            "free; make room or choose another folder with --data"
        )


@contextmanager
def _alone(root: Path, source: Source) -> Iterator[None]:
    """Holds the file's lock. Raises `DownloadError` when another process downloads the same
    file."""
    with (places.folder(root) / f"{source.file}.lock").open("w") as file:
        if not lock(file):
            raise DownloadError(f"another process downloads {source.file} into {root}; wait for it")
        yield


def readable(size: float) -> str:
    """1234567 -> "1.2 MB"."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
