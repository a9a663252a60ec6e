"""The target sets of the reference study: bounded subsets, as folders of links, always the same."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kintune.datasets.catalog import list_images
from kintune.errors import DataError

HELD_OUT = "cifar100-held-out"
DIGITS = "digits"
TRAIN_IMAGES = 480
MOST_CLASSES = 80

Files = Mapping[str, Sequence[Path]]
"""The files of each class."""


def target_folder(data: Path, name: str, root: Path, source_classes: Sequence[str] = ()) -> Path:
    """The bounded subset of a set, as `root/NAME/{train,val,test}/CLASS/FILE`; made once.

    Args:
        data: a folder of image sets, `SET/{train,test}/CLASS/FILE`, and `cifar100/*.parquet`.
        name: of the set; `cifar100-held-out` and `digits` are made from what is there.
        root: where the links go.
        source_classes: classes of CIFAR-100 that are not held out.

    Raises:
        DataError: the set is not in `data`.
    """
    folder = root / name
    if not (folder / ".complete").exists():
        train, test = _files(data, name, root, source_classes)
        kept = evenly(sorted(train), MOST_CLASSES)
        for split, files in subset({label: train[label] for label in kept}).items():
            _link(files, folder / split)
        _link({label: test[label] for label in kept}, folder / "test")
        (folder / ".complete").touch()
    return folder


def evenly(names: Sequence[str], most: int) -> list[str]:
    """At most `most` of the names, evenly spaced.

    >>> evenly("abcdef", 3), evenly("ab", 3)
    (['a', 'c', 'e'], ['a', 'b'])
    """
    count = min(most, len(names))
    return [names[index * len(names) // count] for index in range(count)]


def subset(files: Files) -> dict[str, dict[str, list[Path]]]:
    """Training and validation images: 480 in all to train on where there are as many, spread evenly
    over the classes; as many again to validate on, at least a fifth of each class.

    The order is that of a hash of the file's name, for neighbours in a listing are often alike.
    """
    ordered = {label: sorted(each, key=_shuffled) for label, each in files.items()}
    share, rest = divmod(TRAIN_IMAGES, len(files))
    chosen: dict[str, dict[str, list[Path]]] = {"train": {}, "val": {}}
    for index, (label, each) in enumerate(sorted(ordered.items())):
        quota = share + (index < rest)
        train = min(quota, len(each) - -(-len(each) // 5))
        chosen["train"][label] = each[:train]
        chosen["val"][label] = each[train : train + quota]
    return chosen


def _shuffled(path: Path) -> str:
    return hashlib.sha256(path.name.encode()).hexdigest()


def _files(data: Path, name: str, root: Path, source_classes: Sequence[str]) -> tuple[Files, Files]:
    if name == HELD_OUT:
        folder = root / "unpacked" / name
        _unpack(data / "cifar100", folder, source_classes)
    elif name == DIGITS:
        folder = _digits_folder()
    else:
        folder = data.absolute() / name  # links to its files are made elsewhere
    if not (folder / "train").is_dir() or not (folder / "test").is_dir():
        raise DataError(f"{folder}: needs the folders train and test, with a folder a class.")
    return _by_class(folder / "train"), _by_class(folder / "test")


def _by_class(folder: Path) -> Files:
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    return {path.name: sorted(file for file in path.iterdir()) for path in classes}


def _digits_folder() -> Path:
    first = Path(list_images("sklearn:digits").entries[0].path)
    return first.parent.parent.parent


def _unpack(parquet: Path, folder: Path, source_classes: Iterable[str]) -> None:
    """The bytes of the images of the held-out classes as files, unchanged."""
    import pyarrow.parquet as pq

    for split in ("train", "test"):
        table = pq.read_table(parquet / f"{split}.parquet")
        facts = json.loads(table.schema.metadata[b"huggingface"])
        names = facts["info"]["features"]["label"]["names"]
        for index, row in enumerate(table.to_pylist()):
            label = names[row["label"]]
            if label not in source_classes:
                path = folder / split / label / f"{index:05d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(row["image"]["bytes"])


def _link(files: Files, folder: Path) -> None:
    for label, paths in files.items():
        for path in paths:
            link = folder / label / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(path)
