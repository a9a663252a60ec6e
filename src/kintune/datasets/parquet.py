"""Parquet files in the layout of Hugging Face `datasets`, unpacked once into a folder of images."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kintune.datasets.cache import building, cache_root, files_key
from kintune.datasets.readers import SPLIT_NAMES, Listing, read_folder
from kintune.errors import DataError
from kintune.progress import track

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_ROWS_AT_ONCE = 256


def read_parquet(source: str) -> Listing:
    """A folder of `train*.parquet`, perhaps `val*.parquet` and `test*.parquet`.

    Columns are `image`, a struct with the encoded file in `bytes`, and `label`, a number or a
    name; numbers get their names from the schema where it has them. The images are written on
    first use to `<cache root>/datasets/<name>-<key of the files>`.

    Raises:
        DataError: other columns or file names, rows without image or label, a damaged file, no
            `pyarrow`, or the cache cannot be written.
    """
    root = Path(source)
    files = sorted(root.glob("*.parquet"))
    key = files_key([str(path) for path in files], "parquet")[:12]
    folder = cache_root() / "datasets" / f"{root.name}-{key}"
    if not folder.exists():
        with building(folder) as temporary:
            for path in files:
                _unpack(path, temporary / _split_of(path))
    return replace(read_folder(str(folder)), name=root.name, source=source)


def _split_of(path: Path) -> str:
    prefix = path.stem.partition("-")[0].lower()  # "train-00000-of-00002"
    if prefix not in SPLIT_NAMES:
        raise DataError(f"{path}: its name must begin with train, val or test.")
    return SPLIT_NAMES[prefix]


def _unpack(path: Path, folder: Path) -> None:
    file = _opened(path)
    rows = track(_rows(path, file), f"unpacking {path.name}", file.metadata.num_rows)
    for index, (label, content) in enumerate(rows):
        # Images are known by their content; the ending only says that this is one.
        image = folder / label.replace("/", "_") / f"{path.stem}-{index:06d}.jpg"
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

    names = _label_names(file.schema_arrow.metadata or {})
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
        raise DataError(f"{path}: holds images without a label. Take the file away.")
    if names and label not in range(len(names)):
        raise DataError(f"{path}: label {label!r} is none of its {len(names)} class names.")
    name = names[label] if names else str(label)
    # A class becomes a folder, which must stay in its split and must not be hidden.
    if not name or name.startswith(".") or "\0" in name:
        raise DataError(f"{path}: {name!r} cannot name a class. Give it another name.")
    return name


def _label_names(metadata: dict[bytes, bytes]) -> list[str]:
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return features.get("label", {}).get("names", [])
