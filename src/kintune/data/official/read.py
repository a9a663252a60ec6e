"""`paper:NAME=FOLDER` -> a listing of the set as the paper uses it."""

import difflib
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from kintune.base.errors import DataError
from kintune.base.files import absolute
from kintune.data.listing import Listing, consistent, ordered, refuse_paths, repeated
from kintune.data.official.layout import missing_files
from kintune.data.official.sets import OFFICIAL, PREFIX, Counts, OfficialSet

DATA_ROOT = "KINTUNE_DATA"
"""The environment variable with the folder in which `paper:NAME` looks for NAME."""


def read_official(source: str) -> Listing:
    """An official set, `paper:NAME=FOLDER`, or `paper:NAME` for the folder `$KINTUNE_DATA/NAME`.

    Classes are sorted by name, as everywhere. Where the copy holds more or less than the whole set,
    a note says so.

    Raises:
        DataError: no such set or folder, a file is missing or damaged, or an image that the set's
            lists name is not there.
    """
    name, official, folder = _located(source)
    try:
        return _listing(name, official, folder)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}).") from None
    except DataError as error:
        raise DataError(f"{error}\n{_offer(name, official)}") from None


def absolute_official(source: str) -> str:
    """The same set by the absolute path of its folder, for another process or machine.

    Raises:
        DataError: no such set, or no folder is named.
    """
    name, _, folder = _located(source)
    return f"{PREFIX}{name}={folder}"


def _located(source: str) -> tuple[str, OfficialSet, Path]:
    """Name, set and absolute folder that a source such as `paper:cub200=/data/CUB` means."""
    name, _, folder = source.removeprefix(PREFIX).partition("=")
    if name not in OFFICIAL:
        near = " or ".join(PREFIX + each for each in difflib.get_close_matches(name, OFFICIAL))
        known = f"Did you mean {near}?" if near else f"Known: {', '.join(OFFICIAL)}."
        raise DataError(f"{source}: no set of the paper is called {name}. {known}")
    if folder:
        return name, OFFICIAL[name], absolute(folder)
    root = os.environ.get(DATA_ROOT)
    if not root:
        raise DataError(
            f"{source}: say where it is, {PREFIX}{name}=FOLDER, or set the environment variable "
            f"{DATA_ROOT} to the folder that holds {name}/.\n{_offer(name, OFFICIAL[name])}"
        )
    return name, OFFICIAL[name], absolute(root) / name


def _listing(name: str, official: OfficialSet, folder: Path) -> Listing:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder.")
    found = official.read(folder)
    count = len(found.entries)
    refuse_paths(
        folder,
        f"of the {count} that its lists name are not there; the copy is not complete",
        missing_files(found.entries),
    )
    refuse_paths(folder, "are listed more than once", repeated(each.path for each in found.entries))
    listing = Listing(
        name=name,
        source=f"{PREFIX}{name}={folder}",
        entries=ordered(found.entries),
        classes=tuple(sorted({each.label for each in found.entries if each.split == "train"})),
        notes=found.notes,
    )
    checked = consistent(listing)
    return replace(checked, notes=(*checked.notes, *_difference(listing, official)))


def _difference(listing: Listing, official: OfficialSet) -> tuple[str, ...]:
    """Where the copy is not the whole set, in words."""
    splits = Counter(entry.split for entry in listing.entries)
    here = Counts(classes=len(listing.classes), train=splits["train"], test=splits["test"])
    if here == official.counts:
        return ()
    return (f"not the whole set: {_in_words(here)}, of {_in_words(official.counts)}",)


def _in_words(counts: Counts) -> str:
    return f"{counts.classes:,} classes, {counts.train:,} training and {counts.test:,} test images"


def _offer(name: str, official: OfficialSet) -> str:
    """How to get the set without a network of Kintune's own."""
    return (
        f"{official.title} comes from {official.page}: {official.files}, extracted into one "
        f"folder, which {PREFIX}{name}=FOLDER names. Kintune downloads nothing."
    )
