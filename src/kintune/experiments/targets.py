"""The target sets of the reference study: bounded subsets, as folders of links, always the same."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kintune.datasets.catalog import list_images
from kintune.errors import DataError

HELD_OUT = "cifar100-held-out"
DIGITS = "digits"
TRAIN_IMAGES = 480
MOST_CLASSES = 80
SPLITS = ("train", "test")

Files = Mapping[str, Sequence[Path]]
"""The files of each class."""


def target_folder(
    data: Path | None, name: str, root: Path, source_classes: Sequence[str] = ()
) -> Path:
    """The bounded subset of a set, as `root/NAME/{train,val,test}/CLASS/FILE`; made once.

    Args:
        data: a folder of image sets, `SET/{train,test}/CLASS/FILE`, and `cifar100/*.parquet`; None
            where `name` needs none.
        name: of the set, or the path of a folder with train and test; `cifar100-held-out` and
            `digits` are made from what is there.
        root: where the links go.
        source_classes: classes of CIFAR-100 that are not held out.

    Raises:
        DataError: the set is not in `data`.
    """
    root = root.absolute()
    folder = root / Path(name).name
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


def _files(
    data: Path | None, name: str, root: Path, source_classes: Sequence[str]
) -> tuple[Files, Files]:
    fault = what_is_missing(data, name)
    if fault:
        raise DataError(fault)
    if name == DIGITS:
        folder = _digits_folder()
    elif name == HELD_OUT and data is not None:
        folder = root / "unpacked" / name
        unpack_cifar(data / "cifar100", folder, lambda label: label not in source_classes)
    else:
        folder = _named_folder(data, name)
    return _by_class(folder / "train"), _by_class(folder / "test")


def what_is_missing(data: Path | None, name: str) -> str:
    """What is wrong with the place of a set, in words; empty where it is there."""
    if name == DIGITS:
        return ""
    if data is None and "/" not in name:
        return f"{name}: is needed. Give the folder that holds it: --data DIR."
    if name == HELD_OUT:
        files = [_named_folder(data, "cifar100") / f"{split}.parquet" for split in SPLITS]
        lacking = [str(path) for path in files if not path.is_file()]
        need = f"CIFAR-100 as parquet with the columns image and label, of which {name} is made"
        return f"{', '.join(lacking)}: not there. Needed is {need}." if lacking else ""
    folder = _named_folder(data, name)
    lacking = [split for split in SPLITS if not (folder / split).is_dir()]
    if not lacking:
        return ""
    return (
        f"{folder}: needs the folders train and test, with a folder of images for each class; "
        f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not there."
    )


def _named_folder(data: Path | None, name: str) -> Path:
    return (data or Path()).absolute() / name  # links to its files are made elsewhere


def _by_class(folder: Path) -> Files:
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    return {path.name: sorted(file for file in path.iterdir()) for path in classes}


def _digits_folder() -> Path:
    first = Path(list_images("sklearn:digits").entries[0].path)
    return first.parent.parent.parent


def unpack_cifar(parquet: Path, folder: Path, is_wanted: Callable[[str], bool]) -> None:
    """The bytes of the images of some classes of CIFAR-100 as files, unchanged."""
    import pyarrow.parquet as pq

    for split in SPLITS:
        table = pq.read_table(parquet / f"{split}.parquet")
        facts = json.loads(table.schema.metadata[b"huggingface"])
        names = facts["info"]["features"]["label"]["names"]
        for index, row in enumerate(table.to_pylist()):
            label = names[row["label"]]
            if is_wanted(label):
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
