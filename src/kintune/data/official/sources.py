"""The sets that the paper's networks come from: ImageNet, iNaturalist 2017, Places365-Standard."""

import json
from pathlib import Path
from typing import Any

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
from kintune.data.official.matlab import read_structs
from kintune.data.readers import read_folder

INATURALIST_SEED = 0
"""Seed of the draw of the test images from iNaturalist's validation split, where no list is
there."""
_MINI_VAL = "inat_minival.txt"


def read_imagenet(root: Path) -> Found:
    """`train/n01440764/*.JPEG`; `val` likewise, or flat beside the development kit.

    The validation split is the test.
    """
    folder = placed(root, ("train", "val"), ["ILSVRC/Data/CLS-LOC"])
    if any(path.is_dir() for path in (folder / "val").iterdir()):
        return _class_folders(folder)
    kits = ["ILSVRC2012_devkit_t12/data", "devkit/data"]
    truth = "ILSVRC2012_validation_ground_truth.txt"
    kit = placed(root, ("meta.mat", truth), kits)
    rows = read_structs(kit / "meta.mat", "synsets", ("ILSVRC2012_ID", "WNID"))
    synsets = {str(number): synset for number, synset in rows}
    test = [
        ImageEntry(
            f"{folder}/val/ILSVRC2012_val_{place:08d}.JPEG",
            looked_up(synsets, number, kit / "meta.mat"),
            "test",
        )
        for place, number in enumerate(read_lines(kit / truth), start=1)
    ]
    train = _class_folders(folder, ("train",))
    return Found(entries=[*train.entries, *test], notes=train.notes)


def read_places365(root: Path) -> Found:
    """The small images, in the folders of the image archives with their lists, or as class folders
    `train` and `val`. The validation split is the test."""
    easy = root / "places365_standard"
    folder = easy if easy.is_dir() else root
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return _class_folders(folder)
    lists = ("categories_places365.txt", "places365_train_standard.txt", "places365_val.txt")
    root = placed(root, (*lists, "val_256"))
    names = ("data_256_standard", "data_256")  # torchvision renames it
    train = next((root / name for name in names if (root / name).is_dir()), root / names[1])
    categories = {number: name for name, number in read_pairs(root / lists[0])}
    classes = {number: _place(name, root / lists[0]) for number, name in categories.items()}
    parts: tuple[tuple[Split, Path, str], ...] = (
        ("train", train, lists[1]),
        ("test", root / "val_256", lists[2]),
    )
    entries = [
        ImageEntry(f"{images}/{file.lstrip('/')}", looked_up(classes, number, root / name), split)
        for split, images, name in parts
        for file, number in read_pairs(root / name)
    ]
    return Found(entries=entries)


def read_inat2017(root: Path) -> Found:
    """`train2017.json`, `val2017.json` and `train_val_images`; 90 % of validation trains too."""
    folder = placed(root, ("train2017.json", "val2017.json", "train_val_images"))
    validation = dict(_annotated(folder / "val2017.json"))
    listed = folder / _MINI_VAL
    if listed.exists():
        test = set(read_lines(listed))
        for file in test:
            looked_up(validation, file, folder / "val2017.json")
        told = f"those of {_MINI_VAL}"
    else:
        kept = len(validation) * 9 // 10
        test = set(hash_order(validation, INATURALIST_SEED)[kept:])
        told = f"a tenth of it, drawn with seed {INATURALIST_SEED}, for there is no {_MINI_VAL}"
    entries = [
        ImageEntry(f"{folder}/{file}", label, "test" if file in test else "train")
        for file, label in [*_annotated(folder / "train2017.json"), *validation.items()]
    ]
    note = f"test: {len(test)} of the {len(validation)} official validation images, {told}"
    return Found(entries=entries, notes=(note,))


def _class_folders(folder: Path, parts: tuple[str, ...] = ("train", "val")) -> Found:
    """Class folders in `train` and `val`, the latter as the test split."""
    splits: dict[str, Split] = {"train": "train", "val": "test"}
    listings = {part: read_folder(str(folder / part)) for part in parts}
    return Found(
        entries=[
            entry._replace(split=splits[part])
            for part, listing in listings.items()
            for entry in listing.entries
        ],
        notes=tuple(
            f"{part}: {note}" for part, listing in listings.items() for note in listing.notes
        ),
    )


def _place(category: str, path: Path) -> str:
    """`/b/bus_station/indoor` -> `bus_station/indoor`."""
    initial = class_of(category.removeprefix("/"), path)
    return category.removeprefix(f"/{initial}/")


def _annotated(path: Path) -> list[tuple[str, str]]:
    """File and class of each image of a COCO-like list; a class is told by its kingdom too."""
    try:
        content: Any = json.loads(path.read_bytes())
        classes = {
            each["id"]: f"{each['supercategory']}/{each['name']}" for each in content["categories"]
        }
        labels = {each["image_id"]: classes[each["category_id"]] for each in content["annotations"]}
        return [(each["file_name"], labels[each["id"]]) for each in content["images"]]
    except ValueError as error:
        raise DataError(f"{path}: is damaged or no JSON ({error}). Fetch it again.") from None
    except (LookupError, TypeError) as error:
        raise DataError(
            f"{path}: is no such list of images, categories and annotations: {error!r}."
        ) from None
