"""The image sets of the small protocol: bounded subsets, as folders of links, always the same."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kintune.base.errors import DataError
from kintune.data.catalog import list_images

HELD_OUT = "cifar100-held-out"
DIGITS = "digits"
TRAIN_IMAGES = 480
MAX_CLASSES = 80
VALIDATES_ONE_OF = 5
"""So many images of a class, at least."""
SPLITS = ("train", "test")

Files = Mapping[str, Sequence[Path]]
"""The files of each class."""


class NamedSet(NamedTuple):
    """A set that a person named."""

    name: str
    """Name of its records and links."""
    title: str
    folder: Path | None = None
    """None: it is looked for by its name."""


def named_set(given: str) -> NamedSet:
    """A set by its name, `sklearn:digits`, or a folder with train and test by its path.

    The name of a folder gets a mark of what is in it, so that another folder that is called alike
    is another set, and the same one is known again wherever it is moved.
    """
    if given == "sklearn:digits":
        return NamedSet(DIGITS, DIGITS)
    if "/" not in given:
        return NamedSet(given, given)
    folder = Path(given).absolute()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listing = "".join(f"{path.relative_to(folder)} {path.stat().st_size}\n" for path in files)
    mark = hashlib.sha256(listing.encode()).hexdigest()[:6]
    return NamedSet(f"{folder.name}-{mark}", folder.name, folder)


def target_folder(
    place: Path | None, name: str, root: Path, source_classes: Sequence[str] = ()
) -> Path:
    """The bounded subset of a set, as `root/NAME/{train,val,test}/CLASS/FILE`; made once.

    Args:
        place: of the set (`place_of`), `{train,test}/CLASS/FILE`, of `cifar100-held-out` the
            parquet files; None for `digits`.
        name: of the set; `cifar100-held-out` and `digits` are made from what is there.
        root: where the links go.
        source_classes: classes of CIFAR-100 that are not held out.

    Raises:
        DataError: the set is not there.
    """
    root = root.absolute()
    folder = root / name
    if not (folder / ".complete").exists():
        train, test = _files(place, name, root, source_classes)
        kept = evenly(sorted(train), MAX_CLASSES)
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


def subset(files: Files, images: int = TRAIN_IMAGES) -> dict[str, dict[str, list[Path]]]:
    """Training and validation images: `images` in all to train on where there are as many, spread
    evenly over the classes; as many again to validate on, at least a fifth of each class.

    The order is that of a hash of the file's name, for neighbors in a listing are often alike.
    """
    ordered = {label: sorted(each, key=_shuffled) for label, each in files.items()}
    share, rest = divmod(images, len(files))
    chosen: dict[str, dict[str, list[Path]]] = {"train": {}, "val": {}}
    for index, (label, each) in enumerate(sorted(ordered.items())):
        quota = share + (index < rest)
        train = min(quota, len(each) - -(-len(each) // VALIDATES_ONE_OF))
        chosen["train"][label] = each[:train]
        chosen["val"][label] = each[train : train + quota]
    return chosen


def _shuffled(path: Path) -> str:
    return hashlib.sha256(path.name.encode()).hexdigest()


def _files(
    place: Path | None, name: str, root: Path, source_classes: Sequence[str]
) -> tuple[Files, Files]:
    fault = what_is_missing(place, name)
    if fault:
        raise DataError(fault)
    folder = place or _digits_folder()
    if name == HELD_OUT:
        folder = root / "unpacked" / name
        unpack_cifar(place or Path(), folder, lambda label: label not in source_classes)
    return _by_class(folder / "train"), _by_class(folder / "test")


def place_of(data: Path | None, name: str) -> Path | None:
    """Where a set is in a folder of sets; None of a set that ships, and without a folder."""
    if data is None or name == DIGITS:
        return None
    # Links to its files are made elsewhere: no relative path.
    return data.absolute() / ("cifar100" if name == HELD_OUT else name)


def what_is_missing(place: Path | None, name: str) -> str:
    """Fault of the folder of a set, in words; empty where it is there."""
    if name == DIGITS:
        return ""
    if place is None:
        return f"{name}: is needed. Give the folder that holds it: --data DIR."
    if name == HELD_OUT:
        files = [place / f"{split}.parquet" for split in SPLITS]
        lacking = [str(path) for path in files if not path.is_file()]
        need = f"CIFAR-100 as parquet with the columns image and label, of which {name} is made"
        return f"{', '.join(lacking)}: not there. Needed is {need}." if lacking else ""
    lacking = [split for split in SPLITS if not (place / split).is_dir()]
    if not lacking:
        return ""
    return (
        f"{place}: needs the folders train and test, with a folder of images for each class; "
        f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not there."
    )


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
