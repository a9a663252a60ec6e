"""Helpers of the readers of official sets: folders and lists found, and said where they are not."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kintune.base.errors import DataError
from kintune.data.listing import ImageEntry

Key = TypeVar("Key", str, int)
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Found:
    """Images that a reader finds below a set's folder."""

    entries: Sequence[ImageEntry]
    notes: tuple[str, ...] = ()


LayoutReader = Callable[[Path], Found]
"""Takes the folder that holds a set; raises DataError naming the file that is not as expected."""


def placed(root: Path, needed: Sequence[str], inner: Sequence[str] = ()) -> Path:
    """The folder with all that is needed: the root itself, or one that the archive makes in it.

    Args:
        root: as the user named it.
        needed: files and folders that must lie in it.
        inner: folders below the root that may hold them instead.

    Raises:
        DataError: none has them all; it names what the best of them lacks.
    """
    folders = [root, *(root / name for name in inner)]
    best = max(folders, key=lambda folder: sum((folder / name).exists() for name in needed))
    missing = [name for name in needed if not (best / name).exists()]
    if missing:
        all_needed = f" Needed: {', '.join(needed)}." if len(missing) < len(needed) else ""
        raise DataError(f"{best}: has no {', no '.join(missing)}.{all_needed}")
    return best


def read_lines(path: Path) -> list[str]:
    """Lines of a list that are not empty, without spaces around; names as the file system has them.

    Raises:
        DataError: the file is not there, or holds nothing.
    """
    try:
        text = os.fsdecode(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: is not there.") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path}: is empty.")
    return lines


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Lines of two fields, the first without spaces.

    Raises:
        DataError: the file is not there, or a line has one field.
    """
    pairs = [line.split(maxsplit=1) for line in read_lines(path)]
    short = next((pair for pair in pairs if len(pair) != 2), None)
    if short:
        raise DataError(f"{path}: has the line {short[0]!r}, where two fields are expected.")
    return [(first, second) for first, second in pairs]


def looked_up(known: Mapping[Key, Value], key: Key, path: Path) -> Value:
    """Look up the number that another file names in a list.

    Raises:
        DataError: it says nothing.
    """
    if key not in known:
        raise DataError(f"{path}: has nothing for {key!r}, which another list names.")
    return known[key]


def class_of(file: str, path: Path) -> str:
    """The class folder that a listed file lies in.

    Raises:
        DataError: it lies in none.
    """
    label, slash, _ = file.partition("/")
    if not slash or not label:
        raise DataError(f"{path}: has the line {file[:80]!r}, where CLASS/FILE is expected.")
    return label


def hash_order(names: Iterable[str], seed: int) -> list[str]:
    """The names in an order that only they and the seed decide, on every machine and version.

    >>> hash_order("abcd", seed=0)
    ['b', 'a', 'c', 'd']
    """
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())


def missing_files(entries: Iterable[ImageEntry]) -> list[str]:
    """Files that are not there; each folder is listed once, for a set may have millions."""
    folders: dict[str, set[str]] = {}
    missing = []
    for entry in entries:
        folder, _, name = entry.path.rpartition("/")
        if folder not in folders:
            is_there = Path(folder).is_dir()
            folders[folder] = {each.name for each in os.scandir(folder)} if is_there else set()
        if name not in folders[folder]:
            missing.append(entry.path)
    return missing
