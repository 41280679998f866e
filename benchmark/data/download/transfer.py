"""A downloader for pooch that continues where an interrupted download stopped (pooch itself starts
over)."""

import os
import time
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

TIMEOUT = (15, 60)  # seconds to connect, seconds without a byte
FAILURES = 3  # attempts in a row that bring nothing before we give up
CHUNK = 1 << 16  # bytes; what a cut connection may lose


class DownloadError(ValueError):
    """A download or an archive that cannot be used; the message is for the terminal and says what
    to do."""


class ResumableDownloader:
    """Collects the file in `part`, over as many connections as it takes, and hands it over when it
    is whole.

    `part` outlives the process: the next call asks the server for the bytes that are missing. The
    server's version tag is kept beside it, so that two versions of a file are never joined."""

    def __init__(self, part: Path, wait: float = 2.0) -> None:
        self.part, self.tag = part, part.with_name(part.name + ".tag")
        self.wait = wait  # seconds between attempts

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """pooch's interface: the bytes of `url` into `output_file`. Raises `DownloadError`."""
        failures = 0
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
            task = progress.add_task(self.part.name.removesuffix(".part"), total=None)
            while True:
                before = self._have()
                try:
                    self._continue(url, progress, task)
                    break
                except requests.HTTPError as error:
                    raise DownloadError(
                        f"{url} cannot be had: {error}. See `python run_all.py data`"
                    ) from error
                except requests.RequestException as error:  # connection refused, cut, timed out
                    failures = 0 if self._have() > before else failures + 1
                    if failures == FAILURES:
                        raise DownloadError(
                            f"{url}: the connection failed {FAILURES} times ({error}). "
                            f"{self._have():,} bytes are kept "
                            f"in {self.part}; the same command continues from there"
                        ) from error
                    time.sleep(self.wait)
                except OSError as error:  # disk full, folder not writable
                    raise DownloadError(
                        f"{self.part} cannot be written ({error}); make room and try again"
                    ) from error
        os.replace(self.part, output_file)
        self.tag.unlink(missing_ok=True)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _continue(self, url: str, progress: Progress, task: TaskID) -> None:
        """One connection. Returns when the file is whole, raises `requests.RequestException` when
        it was cut."""
        have = self._have()
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if self.tag.exists():
                headers["If-Range"] = self.tag.read_text()
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            content_range = response.headers.get("Content-Range", "")
            if response.status_code == 416 and content_range == f"bytes */{have}":
                return  # it was whole already
            if response.status_code == 416:
                self.part.unlink()
                raise requests.ConnectionError(
                    "the kept part does not fit the file of the server, starting again"
                )
            response.raise_for_status()
            if response.status_code != 206 or not content_range.startswith(f"bytes {have}-"):
                have = 0  # the server sends everything
            tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
            if tag and not tag.startswith("W/"):
                self.tag.write_text(tag)
            length = response.headers.get("Content-Length")
            total = have + int(length) if length else None
            progress.update(task, total=total, completed=have)
            with self.part.open("ab" if have else "wb") as file:
                for chunk in response.iter_content(CHUNK):
                    file.write(chunk)
                    progress.advance(task, len(chunk))
        if total is not None and self._have() != total:
            raise requests.ConnectionError(f"cut after {self._have():,} of {total:,} bytes")
