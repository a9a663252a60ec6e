"""The cache on disk: folders that are whole or not there, and noticed when damaged.

    <root>/<kind>/<name>/...             what an entry holds
                         checksums.json  SHA-256 of each file, where none is in a subfolder
                         .kintune-cache  the mark of entries that were made here

An entry is built in a temporary neighbor and takes its name whole; of two processes that build it
at once the first wins. Those who build or open an entry share the cache's lock; who clears the
cache (`kintune.data.inventory`) holds it alone.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from kintune.base.errors import DataError
from kintune.base.progress import announce

T = TypeVar("T")

MARK = ".kintune-cache"
"""A file in every folder that was built here: only such folders are ever cleared."""
LOCK = ".lock"
BUILDING = ".building-"
"""Begins the name of an entry that is not whole yet, or that is being removed."""
CHECKSUMS = "checksums.json"

_REPLACING = ".replacing"
_ABANDONED_SECONDS = 3600.0

FileId = tuple[int, int, int]


class DamagedEntry(Exception):
    """An entry that is not what was written; its text says which file and why."""


def cache_root() -> Path:
    """`$KINTUNE_CACHE`, else `~/.cache/kintune`; it need not exist.

    Raises:
        DataError: the home directory is not known.
    """
    root = Path(os.environ.get("KINTUNE_CACHE") or "~/.cache/kintune")
    try:
        return root.expanduser().absolute()
    except RuntimeError:
        raise DataError(
            f"{root}: the cache has no place, for there is no home directory here (HOME is not "
            "set). Set the environment variable KINTUNE_CACHE to a folder that can be written."
        ) from None


@contextmanager
def cache_in_use() -> Iterator[None]:
    """Keep the cache from being cleared meanwhile; waits while it is being cleared.

    Any number of processes and threads may hold this at once. The operating system frees it when
    the process dies.
    """
    root = cache_root()
    lock = -1
    with suppress(OSError):  # what cannot be written cannot be cleared either
        root.mkdir(parents=True, exist_ok=True)
        lock = open_lock(root / LOCK)
    try:
        if lock >= 0:
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield
    finally:
        if lock >= 0:
            os.close(lock)


def open_lock(path: Path) -> int:
    """The descriptor of a lock file, made where it is missing; a link is not followed.

    Raises:
        OSError: it cannot be opened.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


@contextmanager
def building(entry: Path) -> Iterator[Path]:
    """A temporary folder that becomes `entry` in one step when the block ends without an error.

    By then all of it is on disk, with checksums. Files that the block has mapped stay as they are
    where another process built the same entry first.

    Raises:
        DataError: it cannot be written.
    """
    folder = None
    try:
        with cache_in_use():
            entry.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(entry.parent)
            folder = _temporary(entry.parent)
            folder.mkdir()  # not mkdtemp, whose folders are closed to everyone else
            (folder / MARK).touch()
            yield folder
            _finish(folder)
            _take_name(folder, entry)
    except OSError as error:
        raise DataError(
            f"{entry.parent}: the cache cannot be written ({error.strerror or error}). Make room "
            "there, or set the environment variable KINTUNE_CACHE to a folder that can be written."
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def read_entry(entry: Path, read: Callable[[Path], T], complain: Callable[[str], None]) -> T | None:
    """Result of `read` for an entry; None where there is none, or a damaged one, which is removed.

    Args:
        entry: its folder.
        read: raises `DamagedEntry`, `OSError` or `ValueError` where it cannot use the entry.
        complain: is told of damage, in words that name the entry.
    """
    try:
        found = _file_id(entry)
    except OSError:
        return None
    try:
        return read(entry)
    except (DamagedEntry, OSError, ValueError) as damage:
        complain(f"{entry}: damaged ({damage})")
        _remove(entry, found)
        return None


def unpacked(name: str, fill: Callable[[Path], None]) -> Path:
    """A folder of images, `<cache root>/datasets/<name>`, that `fill` writes where it is missing or
    files of it are.

    Raises:
        DataError: it cannot be written.
    """
    entry = cache_root() / "datasets" / name
    if read_entry(entry, _complete, _say_damage) is None:
        with building(entry) as folder:
            fill(folder)
    return entry


def remove_damaged_unpacked(path: str) -> bool:
    """Remove the unpacked images that a file belongs to where one of them has changed.

    Returns:
        Whether they were removed.
    """
    root = cache_root() / "datasets"
    if not Path(path).is_relative_to(root):
        return False
    entry = root / Path(path).relative_to(root).parts[0]

    def read(folder: Path) -> bool:
        verify(folder)
        return True

    return read_entry(entry, read, _say_damage) is None


def _complete(entry: Path) -> Path:
    names = _checksums(entry)
    missing = [name for name in names if not (entry / name).is_file()]
    if missing:
        raise DamagedEntry(f"{len(missing)} files are missing, the first is {missing[0]}")
    verify(entry, but=frozenset(name for name in names if "/" in name))
    return entry


def _say_damage(damage: str) -> None:
    announce(f"- {damage}: the images are unpacked again.")


def remove_entry(entry: Path) -> None:
    """Remove an entry that is no longer wanted, if it is there."""
    with suppress(OSError):
        _remove(entry, _file_id(entry))


def verify(entry: Path, *, but: frozenset[str] = frozenset()) -> None:
    """Compare the files of an entry with the checksums that were written with it.

    Args:
        entry: its folder.
        but: names of files whose content is trusted.

    Raises:
        DamagedEntry: a file is missing or is not what was written.
        OSError: a file cannot be read.
    """
    for name, expected in _checksums(entry).items():
        if name not in but and sha256_of(entry / name) != expected:
            raise DamagedEntry(f"{name} is not what was written")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _checksums(entry: Path) -> dict[str, str]:
    try:
        checksums: Any = json.loads((entry / CHECKSUMS).read_bytes())
    except ValueError:
        raise DamagedEntry(f"{CHECKSUMS} cannot be read") from None
    if not isinstance(checksums, dict) or not checksums:
        raise DamagedEntry(f"{CHECKSUMS} holds no checksums")
    return checksums


def _finish(folder: Path) -> None:
    """Write checksums, and all to disk: a power cut must not leave a named entry half written."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != MARK]
    sums = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1))
    if any(path.parent != folder for path in files):
        os.sync()  # an unpacked data set: waiting for each file is slow
        return
    for path in (*files, folder / CHECKSUMS, folder):
        _to_disk(path)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_name(folder: Path, entry: Path) -> None:
    try:
        folder.rename(entry)
    except OSError:
        if not entry.exists():  # else another process built the same entry first
            raise
    else:
        _to_disk(entry.parent)


def _remove(entry: Path, found: FileId) -> None:
    """Remove an entry, unless another process has replaced it since it was found."""
    try:
        lock = open_lock(cache_root() / _REPLACING)
    except OSError:
        return  # a cache that can only be read
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _file_id(entry) == found:
            away = _temporary(entry.parent)
            entry.rename(away)
            shutil.rmtree(away, ignore_errors=True)
    except OSError:
        pass  # another process has removed it; what cannot be removed is told on building
    finally:
        os.close(lock)


def _file_id(path: Path) -> FileId:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_mtime_ns  # numbers of inodes are used again


def _temporary(parent: Path) -> Path:
    return parent / f"{BUILDING}{secrets.token_hex(8)}"


def _remove_abandoned(parent: Path) -> None:
    """Delete what killed processes left behind."""
    for folder in parent.glob(f"{BUILDING}*"):
        with suppress(OSError):
            newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if time.time() - newest > _ABANDONED_SECONDS:
                shutil.rmtree(folder)
