"""Problems of a data set, all of them at once."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from kintune.base.records import Record
from kintune.data.catalog import list_images
from kintune.data.decode import in_threads, pixel_digest
from kintune.data.images import SPLITS
from kintune.data.listing import ImageEntry, Listing
from kintune.data.values import value_range_note

TINY_CLASS_IMAGES = 5
"""A class with fewer images than this, over all splits, is reported."""

ProblemKind = Literal["unreadable", "duplicate", "leak", "tiny_class"]


class Problem(Record):
    """One thing that is wrong."""

    kind: ProblemKind
    message: str
    paths: tuple[str, ...] = ()
    """The files concerned, absolute."""


class HealthReport(Record):
    """Result of `check_dataset`."""

    source: str
    counts: dict[str, int]
    """Classes, images, images of each split, and problems of each kind."""
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    """Files that were passed over, and images whose values misfit the range that is read."""


def check_dataset(source: str | Path) -> HealthReport:
    """Decode every file and report all that is wrong.

    Kinds of problem: `unreadable`, a file that does not load; `leak`, the same pixels in more than
    one split; `duplicate`, the same pixels more than once within a split; `tiny_class`, a class
    with fewer than five images that load.

    Args:
        source: as for `load_dataset`.

    Raises:
        DataError: there is nothing to check: no such folder, no images, splits that do not fit.
    """
    listing = list_images(source)
    paths = [entry.path for entry in listing.entries]
    same_pixels: dict[str, list[ImageEntry]] = defaultdict(list)
    unreadable: list[Problem] = []
    misfits: list[tuple[str, str]] = []
    found = in_threads(pixel_digest, paths, "checking images")
    for entry, file in zip(listing.entries, found, strict=True):
        if file.reason:
            unreadable.append(Problem(kind="unreadable", message=file.reason, paths=(entry.path,)))
            continue
        same_pixels[file.digest].append(entry)
        if file.value_range:
            misfits.append((entry.path, file.value_range))
    readable = [entry for group in same_pixels.values() for entry in group]
    problems = (
        *unreadable,
        *(_repeated(group) for group in same_pixels.values() if len(group) > 1),
        *_tiny_classes(listing, readable),
    )
    return HealthReport(
        source=listing.source,
        counts=_counts(listing, problems),
        problems=problems,
        notes=(*listing.notes, *value_range_note(misfits, len(paths))),
    )


def _repeated(group: Sequence[ImageEntry]) -> Problem:
    splits = [split for split in SPLITS if any(entry.split == split for entry in group)]
    labels = sorted({entry.label for entry in group})
    where = f"in {' and '.join(splits)}" if len(splits) > 1 else f"{len(group)} times"
    classes = f"class {labels[0]}" if len(labels) == 1 else f"classes {' and '.join(labels)}"
    return Problem(
        kind="leak" if len(splits) > 1 else "duplicate",
        message=f"the same image {where}, {classes}",
        paths=tuple(entry.path for entry in group),
    )


def _tiny_classes(listing: Listing, readable: Iterable[ImageEntry]) -> list[Problem]:
    counts = Counter(entry.label for entry in readable)
    return [
        Problem(kind="tiny_class", message=f"class {name} has {counts[name]} images that load")
        for name in listing.classes
        if counts[name] < TINY_CLASS_IMAGES
    ]


def _counts(listing: Listing, problems: Iterable[Problem]) -> dict[str, int]:
    splits = Counter(entry.split for entry in listing.entries)
    kinds = Counter(problem.kind for problem in problems)
    return {
        "classes": len(listing.classes),
        "images": len(listing.entries),
        **{split: splits[split] for split in SPLITS},
        **{kind: kinds[kind] for kind in ("unreadable", "duplicate", "leak", "tiny_class")},
    }
