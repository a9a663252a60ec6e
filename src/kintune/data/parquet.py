"""Parquet files in the layout of Hugging Face `datasets`, unpacked once into a folder of images."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kintune.base.errors import DataError
from kintune.base.progress import track
from kintune.data.cache import files_key
from kintune.data.entries import unpacked
from kintune.data.images import SPLITS, Split
from kintune.data.listing import ImageEntry, Listing, consistent, ordered, repeated, shown
from kintune.data.split_names import split_named
from kintune.data.walk import Walk

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_ROWS_AT_ONCE = 256
_NAMES = "classes.json"  # name of each class and the number of its folder


def read_parquet(source: str) -> Listing:
    """A folder of `train*.parquet`, perhaps `val*.parquet` and `test*.parquet`.

    Columns are `image`, a struct with the encoded file in `bytes`, and `label`, a number or a
    name; numbers get their names from the schema where it has them. The images are written on
    first use to `<cache root>/datasets/<name>-<key of the files>`, in a numbered folder for each
    class, for names of classes may not be names of folders.

    Raises:
        DataError: other columns or file names, rows without image or label, a damaged file, no
            `pyarrow`, or the cache cannot be written.
    """
    root = Path(source)
    files = sorted(root.glob("*.parquet"))
    key = files_key([str(path) for path in files], "parquet, numbered classes")[:12]
    folder = unpacked(f"{root.name[:100]}-{key}", partial(_unpack_all, files))
    names: dict[str, int] = json.loads((folder / _NAMES).read_bytes())
    entries = [
        ImageEntry(str(path), name, split)
        for split in SPLITS
        for name, number in names.items()
        for path in (folder / split / str(number)).glob("*")
    ]
    return consistent(
        Listing(
            name=root.name,
            source=source,
            entries=ordered(entries),
            classes=tuple(sorted({entry.label for entry in entries if entry.split == "train"})),
            notes=Walk(root).notes_beside(files),
        )
    )


def _unpack_all(files: Sequence[Path], folder: Path) -> None:
    """Write the images to `split/number of the class/file and row.jpg`, and the names."""
    splits = {path: _split_of(path) for path in files}
    numbers: dict[str, int] = {}
    for path, split in splits.items():
        _unpack(path, folder / split, numbers)
    (folder / _NAMES).write_text(json.dumps(numbers), encoding="utf-8")


def _split_of(path: Path) -> Split:
    name = split_named(path.stem.partition("-")[0]) or split_named(path.stem)
    if name is None:
        raise DataError(f"{path}: its name must begin with train, val or test.")
    return name.split


def _unpack(path: Path, folder: Path, numbers: dict[str, int]) -> None:
    file = _opened(path)
    rows = track(_rows(path, file), f"unpacking {path.name}", file.metadata.num_rows)
    for index, (label, content) in enumerate(rows):
        number = numbers.setdefault(label, len(numbers))
        # Images are known by their content; the ending only says that this is one.
        image = folder / str(number) / f"{path.stem[:100]}-{index:06d}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(content)


def _opened(path: Path) -> "ParquetFile":
    """The file, with the columns that are needed."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            f"{path}: reading it needs pyarrow. Install it: pip install 'kintune[parquet]'"
        ) from None
    if not path.is_file():
        raise DataError(f"{path}: is not a regular file. Take it out of the folder.")
    try:
        file = parquet.ParquetFile(path)
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: is not a parquet file ({error}).") from None
    schema = file.schema_arrow
    if not {"image", "label"} <= set(schema.names):
        raise DataError(
            f"{path}: needs the columns image and label, has {', '.join(schema.names)}."
        )
    kind = schema.field("image").type
    if not pa.types.is_struct(kind) or "bytes" not in {field.name for field in kind}:
        raise DataError(
            f"{path}: its column image must be a struct with the encoded file in `bytes`, "
            f"and is {kind}."
        )
    return file


def _rows(path: Path, file: "ParquetFile") -> Iterator[tuple[str, bytes]]:
    """Class name and encoded image of each row."""
    from pyarrow import ArrowException

    names = _label_names(path, file.schema_arrow.metadata or {})
    try:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=["image", "label"]):
            for row in batch.to_pylist():
                content = (row["image"] or {}).get("bytes")
                if not isinstance(content, bytes):
                    raise DataError(f"{path}: holds rows without an image. Take them out.")
                yield _class_name(path, row["label"], names), content
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: is damaged ({error}). Fetch it again.") from None


def _class_name(path: Path, label: Any, names: list[str]) -> str:
    if label in (None, -1):  # how published test splits say that they have none
        raise DataError(f"{path}: holds images without a label. Move the file elsewhere.")
    if names and label not in range(len(names)):
        raise DataError(f"{path}: label {label!r} is none of its {len(names)} class names.")
    name = names[label] if names else str(label)
    if not name:
        raise DataError(f"{path}: {name!r} cannot name a class. Give it another name.")
    return name


def _label_names(path: Path, metadata: dict[bytes, bytes]) -> list[str]:
    try:
        described = json.loads(metadata.get(b"huggingface", b"{}"))
        names = described.get("info", {}).get("features", {}).get("label", {}).get("names", [])
    except (ValueError, AttributeError):
        raise DataError(f"{path}: its metadata `huggingface` is damaged. Fetch it again.") from None
    if twice := repeated(names):
        raise DataError(f"{path}: its class names hold {shown(twice)} more than once.")
    return names
