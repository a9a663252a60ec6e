"""The record that every reader returns, and what must hold for each."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from kintune.base.errors import DataError
from kintune.base.progress import printable
from kintune.data.images import SPLITS, Split

UNLABELLED = "unlabelled"
"""The one class of images that lie in no class folder."""

MAX_SHOWN = 10
"""Entries of a list that is only an example of what is wrong."""

# What cannot stand in one line of UTF-8: line breaks, tabs, and the surrogates that Python puts
# for the bytes of a file name that is not UTF-8.
_NOT_ONE_LINE = re.compile("[\0\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029\ud800-\udfff]")


class ImageEntry(NamedTuple):
    """One image that a source names."""

    path: str
    """Absolute."""
    label: str
    split: Split


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Images that a source names, before any image is opened."""

    name: str
    source: str
    entries: tuple[ImageEntry, ...]
    """In the order train, val, test; classes and files sorted within."""
    classes: tuple[str, ...]
    """Classes of the training split, sorted; one may have no image."""
    is_labeled: bool = True
    """False for a flat folder of images, which all belong to the class `UNLABELLED`."""
    notes: tuple[str, ...] = ()


DatasetReader = Callable[[str], Listing]
"""Takes the source as the user named it; raises DataError where it does not fit together.

`kintune.testing.ReaderSuite` tests one."""


def ordered(entries: Iterable[ImageEntry]) -> tuple[ImageEntry, ...]:
    """By split (train, val, test), class and file, as a listing has them."""
    order = {split: position for position, split in enumerate(SPLITS)}
    return tuple(sorted(entries, key=lambda entry: (order[entry.split], entry.label, entry.path)))


def consistent(listing: Listing) -> Listing:
    """The listing, if it has training images and its names fit together; with notes on classes
    that a split lacks and on names that differ only in case.

    Raises:
        DataError: no training images, classes that only val or test has, or names that
            `refuse_names` refuses.
    """
    refuse_names(listing)
    if not any(entry.split == "train" for entry in listing.entries):
        raise DataError(f"{listing.source}: no training images: all belong to val or test.")
    _refuse_unknown_classes(listing)
    return replace(
        listing, notes=(*listing.notes, *_similar_names(listing), *_absent_classes(listing))
    )


def refuse_names(listing: Listing) -> None:
    """Names must be UTF-8 on one line, and no two classes may be canonically equivalent in Unicode.

    Results, model files and reports hold the names as text.

    Raises:
        DataError: lists the names.
    """
    labels = sorted({*listing.classes, *(entry.label for entry in listing.entries)})
    names = [*labels, *(entry.path for entry in listing.entries)]
    bad = [printable(name) for name in names if _NOT_ONE_LINE.search(name)]
    if bad:
        listed = "\n  ".join(bad[:MAX_SHOWN])
        raise DataError(
            f"{printable(listing.source)}: {len(bad)} names of classes and files are not UTF-8, or "
            f"hold a line break or a tab:\n  {listed}{_more_lines(bad)}\nRename them; for names of "
            "an old archive, convmv or unzip -O CHARSET writes UTF-8."
        )
    equal = _groups(labels, lambda name: unicodedata.normalize("NFC", name))
    if equal:
        pairs = "; ".join(" and ".join(ascii(name) for name in group) for group in equal)
        raise DataError(
            f"{listing.source}: class names that look the same and differ in their Unicode normal "
            f"form: {pairs}. Give them one spelling (NFC)."
        )


def refuse_single_class(listing: Listing) -> None:
    """One class alone cannot be classified.

    Raises:
        DataError: there is only one.
    """
    if len(listing.classes) < 2:
        raise DataError(
            f"{listing.source}: only one class ({', '.join(listing.classes)}). A classifier needs "
            f"at least two.{_deeper(listing)}{_notes_text(listing)}"
        )


def refuse_paths(place: Path, fault: str, paths: list[str]) -> None:
    """Nothing where there are none.

    Raises:
        DataError: says how many files of a table or a folder have the fault, and names ten.
    """
    if paths:
        listed = "\n  ".join(map(printable, paths[:MAX_SHOWN]))
        raise DataError(f"{place}: {len(paths)} files {fault}:\n  {listed}{_more_lines(paths)}")


def repeated(paths: Iterable[str]) -> list[str]:
    """Those that come more than once."""
    return [path for path, count in Counter(paths).items() if count > 1]


def shown(names: list[str]) -> str:
    """The first ten of a list, and how many more there are."""
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(names[:MAX_SHOWN]) + more


def _notes_text(listing: Listing) -> str:
    """Name the passed-over images: they may be the missing ones."""
    return "".join(f"\n{note[:1].upper()}{note[1:]}." for note in listing.notes)


def refuse_small_classes(listing: Listing, min_images: int) -> None:
    """Each class needs so many training images.

    Raises:
        DataError: names the classes that have fewer, and what was passed over.
    """
    counts = dict.fromkeys(listing.classes, 0)
    for entry in listing.entries:
        if entry.split == "train":
            counts[entry.label] += 1
    small = [f"{name} ({count})" for name, count in counts.items() if count < min_images]
    if small:
        why = "One trains and one validates: add" if min_images > 1 else "Add"
        raise DataError(
            f"{listing.source}: classes with fewer than {min_images} usable training images: "
            f"{shown(small)}. {why} images, or remove the class.{_notes_text(listing)}"
        )


def _more_lines(items: list[str]) -> str:
    return f"\n  and {len(items) - MAX_SHOWN} more" if len(items) > MAX_SHOWN else ""


def _refuse_unknown_classes(listing: Listing) -> None:
    known = set(listing.classes)
    unknown = sorted(
        {f"{entry.split}/{entry.label}" for entry in listing.entries if entry.label not in known}
    )
    if unknown:
        alike = {_folded(name): name for name in listing.classes}
        hints = [
            f"{name} differs from {alike[_folded(label)]} only in case or spaces."
            for name, label in ((name, name.partition("/")[2]) for name in unknown)
            if _folded(label) in alike
        ]
        raise DataError(
            f"{listing.source}: classes that train does not have: {shown(unknown)}. Every class of "
            f"val and test needs training images under the same name. {' '.join(hints)}".rstrip()
        )


def _similar_names(listing: Listing) -> tuple[str, ...]:
    return tuple(
        f"the names {' and '.join(group)} differ only in case or spaces; they are different classes"
        for group in _groups(listing.classes, _folded)
    )


def _absent_classes(listing: Listing) -> tuple[str, ...]:
    """Classes of which val or test has no image, where there is such a split."""
    found: dict[Split, set[str]] = defaultdict(set)
    for entry in listing.entries:
        found[entry.split].add(entry.label)
    return tuple(
        f"{split} has no images of {len(absent)} of {len(listing.classes)} classes: {shown(absent)}"
        for split in SPLITS
        if split != "train" and found[split]
        for absent in [[name for name in listing.classes if name not in found[split]]]
        if absent
    )


def _groups(names: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    """Different names with the same key."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def _folded(name: str) -> str:
    """The name without differences that a reader may overlook."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in folded if not c.isspace() and unicodedata.category(c) != "Cf")


def _deeper(listing: Listing) -> str:
    """Where a folder holds nothing but the folder that was meant."""
    inner = Path(listing.source, *listing.classes)
    has_folders = inner.is_dir() and any(path.is_dir() for path in inner.iterdir())
    return f" Did you mean {inner}?" if has_folders else ""
