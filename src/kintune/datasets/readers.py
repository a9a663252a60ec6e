"""What is where: sources of images -> a listing of files with labels and splits. Opens no image."""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kintune.datasets.images import SPLITS, Split
from kintune.errors import DataError

IMAGE_EXTENSIONS = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"}
    | {".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
"""What counts as an image in a folder, in lower case; a CSV may name any file."""

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""Names of splits in lower case."""

_SYSTEM_NAMES = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini"})
_SHOWN = 10  # entries of a list that is only an example of what is wrong


class ImageEntry(NamedTuple):
    """One image that a source names."""

    path: str
    """Absolute."""
    label: str
    split: Split


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a source names, before any image is opened."""

    name: str
    source: str
    entries: tuple[ImageEntry, ...]
    """In the order train, val, test; classes and files sorted within."""
    classes: tuple[str, ...]
    """Classes of the training split, sorted; one may have no image."""
    is_labelled: bool = True
    """False for a flat folder of images, which all belong to the class `UNLABELLED`."""
    notes: tuple[str, ...] = ()


UNLABELLED = "unlabelled"
"""The one class of images that lie in no class folder."""

DatasetReader = Callable[[str], Listing]
"""Takes the source as the user named it; raises DataError where it does not fit together.

`kintune.testing.ReaderSuite` tests one."""


def read_folder(source: str) -> Listing:
    """A folder of class folders, or of `train` and perhaps `val` and `test` with class folders.

    `valid` and `validation` are `val` too. Images may lie deeper within their class folder. Hidden
    and system files are passed over, files with other extensions are counted in the notes.

    Raises:
        DataError: no images, or splits that do not fit together.
    """
    root = Path(source)
    class_folders = list(_class_folders(root))
    ignored: Counter[str] = Counter()
    entries = [
        ImageEntry(path, label, split)
        for split, label, folder in class_folders
        for path in _images_below(folder, ignored)
    ]
    if not entries:
        raise DataError(_nothing_found(root, [label for _, label, _ in class_folders], ignored))
    parents = {folder.parent for *_, folder in class_folders}
    return consistent(
        Listing(
            name=root.name,
            source=source,
            entries=ordered(entries),
            classes=tuple(label for split, label, _ in class_folders if split == "train"),
            notes=_ignored_notes(ignored) + _stray_notes(parents),
        )
    )


def read_flat_folder(source: str) -> Listing | None:
    """A folder of images without class folders, as one unlabelled class; None where it has some.

    Hidden and system files are passed over.
    """
    root = Path(source)
    if any(_visible_folders(root)):
        return None
    ignored: Counter[str] = Counter()
    paths = sorted(_images_below(root, ignored))
    if not paths:
        return None
    return Listing(
        name=root.name,
        source=source,
        entries=tuple(ImageEntry(path, UNLABELLED, "train") for path in paths),
        classes=(UNLABELLED,),
        notes=_ignored_notes(ignored),
        is_labelled=False,
    )


def read_csv(source: str) -> Listing:
    """A table `path,label[,split]` with a header; paths are relative to the table's folder.

    Raises:
        DataError: not such a table, or rows that cannot be used; all of one kind together.
    """
    table = Path(source)
    rows = _csv_rows(table)
    _refuse_rows(table, "without a label", [line for line, row in rows if not row["label"]])
    unknown = [f"{line} ({row['split']})" for line, row in rows if row["split"] not in SPLIT_NAMES]
    _refuse_rows(table, "whose split is not train, val or test", unknown)
    entries = [
        ImageEntry(
            os.path.normpath(table.parent / row["path"]), row["label"], SPLIT_NAMES[row["split"]]
        )
        for _, row in rows
    ]
    refuse_paths(table, "named more than once", repeated(entry.path for entry in entries))
    missing = [entry.path for entry in entries if not Path(entry.path).is_file()]
    refuse_paths(table, "that do not exist", missing)
    return consistent(
        Listing(
            name=table.stem,
            source=source,
            entries=ordered(entries),
            classes=tuple(sorted({entry.label for entry in entries if entry.split == "train"})),
        )
    )


def ordered(entries: Iterable[ImageEntry]) -> tuple[ImageEntry, ...]:
    """By split (train, val, test), class and file, as a listing has them."""
    order = {split: position for position, split in enumerate(SPLITS)}
    return tuple(sorted(entries, key=lambda entry: (order[entry.split], entry.label, entry.path)))


def refuse_single_class(listing: Listing) -> None:
    """Nothing is to be told apart in a single class.

    Raises:
        DataError: there is only one.
    """
    if len(listing.classes) < 2:
        raise DataError(
            f"{listing.source}: only one class ({', '.join(listing.classes)}). To tell images "
            f"apart, at least two are needed.{_deeper(listing)}"
        )


def consistent(listing: Listing) -> Listing:
    """The listing, where it has training images of every class.

    Raises:
        DataError: it has not.
    """
    if not any(entry.split == "train" for entry in listing.entries):
        raise DataError(f"{listing.source}: no training images: all belong to val or test.")
    known = set(listing.classes)
    unknown = {
        f"{entry.split}/{entry.label}" for entry in listing.entries if entry.label not in known
    }
    if unknown:
        raise DataError(
            f"{listing.source}: classes that train does not have: {shown(sorted(unknown))}. Every "
            "class of val and test needs training images under the same name."
        )
    return listing


def _deeper(listing: Listing) -> str:
    """Where a folder holds nothing but the folder that was meant."""
    inner = Path(listing.source, *listing.classes)
    has_folders = inner.is_dir() and any(path.is_dir() for path in inner.iterdir())
    return f" Did you mean {inner}?" if has_folders else ""


def _class_folders(root: Path) -> Iterator[tuple[Split, str, Path]]:
    split_folders = _split_folders(root)
    for split, folder in split_folders.items():
        for class_folder in _visible_folders(folder):
            yield split, class_folder.name, class_folder


def _split_folders(root: Path) -> Mapping[Split, Path]:
    found: dict[Split, Path] = {}
    for folder in _visible_folders(root):
        split = SPLIT_NAMES.get(folder.name.lower())
        if split in found:
            raise DataError(
                f"{root}: both {found[split].name}/ and {folder.name}/ name the {split} split. "
                "Keep one."
            )
        if split is not None:
            found[split] = folder
    if found and "train" not in found:
        names = " and ".join(f"{folder.name}/" for folder in found.values())
        raise DataError(f"{root}: has {names} but no train/. Add train/ with the same classes.")
    return found or {"train": root}


def _visible_folders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and _is_visible(path.name)]


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _SYSTEM_NAMES


