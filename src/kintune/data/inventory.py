"""Contents of the cache on disk, and how it is cleared.

Everything in it can be made again: decoded images, features, and the files that were unpacked from
parquet or from the digits.
"""

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from pydantic import ValidationError

from kintune.base.errors import OptionError
from kintune.base.records import Record
from kintune.data.cache import CacheManifest
from kintune.data.entries import BUILDING, LOCK, MARK, cache_root, open_lock

CacheKind = Literal["images", "features", "datasets"]

_FEATURES_FILE = re.compile(r"[0-9a-f]{32}\.safetensors")


class CacheEntry(Record):
    """One thing that the cache holds."""

    kind: CacheKind
    path: str
    bytes: int
    about: str
    """Its origin, where that is known."""


class CacheContents(Record):
    """Answer of `kintune cache`."""

    root: str
    entries: tuple[CacheEntry, ...]
    """Entries that are there, or that were removed."""
    bytes: int
    """Size of all entries."""
    cleared: bool
    others: tuple[str, ...]
    """Paths there that Kintune did not make; they are left alone."""


def cache_contents() -> CacheContents:
    """Contents of `cache_root()`; an entry that is being built does not count."""
    entries, others = _found(cache_root())
    return _contents(entries, others, cleared=False)


def clear_cache() -> CacheContents:
    """Remove every entry, and what killed processes left behind.

    A process that has mapped an entry keeps it until it ends; the disk space is free from then on.

    Raises:
        OptionError: a process is building or opening an entry at this moment, or a file cannot be
            removed.
    """
    root = cache_root()
    if not root.is_dir():
        return _contents([], [], cleared=True)
    try:
        with os.fdopen(open_lock(root / LOCK)) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            entries, others = _found(root)
            for path in [Path(entry.path) for entry in entries] + list(_unfinished(root)):
                _remove(path)
    except BlockingIOError:
        raise OptionError(
            f"{root}: another process is using the cache now. Clear it when that is done."
        ) from None
    except OSError as error:
        raise OptionError(
            f"{error.filename or root}: cannot be removed ({error.strerror})."
        ) from None
    return _contents(entries, others, cleared=True)


def _found(root: Path) -> tuple[list[CacheEntry], list[str]]:
    """The entries, and the paths that are not ours."""
    entries: list[CacheEntry] = []
    others: list[str] = []
    for path in _visible(root):
        kinds = [kind for kind in get_args(CacheKind) if kind == path.name]
        if not kinds or path.is_symlink() or not path.is_dir():
            others.append(str(path))
            continue
        for each in _visible(path):
            if _is_ours(each):
                entries.append(_entry(kinds[0], each))
            else:
                others.append(str(each))
    return entries, others


def _visible(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))


def _is_ours(path: Path) -> bool:
    if path.is_symlink():
        return False
    if path.is_dir():
        return (path / MARK).is_file()
    return path.parent.name == "features" and _FEATURES_FILE.fullmatch(path.name) is not None


def _entry(kind: CacheKind, path: Path) -> CacheEntry:
    files = path.rglob("*") if path.is_dir() else [path]
    size = sum(file.lstat().st_size for file in files if not file.is_dir())
    return CacheEntry(kind=kind, path=str(path), bytes=size, about=_about(path))


def _about(path: Path) -> str:
    try:
        made = CacheManifest.model_validate_json((path / "manifest.json").read_bytes())
    except (OSError, ValidationError):
        return ""
    return f"{made.files} images of {made.shorter_side} px, the first is {made.first_file}"


def _unfinished(root: Path) -> Iterator[Path]:
    """Entries that nobody builds any more, for the lock is held alone."""
    for kind in get_args(CacheKind):
        yield from (path for path in (root / kind).glob(f"{BUILDING}*") if (path / MARK).is_file())


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def _contents(entries: list[CacheEntry], others: list[str], *, cleared: bool) -> CacheContents:
    return CacheContents(
        root=str(cache_root()),
        entries=tuple(entries),
        bytes=sum(entry.bytes for entry in entries),
        cleared=cleared,
        others=tuple(others),
    )
