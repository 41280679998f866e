"""What store, sweep, banks and downloads do to files: atomic writes and locks that die with their
holder."""

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent  # the folder that holds benchmark/, methods/, …


def lock(file: IO[bytes] | IO[str], wait: bool = False) -> bool:
    """Takes the exclusive `flock` of an open file; False when another holds it, unless it waits.

    The kernel frees it when the last process that holds the descriptor is gone. Raises `OSError`
    on file systems without locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def unlock(file: IO[bytes] | IO[str]) -> None:
    """Gives a lock back at once, also while children hold copies of the descriptor."""
    fcntl.flock(file, fcntl.LOCK_UN)


def share(folder: Path) -> None:
    """Makes the folder, and whatever this process and its children make from now on as open to
    others as the folder is: two users may work in one, whatever their umask.

    Raises `ValueError` when the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        state = folder.stat()
    except OSError as error:
        raise ValueError(
            f"{folder} cannot be made: {error.strerror}; choose another --out"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(
            f"{folder} belongs to another user and is closed: let its owner say `chmod -R g+ws "
            f"{folder}`, or choose another --out"
        )
    before = os.umask(0o077)
    os.umask(before & ~state.st_mode)


def read_file(path: Path, most: int = -1) -> bytes:
    """The bytes of a file, `most` of them. A received folder may hold anything under any name:
    what is no file (a pipe, a device that never ends) is an `OSError` and is not waited for."""
    # O_NONBLOCK: opening a pipe would wait for somebody who writes to it
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        return file.read(most)


def write_atomically(path: Path, data: bytes) -> None:
    """Readers see the old file or the new one, also after a power cut; a failed write leaves
    nothing behind."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the new name itself
    finally:
        os.close(descriptor)
