"""CSV tables of images -> a listing. Opens no image."""

import csv
import io
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kintune.base.errors import DataError
from kintune.data.images import Split
from kintune.data.listing import (
    ImageEntry,
    Listing,
    consistent,
    ordered,
    refuse_paths,
    repeated,
    shown,
)
from kintune.data.split_names import SPLIT_NAMES, split_named
from kintune.data.walk import IMAGE_EXTENSIONS

if TYPE_CHECKING:
    from _csv import Reader as CsvReader

PATH_COLUMNS = ("path", "filepath", "image_path", "img_path", "filename", "file_name")
PATH_COLUMNS += ("image_name", "img_name", "image_file", "file", "image", "img", "image_id", "id")
"""Names of the column with the files; of several, the first is taken."""
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "label_name", "category", "target")
"""Names of the column with the classes; of several, "label" or none is taken."""

SPLIT_COLUMNS = ("subset", "partition", "phase", "set", "usage", "dataset", "data_set", "fold")
"""Names of columns that mean splits where one of their values is the name of a split."""

_DELIMITERS = (",", ";", "\t", "|")
_MAX_SPLITS = 5  # different values of a column that looks like a split
_MAX_SEARCHED = 10_000  # folders in which a missing file is looked for
_TRUTH_VALUES = frozenset({"0", "1", "true", "false", "yes", "no", ""})


def read_csv(source: str) -> Listing:
    r"""A table `path,label[,split]` with a header; paths are relative to the table's folder.

    The columns may have the other names of `PATH_COLUMNS` and `LABEL_COLUMNS`, the delimiter may be
    a semicolon, a tab or a bar, and the encoding is UTF-8 or UTF-16 with a byte order mark. Where a
    path names no file, `\` is read as `/` and a missing extension is added if that names one file.
    Notes say so, and name the columns that were not read.

    Raises:
        DataError: not such a table, or rows that cannot be used; all of one kind together.
    """
    table = Path(source)
    columns, rows = _rows(table)
    which = _columns(table, columns, [row.fields for row in rows])
    cells = [_Cells(*(row.fields[place] for place in which.places)) for row in rows]
    lines = [row.line for row in rows]
    for kind in ("path", "label"):
        empty = [n for n, cell in zip(lines, cells, strict=True) if not getattr(cell, kind)]
        _refuse_rows(table, f"without a {kind}", empty)
    splits = _splits(table, which, rows)
    files = _Files(table.parent)
    paths = [files.found(cell.path) for cell in cells]
    refuse_paths(table, "named more than once", repeated(paths))
    missing = [path for path in paths if not _is_file(path)]
    refuse_paths(table, f"that do not exist{files.hint(missing)}", missing)
    entries = [
        ImageEntry(path, cell.label, split)
        for path, cell, split in zip(paths, cells, splits, strict=True)
    ]
    return consistent(
        Listing(
            name=table.stem,
            source=source,
            entries=ordered(entries),
            classes=tuple(sorted({entry.label for entry in entries if entry.split == "train"})),
            notes=(*which.notes, *files.notes()),
        )
    )


class _Row(NamedTuple):
    line: int
    fields: list[str]