def _images_below(folder: Path, ignored: Counter[str]) -> Iterator[str]:
    """Image files at any depth; others are counted by extension in `ignored`."""
    for place, folders, files in os.walk(folder):
        folders[:] = filter(_is_visible, folders)
        for name in filter(_is_visible, files):
            extension = Path(name).suffix.lower()
            if extension in IMAGE_EXTENSIONS:
                yield f"{place}/{name}"
            else:
                ignored[extension or "no extension"] += 1


def _nothing_found(root: Path, labels: list[str], ignored: Counter[str]) -> str:
    if labels:
        others = f" Other files found: {_counts(ignored)}." if ignored else ""
        return (
            f"{root}: no images in its class folders {shown(sorted(set(labels)))}.{others} "
            f"Images are files that end in {', '.join(sorted(IMAGE_EXTENSIONS))}."
        )
    loose = _count_loose_images(root)
    found = f"holds {loose} images but no class folders" if loose else "has no class folders"
    return f"{root}: {found}. Put the images of each class into a folder with the class's name."


def _count_loose_images(folder: Path) -> int:
    return sum(
        path.suffix.lower() in IMAGE_EXTENSIONS and _is_visible(path.name)
        for path in folder.iterdir()
    )


def _ignored_notes(ignored: Counter[str]) -> tuple[str, ...]:
    if not ignored:
        return ()
    return (f"ignored {ignored.total()} files that are not images ({_counts(ignored)})",)


def _stray_notes(parents: set[Path]) -> tuple[str, ...]:
    loose = {parent: _count_loose_images(parent) for parent in sorted(parents)}
    return tuple(
        f"ignored {count} images in {parent} that are in no class folder"
        for parent, count in loose.items()
        if count
    )


def _counts(ignored: Counter[str]) -> str:
    return ", ".join(f"{extension} {count}" for extension, count in ignored.most_common(_SHOWN))


def shown(names: list[str]) -> str:
    """The first ten of a list, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _csv_rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and the three columns of each row; split is `train` where there is no column."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            columns = [column.strip().lower() for column in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as a CSV table in UTF-8 ({error}).") from None
    if not {"path", "label"} <= set(columns):
        raise DataError(
            f"{table}: needs a header with the columns path,label and perhaps split, separated by "
            f"commas. Found: {', '.join(columns) or 'nothing'}."
        )
    _refuse_rows(
        table,
        f"with another number of fields than the header's {len(columns)}",
        [line for line, row in rows if len(row) != len(columns)],
    )
    if not rows:
        raise DataError(f"{table}: has a header and no rows.")
    return [(line, _named(columns, row)) for line, row in rows]


def _named(columns: list[str], row: list[str]) -> dict[str, str]:
    named = dict(zip(columns, (value.strip() for value in row), strict=True))
    split = named["split"].lower() if "split" in named else "train"
    return {"path": named["path"], "label": named["label"], "split": split}


def _refuse_rows(table: Path, fault: str, lines: Iterable[object]) -> None:
    found = [str(line) for line in lines]
    if found:
        raise DataError(f"{table}: {len(found)} rows {fault}, in lines {shown(found)}.")


def refuse_paths(place: Path, fault: str, paths: list[str]) -> None:
    """Nothing where there are none.

    Raises:
        DataError: says how many files of a table or a folder have the fault, and names ten.
    """
    if paths:
        listed = "\n  ".join(paths[:_SHOWN])
        more = f"\n  and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        raise DataError(f"{place}: {len(paths)} files {fault}:\n  {listed}{more}")


def repeated(paths: Iterable[str]) -> list[str]:
    """Those that come more than once."""
    return [path for path, count in Counter(paths).items() if count > 1]
