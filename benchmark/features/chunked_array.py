"""A large array on disk that is filled chunk by chunk: verified, resumable after a kill, safe
between processes.

The folder holds `features.npy` (sparse where nothing was computed), `marks.json` (a checksum for
each complete chunk), `verified.json` (which of them were found right, and when) and `lock`. A chunk
is marked after its bytes are on the disk, so a kill at any moment loses at most the chunk in work.

Bytes are written with `pwrite` and read with `pread`, never through a memory map: a full disk is an
error and not a killed process, and what is read ahead counts as no memory of the process.
"""

import contextlib
import errno
import io
import json
import os
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmark.files import lock, unlock, write_atomically

CHUNK = 128  # rows under one mark
# seconds for which all processes of a machine trust one check of a file that did not change since
TRUST = 24 * 3600.0

# file -> chunk -> checksum that this process has found in the file
_verified: dict[Path, dict[int, int]] = {}


class ChunkedArray:
    """`shape` (N, …) of `dtype` in `folder`; `label` names the contents in messages."""

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype, label: str) -> None:
        self.folder, self.shape, self.dtype, self.label = folder, shape, np.dtype(dtype), label
        self.path = folder / "features.npy"

    @property
    def nbytes(self) -> int:
        """Size when every chunk is computed."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def rows(self, chunk: int) -> np.ndarray:
        """The rows (≤ 128,) of a chunk."""
        return np.arange(chunk * CHUNK, min((chunk + 1) * CHUNK, self.shape[0]))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows), …): the values of these rows, in this order, repeats allowed.

        One read a row, in the order of the file. Rows of chunks that are missing hold no values.
        """
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if not values.size:
            return values
        item = values[0].nbytes
        with self.path.open("rb", buffering=0) as file:
            for i in np.argsort(rows, kind="stable"):
                unread = values[i : i + 1].data.cast("B")
                offset = len(self._header) + int(rows[i]) * item
                while unread:
                    count = os.preadv(file.fileno(), [unread], offset)
                    if not count:
                        raise OSError(errno.EIO, "the file ends too early", str(self.path))
                    unread, offset = unread[count:], offset + count
        return values

    def missing(self, chunks: list[int]) -> list[int]:
        """Those of `chunks` without a mark, or whose bytes are not those that were marked.

        Bytes are compared once a process, and once a day for all processes while the file does not
        change: a sweep does not read a bank of 25 GB again for every child.
        """
        marks = self._marks()
        if not marks or not self.path.is_file():
            return chunks
        if self.path.stat().st_size != len(self._header) + self.nbytes:
            _verified.pop(self.path, None)  # it was cut
        verified = _verified.setdefault(self.path, {})
        unchecked = [chunk for chunk in chunks if verified.get(chunk, -1) != marks.get(chunk, -1)]
        if unchecked:
            stamp = self._stamp()
            verified.update(self._verified_by_others(stamp))
            unchecked = [chunk for chunk in unchecked if verified.get(chunk) != marks.get(chunk)]
            unchecked = [chunk for chunk in unchecked if chunk in marks]
            with self.path.open("rb", buffering=0) as file:
                for chunk in unchecked:
                    offset, length = self._span(chunk)
                    verified[chunk] = zlib.crc32(os.pread(file.fileno(), length, offset))
            if unchecked:
                self._tell_others(verified, stamp)
        return [
            chunk for chunk in chunks if chunk not in marks or verified.get(chunk) != marks[chunk]
        ]

    def _tell_others(self, verified: dict[int, int], stamp: list[int]) -> None:
        note = {"file": stamp, "time": time.time(), "checksums": verified}
        with contextlib.suppress(OSError):  # a read-only bank is verified by every process
            write_atomically(self.folder / "verified.json", json.dumps(note).encode())

    def _stamp(self) -> list[int]:
        """Changes whenever the file does: size, inode and both of its times."""
        state = self.path.stat()
        return [state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns]

    def _verified_by_others(self, stamp: list[int]) -> dict[int, int]:
        """Chunk -> checksum that some process has found in the file as it is, not long ago."""
        try:
            note = json.loads((self.folder / "verified.json").read_text())
            if note["file"] != stamp or not 0 <= time.time() - note["time"] < TRUST:
                return {}
            return {int(chunk): checksum for chunk, checksum in note["checksums"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time fills the array; the kernel frees the lock when its holder is
        gone."""
        with self._explained():
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = (self.folder / "lock").open("a")
        with handle:
            if not lock(handle):
                said = f"another process computes the {self.label}: waiting for it"
                print(said, file=sys.stderr, flush=True)
                lock(handle, wait=True)
            try:
                yield
            # said aloud: loader processes hold copies of the handle and may outlive this block a
            # little
            finally:
                unlock(handle)

    def unreserved(self, chunks: list[int]) -> int:
        """Bytes that these chunks, which are missing, would still take on the disk."""
        wanted = sum(self._span(chunk)[1] for chunk in chunks)
        taken = self.path.stat().st_blocks * 512 if self.path.exists() else 0
        reserved = taken - sum(self._span(chunk)[1] for chunk in self._marks())
        return max(0, wanted - max(0, reserved))

    def require_room(self, wanted: int) -> None:
        """Raises `ValueError` when so many bytes are not free."""
        with self._explained(wanted):
            if wanted > shutil.disk_usage(_existing(self.folder)).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextlib.contextmanager
    def writer(self, chunks: list[int]) -> Iterator[Callable[[int, np.ndarray], None]]:
        """A function that stores and marks a chunk's values; call it under the lock.

        The space of all `chunks` is reserved first, so that a full disk shows before the work, not
        during it.
        """
        wanted = sum(self._span(chunk)[1] for chunk in chunks)
        marks = self._marks()
        for leftover in self.folder.glob(
            ".*.tmp"
        ):  # of a process that was killed; we hold the lock
            leftover.unlink(missing_ok=True)
        with self._explained(wanted):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            with self._explained(wanted):
                self.require_room(self.unreserved(chunks))
                if marks and os.fstat(handle).st_size != len(self._header) + self.nbytes:
                    print(
                        f"{self.path} was cut: what is lost is computed again",
                        file=sys.stderr,
                        flush=True,
                    )
                os.pwrite(handle, self._header, 0)
                os.ftruncate(handle, len(self._header) + self.nbytes)
                for chunk in chunks:
                    os.posix_fallocate(handle, *self._span(chunk))

            def store(chunk: int, values: np.ndarray) -> None:
                with self._explained(wanted):
                    marks[chunk] = self._store(handle, chunk, values)
                    write_atomically(self.folder / "marks.json", json.dumps(marks).encode())
                _verified.setdefault(self.path, {})[chunk] = marks[chunk]

            yield store
        finally:
            os.close(handle)
        self._tell_others(_verified.setdefault(self.path, {}), self._stamp())

    @cached_property
    def _header(self) -> bytes:
        buffer = io.BytesIO()
        form = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": self.shape,
        }
        np.lib.format.write_array_header_1_0(buffer, form)
        return buffer.getvalue()

    def _span(self, chunk: int) -> tuple[int, int]:
        """Offset and length in bytes."""
        item = self.nbytes // max(1, self.shape[0])
        return len(self._header) + chunk * CHUNK * item, len(self.rows(chunk)) * item

    def _marks(self) -> dict[int, int]:
        """Chunk -> checksum. A lost or damaged file means that nothing is known to be complete."""
        try:
            return {
                int(chunk): value
                for chunk, value in json.loads((self.folder / "marks.json").read_text()).items()
            }
        # of any damage: bytes that are no text, text that is no JSON, JSON that is no table
        except (FileNotFoundError, NotADirectoryError, ValueError, AttributeError, RecursionError):
            return {}

    def _store(self, handle: int, chunk: int, values: np.ndarray) -> int:
        data = np.ascontiguousarray(values, self.dtype).data.cast("B")
        offset, length = self._span(chunk)
        assert len(data) == length, "values of another shape"
        written = 0
        while written < length:
            written += os.pwrite(handle, data[written:], offset + written)
        os.fsync(handle)
        return zlib.crc32(data)

    @contextlib.contextmanager
    def _explained(self, wanted: int = 0) -> Iterator[None]:
        """Turns the file system's refusals into a sentence for the user."""
        try:
            yield
        except OSError as error:
            root = self.folder.parent
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise ValueError(
                    f"cannot write features below {root}: {error.strerror}; choose another folder "
                    f"with --out"
                ) from error
            free = shutil.disk_usage(_existing(self.folder)).free
            raise ValueError(
                f"the {self.label} need {size(wanted)}, {size(free)} "
                f"free at {root}; "
                "make room there or choose a folder on another disk with --out"
            ) from error


def _existing(folder: Path) -> Path:
    """The nearest folder above that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def size(number: float) -> str:
    """Bytes for people."""
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"