class _Cells(NamedTuple):
    path: str
    label: str


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Where the cells of a row stand."""

    path: int
    label: int
    split: int | None
    notes: tuple[str, ...]

    @property
    def places(self) -> tuple[int, int]:
        return self.path, self.label


def _rows(table: Path) -> tuple[list[str], list[_Row]]:
    """The header in lower case and the rows, without spaces around the cells."""
    text = _text(table)
    try:
        usable = (each for each in _DELIMITERS if _is_header(_header(_reader(text, each))))
        reader = _reader(text, next(usable, _DELIMITERS[0]))
        columns = _header(reader)
        rows = [_Row(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{table}: cannot be read as a CSV table in UTF-8 ({error}).") from None
    if not _is_header(columns):
        raise DataError(
            f"{table}: needs a header with the columns path,label and perhaps split, separated by "
            f"commas. Found: {', '.join(columns) or 'nothing'}."
        )
    _refuse_rows(
        table,
        f"with another number of fields than the header's {len(columns)}",
        [row.line for row in rows if len(row.fields) != len(columns)],
    )
    if not rows:
        raise DataError(f"{table}: has a header and no rows.")
    return columns, rows


def _text(table: Path) -> str:
    try:
        content = table.read_bytes()
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({error.strerror}).") from None
    has_mark = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if has_mark else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{table}: cannot be read as a CSV table in UTF-8: line {line} holds the byte "
            f"0x{content[error.start]:02x}. Save the table as UTF-8."
        ) from None


def _reader(text: str, delimiter: str) -> "CsvReader":
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)


def _header(reader: "CsvReader") -> list[str]:
    return [column.strip().lower() for column in next(reader, [])]


def _is_header(columns: Sequence[str]) -> bool:
    return _named(columns, PATH_COLUMNS) != [] and _named(columns, LABEL_COLUMNS) != []


def _named(columns: Sequence[str], names: Sequence[str]) -> list[int]:
    """Columns with one of the names, in the order of the names."""
    plain = [column.replace(" ", "_").replace("-", "_") for column in columns]
    return [place for name in names for place, column in enumerate(plain) if column == name]


def _columns(table: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> _Columns:
    for name in repeated(columns):
        raise DataError(f"{table}: has the column {name} more than once.")
    path, *_ = _named(columns, PATH_COLUMNS)
    labels = _named(columns, LABEL_COLUMNS)
    if len(labels) > 1 and columns[labels[0]] != "label":
        names = " and ".join(columns[place] for place in labels)
        raise DataError(f"{table}: {names} may each be the classes. Call one of them label.")
    split = _split_column(table, columns, rows, {path, labels[0]})
    meant = {"path": path, "label": labels[0], "split": split}
    renamed = [
        f"{columns[place]} as the {name}"
        for name, place in meant.items()
        if place is not None and columns[place] != name
    ]
    unread = [name for place, name in enumerate(columns) if place not in meant.values()]
    notes = [f"read the column {' and '.join(renamed)}"] if renamed else []
    notes += [f"did not read the columns {shown(unread)}"] if unread else []
    return _Columns(path=path, label=labels[0], split=split, notes=tuple(notes))


def _split_column(
    table: Path, columns: Sequence[str], rows: Sequence[Sequence[str]], taken: set[int]
) -> int | None:
    """The column split, or the one column that holds nothing but names of splits.

    Raises:
        DataError: a column looks like a split, and does not hold train, val and test.
    """
    if "split" in columns:
        return columns.index("split")
    values = {
        place: {row[place] for row in rows} for place in range(len(columns)) if place not in taken
    }
    folded = {place: {value.lower() for value in found} for place, found in values.items()}
    certain = [place for place, found in folded.items() if found <= SPLIT_NAMES.keys()]
    likely = certain if len(certain) > 1 else []
    for place, found in values.items():
        is_flag = split_named(columns[place]) is not None and folded[place] <= _TRUTH_VALUES
        are_named = [split_named(value) is not None for value in found]
        is_named = len(found) <= _MAX_SPLITS and (
            all(are_named) or (any(are_named) and place in _named(columns, SPLIT_COLUMNS))
        )
        if place not in certain and (is_flag or is_named):
            likely.append(place)
    if likely:
        names = " and ".join(columns[place] for place in likely)
        raise DataError(
            f"{table}: {names} looks like a split. Call the column split and its values train, val "
            "and test, or remove it."
        )
    return certain[0] if certain else None


def _splits(table: Path, which: _Columns, rows: Sequence[_Row]) -> list[Split]:
    if which.split is None:
        return ["train"] * len(rows)
    values = [row.fields[which.split] for row in rows]
    unknown = [
        f"{row.line} ({value})"
        for row, value in zip(rows, values, strict=True)
        if value.lower() not in SPLIT_NAMES
    ]
    _refuse_rows(table, "whose split is not train, val or test", unknown)
    return [SPLIT_NAMES[value.lower()] for value in values]


class _Files:
    """Finds what a table names, and counts what it had to read otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backslashes = 0
        self.extensions = 0
        self._stems: dict[str, Mapping[str, list[str]]] = {}

    def found(self, named: str) -> str:
        """The absolute path of the file, or where it should be."""
        path = os.path.normpath(self.folder / named)
        if _is_file(path):
            return path
        if "\\" in named and (slashed := self._with_extension(named.replace("\\", "/"))):
            self.backslashes += 1
            return slashed
        return self._with_extension(named) or path

    def _with_extension(self, named: str) -> str | None:
        path = os.path.normpath(self.folder / named)
        if _is_file(path):
            return path
        folder, name = os.path.split(path)
        if folder not in self._stems:
            self._stems[folder] = _by_stem(folder)
        names = self._stems[folder].get(name, [])
        if len(names) != 1:
            return None
        self.extensions += 1
        return f"{folder}/{names[0]}"

    def notes(self) -> list[str]:
        """Cells that were read otherwise than they stand."""
        return [
            *([f"read \\ as / in {self.backslashes} paths"] if self.backslashes else []),
            *([f"added the extension to {self.extensions} paths"] if self.extensions else []),
        ]

    def hint(self, missing: Sequence[str]) -> str:
        """A file of the same name elsewhere below the table's folder."""
        if not missing:
            return ""
        wanted = _plain(missing[0].replace("\\", "/").rpartition("/")[2])
        for place, _, names in islice(os.walk(self.folder), _MAX_SEARCHED):
            for name in sorted(names):
                if wanted in (_plain(name), _plain(Path(name).stem)):
                    there = os.path.relpath(f"{place}/{name}", self.folder)
                    return f" (did you mean {there} for the first? Paths start at the table)"
        return ""


def _by_stem(folder: str) -> Mapping[str, list[str]]:
    stems: dict[str, list[str]] = defaultdict(list)
    with suppress(OSError, ValueError):  # no such folder, or no possible name
        for path in Path(folder).iterdir():
            if path.suffix.lower() in IMAGE_EXTENSIONS:
                stems[path.stem].append(path.name)
    return stems


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # such as a name that is too long
        return False


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _refuse_rows(table: Path, fault: str, lines: Iterable[object]) -> None:
    found = [str(line) for line in lines]
    if found:
        raise DataError(f"{table}: {len(found)} rows {fault}, in lines {shown(found)}.")
