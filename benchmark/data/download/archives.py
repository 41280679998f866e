"""Unpacking archives so that nothing can land outside the target and a half-unpacked folder never
looks complete."""

import os
import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from benchmark.data.download.transfer import DownloadError


def unpack(archive: Path, target: Path, temporary: Path) -> None:
    """Unpacks a tar or zip file into `temporary`, then moves everything below `target` (same file
    system).

    `temporary` exists from before the first file is written until after the last one is in place:
    as long as it is there, the extraction is incomplete. Raises `DownloadError` for a broken
    archive or a member that would land outside."""
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        if archive.suffix == ".zip":
            _unpack_zip(archive, temporary)
        else:
            _unpack_tar(archive, temporary)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        shutil.rmtree(temporary)
        raise DownloadError(
            f"{archive} cannot be unpacked ({error}); delete it and download it again"
        ) from error
    except OSError as error:
        shutil.rmtree(temporary)
        raise DownloadError(f"{archive} cannot be unpacked below {target} ({error})") from error
    except DownloadError:
        shutil.rmtree(temporary)
        raise
    _merge(temporary, target)
    shutil.rmtree(temporary)


def _unpack_zip(archive: Path, temporary: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for item in file.infolist():
            _require_inside(archive, item.filename)
        file.extractall(temporary)  # writes symbolic links as plain files


def _unpack_tar(archive: Path, temporary: Path) -> None:
    with tarfile.open(archive) as file:
        for item in file.getmembers():
            _require_inside(archive, item.name)
            if item.issym():
                _require_inside(
                    archive, item.name, str(PurePosixPath(item.name).parent / item.linkname)
                )
            elif item.islnk():
                _require_inside(archive, item.name, item.linkname)
            elif not (item.isfile() or item.isdir()):
                raise DownloadError(
                    f"{archive}: member {item.name!r} is a device; nothing was unpacked"
                )
        if hasattr(tarfile, "data_filter"):  # from Python 3.10.12 and 3.11.4
            file.extractall(temporary, filter="data")
        else:
            file.extractall(temporary)


def _require_inside(archive: Path, member: str, destination: str | None = None) -> None:
    """Refuses an absolute path, a drive, or a path that climbs above its folder at any point."""
    text = (destination or member).replace("\\", "/")
    depth = 0
    for part in text.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            break
    if text.startswith("/") or ":" in text.split("/")[0] or depth < 0:
        raise DownloadError(
            f"{archive}: member {member!r} would land outside the target folder; nothing was "
            f"unpacked. "
            "This is not the official archive"
        )


def _merge(source: Path, target: Path) -> None:
    """Moves the content of `source` into `target`, whole folders at once where nothing is in the
    way."""
    target.mkdir(parents=True, exist_ok=True)
    for item in sorted(source.iterdir()):
        place = target / item.name
        if item.is_dir() and not item.is_symlink() and place.is_dir():
            _merge(item, place)
        else:
            os.replace(item, place)
