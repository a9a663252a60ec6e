"""The seven sets that the paper fine-tunes on, each from its official files."""

import re
from pathlib import Path

from kintune.base.errors import DataError
from kintune.data.images import Split
from kintune.data.listing import ImageEntry
from kintune.data.official.layout import (
    Found,
    class_of,
    hash_order,
    looked_up,
    placed,
    read_lines,
    read_pairs,
)
from kintune.data.official.matlab import read_integers, read_strings, read_structs

CALTECH_TRAIN_IMAGES = 60
"""Training images of each class of Caltech-256, as in the paper; the other images are the test."""
CALTECH_SEED = 0
"""Seed of their draw. The paper does not say which images it drew."""

Parts = tuple[tuple[Split, str], ...]

_DOGS: Parts = (("train", "train_list.mat"), ("test", "test_list.mat"))
_AIRCRAFT: Parts = (("train", "train"), ("train", "val"), ("test", "test"))
_FLOWERS: Parts = (("train", "trnid"), ("train", "valid"), ("test", "tstid"))
_INDOOR: Parts = (("train", "TrainImages.txt"), ("test", "TestImages.txt"))
_CALTECH_CLASS = re.compile(r"(?!257)\d{3}\..+")  # 257 is clutter, and no class


def read_caltech256(root: Path) -> Found:
    """`256_ObjectCategories/001.ak47/001_0001.jpg`; 60 images a class train, the others test."""
    folders = [root, root / "256_ObjectCategories", root / "caltech256" / "256_ObjectCategories"]
    classes = next(filter(None, map(_caltech_classes, folders)), None)
    if not classes:
        raise DataError(f"{root}: has no 256_ObjectCategories/ with folders such as 001.ak47/.")
    entries: list[ImageEntry] = []
    for folder in classes:
        # One class has a folder of something else in it, another a script.
        names = hash_order((path.name for path in folder.glob("*.jpg")), CALTECH_SEED)
        if len(names) <= CALTECH_TRAIN_IMAGES:
            raise DataError(
                f"{folder}: holds {len(names)} .jpg files. {CALTECH_TRAIN_IMAGES} are drawn for "
                "training and at least one must be left for the test."
            )
        for place, name in enumerate(names):
            split: Split = "train" if place < CALTECH_TRAIN_IMAGES else "test"
            entries.append(ImageEntry(f"{folder}/{name}", folder.name, split))
    return Found(entries=entries, notes=(_caltech_note(len(entries), len(classes)),))


def read_cub200(root: Path) -> Found:
    """`CUB_200_2011/images.txt` and the three lists beside it, which go by image number."""
    lists = ("images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt")
    folder = placed(root, ("images", *lists), ["CUB_200_2011"])
    files, labels, classes, training = (dict(read_pairs(folder / name)) for name in lists)
    splits: dict[str, Split] = {"1": "train", "0": "test"}
    entries = []
    for number, file in files.items():
        label = looked_up(classes, looked_up(labels, number, folder / lists[1]), folder / lists[2])
        is_training = looked_up(training, number, folder / lists[3])
        split = looked_up(splits, is_training, folder / lists[3])
        entries.append(ImageEntry(f"{folder}/images/{file}", label, split))
    return Found(entries=entries)


def read_stanford_dogs(root: Path) -> Found:
    """`Images/n02085620-Chihuahua/*.jpg`, and `train_list.mat` and `test_list.mat`."""
    images = placed(root, ("Images",), ["images"]) / "Images"
    lists = placed(root, [name for _, name in _DOGS], ["lists"])
    entries = [
        ImageEntry(f"{images}/{file}", class_of(file, lists / name), split)
        for split, name in _DOGS
        for file in read_strings(lists / name, "file_list")
    ]
    return Found(entries=entries)


def read_stanford_cars(root: Path) -> Found:
    """`cars_train`, `cars_test`, the development kit, and the labels of the test images."""
    folder = placed(root, ("cars_train", "cars_test", "devkit"), ["stanford_cars"])
    devkit = folder / "devkit"
    labeled = "cars_test_annos_withlabels.mat"  # published after the kit, which has none
    lists: tuple[tuple[Split, Path], ...] = (
        ("train", devkit / "cars_train_annos.mat"),
        ("test", placed(folder, (labeled,), ["devkit"]) / labeled),
    )
    names = read_strings(devkit / "cars_meta.mat", "class_names")
    classes = dict(enumerate(names, start=1))
    entries = [
        ImageEntry(f"{folder}/cars_{split}/{file}", looked_up(classes, label, path), split)
        for split, path in lists
        for file, label in read_structs(path, "annotations", ("fname", "class"))
    ]
    return Found(entries=entries)


def read_fgvc_aircraft(root: Path) -> Found:
    """`data/images` and the lists by variant; training and validation together train."""
    data = placed(root, ("data",), ["fgvc-aircraft-2013b"]) / "data"
    entries = [
        ImageEntry(f"{data}/images/{number}.jpg", variant, split)
        for split, part in _AIRCRAFT
        for number, variant in read_pairs(data / f"images_variant_{part}.txt")
    ]
    return Found(entries=entries)


def read_flowers102(root: Path) -> Found:
    """`jpg`, `imagelabels.mat` and `setid.mat`; training and validation together train.

    The files have no names of the flowers, so the classes are called by number.
    """
    folder = placed(root, ("jpg", "imagelabels.mat", "setid.mat"), ["flowers-102"])
    numbers = read_integers(folder / "imagelabels.mat", "labels")
    labels = dict(enumerate(numbers, start=1))
    entries = [
        ImageEntry(
            f"{folder}/jpg/image_{image:05d}.jpg",
            f"{looked_up(labels, image, folder / 'imagelabels.mat'):03d}",
            split,
        )
        for split, part in _FLOWERS
        for image in read_integers(folder / "setid.mat", part)
    ]
    return Found(entries=entries)


def read_mit_indoor67(root: Path) -> Found:
    """`Images/CLASS/*.jpg`, `TrainImages.txt` and `TestImages.txt`."""
    images = placed(root, ("Images",), ["indoorCVPR_09"]) / "Images"
    lists = placed(root, [name for _, name in _INDOOR], ["indoorCVPR_09"])
    entries = [
        ImageEntry(f"{images}/{file}", class_of(file, lists / name), split)
        for split, name in _INDOOR
        for file in read_lines(lists / name)
    ]
    return Found(entries=entries)


def _caltech_classes(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if _CALTECH_CLASS.fullmatch(path.name)]


def _caltech_note(images: int, classes: int) -> str:
    train = CALTECH_TRAIN_IMAGES * classes
    return (
        f"training: {CALTECH_TRAIN_IMAGES} images of each of {classes} classes, drawn with seed "
        f"{CALTECH_SEED}; test: the other {images - train}. The paper prints 15,189 test images; "
        "its 256 classes hold 29,780 images, which leaves 14,420."
    )
