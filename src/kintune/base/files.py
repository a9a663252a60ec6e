"""Files that a reader sees whole or not at all, and locks that die with their process."""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kintune.base.errors import OptionError

TEMPORARY = ".kintune-"
"""How the names of half-written files begin."""


def absolute(path: str | Path) -> Path:
    """An absolute path; `~` and `~user` stay as they are where there is no such home directory."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        return Path(path).absolute()


def read_regular(path: Path) -> bytes:
    """The content of a regular file: reading a FIFO or a device might never end.

    Raises:
        OSError: it cannot be read, or is of another kind.
    """
    # Without O_NONBLOCK, opening a FIFO waits for a writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary neighbor, flush it to disk, then take the name. A link of this name is
    replaced, never followed; permissions are those that the umask leaves.

    Raises:
        OptionError: it cannot be written; what was there before is kept.
    """
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
            _flush_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OptionError(
            f"{path}: cannot be written ({error.strerror}). What was there before is kept. Make "
            "room or choose another folder."
        ) from error


def _flush_folder(folder: Path) -> None:
    """Bring a rename in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_temporary(path: Path) -> bool:
    """Whether a file is one that `write_atomically` had not finished."""
    return path.name.startswith(TEMPORARY) and path.suffix == ".tmp"


def remove_temporaries(folder: Path) -> None:
    """Delete what a killed process had not finished writing. Hold the folder's lock."""
    for leftover in folder.glob(f"{TEMPORARY}*.tmp"):
        leftover.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, wait: bool = True, shared: bool = False) -> Iterator[int | None]:
    """Hold a lock file, made where it is missing. The operating system frees it when the process
    dies. A symbolic link in its place is refused, for what it points to is not ours.

    `filelock` does not serve: it empties the file of the one who holds the lock, which says who
    that is, and it has no shared locks.

    Yields:
        The open file; None where another process holds it and `wait` is False.

    Raises:
        OSError: the file cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield handle
    finally:
        os.close(handle)
