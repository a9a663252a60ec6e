"""The image sets of the similarity study: known sets, thinned, and series made from one of them.

Every set is a folder `NAME/{train,test}/CLASS/*` of links or of PNG files, always the same.
"""

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from kintune.base.errors import DataError
from kintune.data.opening import open_image
from kintune.similarity.prototypes import POCKET_PROTOTYPES, load_prototypes

SETS = (
    "birds",
    "caltech101",
    "clothing10",
    "fsdd-spectrograms",
    "grocery-store",
    "insects",
    "omniglot-small",
    "sign-digits",
)
"""Folders of the data root."""
HELD_OUT = "cifar100-held-out"
CIFAR_INSECTS = ("bee", "beetle", "butterfly", "caterpillar", "cockroach")
CALTECH_BIRDS = ("emu", "flamingo", "ibis", "pigeon", "rooster")
CALTECH_INSECTS = ("ant", "butterfly", "dragonfly", "mayfly", "tick")
SERIES = ("photo", "posterised", "edges", "noise")
"""One set, step by step farther from photographs; the last holds nothing of it."""
SMOOTHED = "painted"
"""Also made, outside of the order: patches of one color, as of a broad brush."""
SERIES_FROM = "caltech101"
MAX_IMAGES = {"train": 500, "test": 250}
SERIES_CLASSES = (
    "airplanes",
    "bonsai",
    "brain",
    "butterfly",
    "chandelier",
    "grand_piano",
    "hawksbill",
    "ketch",
    "kangaroo",
    "watch",
)
"""Ten of its classes with many images each."""
SERIES_IMAGES = 30


def prepare_sets(data: Path, work: Path) -> dict[str, Path]:
    """All sets of the study under `work`, made where they are not there yet.

    Args:
        data: folder of the image sets, `NAME/{train,test}/CLASS/*`, and `cifar100/*.parquet`.
        work: where the study writes.

    Raises:
        DataError: a set is missing.
    """
    missing = [name for name in (*SETS, "cifar100") if not (data / name).is_dir()]
    if missing:
        raise DataError(f"{data}: lacks the sets {', '.join(missing)} of the study.")
    makers: dict[str, Callable[[Path], None]] = {
        name: lambda folder, name=name: link_classes(data / name, None, folder) for name in SETS
    }
    makers |= {
        HELD_OUT: lambda folder: unpack_cifar(data / "cifar100", _held_out_classes(data), folder),
        "cifar100-insects": lambda folder: unpack_cifar(data / "cifar100", CIFAR_INSECTS, folder),
        "caltech-birds": lambda folder: link_classes(data / SERIES_FROM, CALTECH_BIRDS, folder),
        "caltech-insects": lambda folder: link_classes(data / SERIES_FROM, CALTECH_INSECTS, folder),
    }
    for step in (*SERIES, SMOOTHED):
        makers[f"series-{step}"] = lambda folder, step=step: write_series(
            data / SERIES_FROM / "train", step, folder
        )
    for name, make in makers.items():
        if not (work / name).exists():
            building = work / f".{name}"
            make(building)
            building.rename(work / name)
    return {name: work / name for name in makers}


def unpack_cifar(parquet: Path, classes: Iterable[str], folder: Path) -> None:
    """Some classes of CIFAR-100 as PNG files, at most `MAX_IMAGES` of each split."""
    import pyarrow.parquet as pq

    wanted = set(classes)
    for split, most in MAX_IMAGES.items():
        table = pq.read_table(parquet / f"{split}.parquet")
        names = json.loads(table.schema.metadata[b"huggingface"])
        names = names["info"]["features"]["label"]["names"]
        left = dict.fromkeys(wanted, most // len(wanted))
        for index, row in enumerate(table.to_pylist()):
            name = names[row["label"]]
            if left.get(name, 0):
                left[name] -= 1
                path = folder / split / name / f"{index:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                open_image(io.BytesIO(row["image"]["bytes"])).save(path)


def link_classes(source: Path, classes: Iterable[str] | None, folder: Path) -> None:
    """Links to images of some classes of a set (None: all), evenly, at most `MAX_IMAGES`."""
    for split, most in MAX_IMAGES.items():
        names = sorted(path.name for path in (source / split).iterdir() if path.is_dir())
        chosen = names if classes is None else list(classes)
        for name in chosen:
            (folder / split / name).mkdir(parents=True)
            for path in _spread(sorted((source / split / name).iterdir()), most // len(chosen)):
                (folder / split / name / path.name).symlink_to(path)


def _spread(paths: list[Path], most: int) -> list[Path]:
    """At most so many, at least one, at equal steps through the list."""
    count = min(len(paths), max(1, most))
    return [paths[index * len(paths) // count] for index in range(count)]


def write_series(photos: Path, step: str, folder: Path) -> None:
    """One step of the graded series: images of ten classes, changed."""
    rng = np.random.Generator(np.random.Philox(key=0))
    for name in SERIES_CLASSES:
        for path in _spread(sorted((photos / name).iterdir()), SERIES_IMAGES):
            image = open_image(io.BytesIO(path.read_bytes())).convert("RGB")
            made = folder / "train" / name / f"{path.stem}.png"
            made.parent.mkdir(parents=True, exist_ok=True)
            changed(image, step, rng).save(made)


def changed(image: Image.Image, step: str, rng: np.random.Generator) -> Image.Image:
    """An image as a step of the series shows it."""
    if step == SMOOTHED:
        return image.filter(ImageFilter.ModeFilter(7))
    if step == "posterised":
        return ImageOps.posterize(image, 2)
    if step == "edges":
        lines = ImageOps.grayscale(image).filter(ImageFilter.FIND_EDGES)
        return ImageOps.autocontrast(ImageOps.invert(lines)).convert("RGB")
    if step == "noise":
        pixels = rng.integers(0, 256, (image.height, image.width, 3), np.uint8)
        return Image.fromarray(pixels)
    return image


def _held_out_classes(data: Path) -> list[str]:
    """The classes of CIFAR-100 that `pocket` was not trained on."""
    import pyarrow.parquet as pq

    table = pq.read_schema(data / "cifar100" / "train.parquet")
    names = json.loads(table.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    return sorted(set(names) - set(load_prototypes(POCKET_PROTOTYPES).classes))
