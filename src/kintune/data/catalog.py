"""From what a user names to the reader that knows it."""

import difflib
from collections.abc import Mapping
from pathlib import Path

from kintune.base.errors import DataError
from kintune.base.files import absolute
from kintune.data.csv_table import read_csv
from kintune.data.digits import read_digits
from kintune.data.listing import DatasetReader, Listing, refuse_single_class
from kintune.data.official import OFFICIAL, PREFIX, absolute_official, read_official
from kintune.data.parquet import read_parquet
from kintune.data.readers import read_flat_folder, read_folder
from kintune.data.split_names import split_named
from kintune.data.walk import has_folders

CATALOG: Mapping[str, DatasetReader] = {
    "sklearn:digits": read_digits,
    **{f"{PREFIX}{name}": read_official for name in OFFICIAL},
}
"""Data sets that are known by name. A new one is one line here and its reader; one with official
files that lie somewhere, `NAME=FOLDER`, one in `official`."""


def list_images(source: str | Path, *, for_training: bool = True) -> Listing:
    """The images of a folder, of parquet files in one, of a CSV table or of a name in `CATALOG`.

    Args:
        source: what the user named.
        for_training: False takes a single class, and images without any class, too.

    Raises:
        DataError: there is no such source, or it does not fit together.
    """
    listing = _listing(source, for_training)
    if for_training:
        refuse_single_class(listing)
    return listing


def absolute_source(source: str | Path) -> str:
    """The same source in words that another process or machine understands: an absolute path.

    Raises:
        DataError: a set of the paper that is not known, or whose folder is not named.
    """
    if str(source).startswith(PREFIX):
        return absolute_official(str(source))
    return str(source) if str(source) in CATALOG else str(absolute(source))


def _listing(source: str | Path, for_training: bool) -> Listing:
    if str(source) in CATALOG:
        return CATALOG[str(source)](str(source))
    if str(source).startswith(PREFIX):
        return read_official(str(source))
    path = absolute(source)
    try:
        if path.is_dir():
            return _read_listable_folder(path, for_training)
        if path.is_file() and path.suffix.lower() in (".csv", ".tsv"):
            return read_csv(str(path))
        exists = path.exists()
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read ({error.strerror}).") from None
    if exists:
        raise DataError(
            f"{path}: is a file, not a folder of class folders nor a .csv table with the columns "
            "path,label[,split]."
        )
    raise DataError(f"{path}: no such folder.{_near(path)}")


def _read_listable_folder(path: Path, for_training: bool) -> Listing:
    if not any(path.iterdir()):
        raise DataError(f"{path}: is empty. It should hold a folder of images for each class.")
    tables = sorted(path.glob("*.parquet"))
    if tables and (any(split_named(table.stem) for table in tables) or not has_folders(path)):
        return read_parquet(str(path))
    flat = None if for_training else read_flat_folder(str(path))
    if flat is not None:
        return flat
    return read_folder(str(path))


def _near(path: Path) -> str:
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = [str(path.parent / name) for name in difflib.get_close_matches(path.name, siblings)]
    near += difflib.get_close_matches(path.name, CATALOG)
    known = ", ".join(CATALOG)
    return f" Did you mean {' or '.join(near)}?" if near else f" Known by name: {known}."
