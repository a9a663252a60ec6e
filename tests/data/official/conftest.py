"""Small trees in exactly the layouts that the official archives make."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from kintune.base.errors import DataError
from kintune.data.catalog import list_images

WriteTree = Callable[[Path], Path]

DOGS = {
    "train": ["n02085620-Chihuahua/n02085620_5927.jpg", "n02085782-Japanese_spaniel/n_1.jpg"],
    "test": ["n02085782-Japanese_spaniel/n_2.jpg", "n02085620-Chihuahua/n02085620_2650.jpg"],
}
CARS = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"]
AIRCRAFT = {
    "train": ["0034309 F/A-18", "1025794 Boeing 707-320"],
    "val": ["0056978 F/A-18"],
    "test": ["0450014 Boeing 707-320", "0062765 F/A-18"],
}
INDOOR = {
    "TrainImages.txt": ["gameroom/bt_132294gameroom2.jpg", "poolinside/n.jpg", "gameroom/b.jpg"],
    "TestImages.txt": ["poolinside/t.jpg"],
}
PLACES = {
    "train": ["/a/airfield/00000001.jpg 0", "/b/bus_station/indoor/00000001.jpg 1"],
    "val": ["Places365_val_00000001.jpg 1", "Places365_val_00000002.jpg 0"],
}
INATURALIST = ["Plantae/Rosa canina", "Aves/Pica pica"]


def rows(source: str) -> list[tuple[str, str, str]]:
    """Split, class and path below the set's folder, in the order of the listing."""
    root = source.partition("=")[2]
    return [
        (entry.split, entry.label, entry.path.removeprefix(f"{root}/"))
        for entry in list_images(source).entries
    ]


def refusal(source: str) -> str:
    """What is said of a copy that does not load, from below its folder on."""
    with pytest.raises(DataError) as error:
        list_images(source)
    return str(error.value).removeprefix(source.partition("=")[2]).removeprefix("/")


def write_images(folder: Path, names: Sequence[str]) -> None:
    """Different tiny JPEG files, whatever their ending."""
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = [len(name), index, *path.name.encode()]
        pixels = np.random.default_rng(seed).integers(0, 256, (18, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, "JPEG")


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Without an end of the last line, as some of the official lists have it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def cells(texts: Sequence[str], shape: tuple[int, int]) -> np.ndarray:
    """A cell array."""
    array = np.empty(len(texts), dtype=object)
    array[:] = list(texts)
    return array.reshape(shape)


def structs(rows: Sequence[Mapping[str, object]]) -> np.ndarray:
    """A 1 x n struct array."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for index, row in enumerate(rows):
        array[0, index] = tuple(row.values())
    return array


def caltech256(root: Path) -> Path:
    folder = root / "256_ObjectCategories"
    for number, name, count in ((1, "ak47", 62), (2, "american-flag", 61), (257, "clutter", 3)):
        names = [f"{number:03d}_{index:04d}.jpg" for index in range(1, count + 1)]
        write_images(folder / f"{number:03d}.{name}", names)
    (folder / "001.ak47" / "greg" / "vision309").mkdir(parents=True)
    (folder / "002.american-flag" / "RENAME2").write_text("#!/bin/sh")
    return root


def cub200(root: Path) -> Path:
    folder = root / "CUB_200_2011"
    files = [
        "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg",
        "001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg",
        "002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg",
        "002.Laysan_Albatross/Laysan_Albatross_0003_1033.jpg",
    ]
    write_images(folder / "images", files)
    lists = {
        "images": [f"{number} {file}" for number, file in enumerate(files, 1)],
        "classes": ["1 001.Black_footed_Albatross", "2 002.Laysan_Albatross"],
        "image_class_labels": ["1 1", "2 1", "3 2", "4 2"],
        "train_test_split": ["1 0", "2 1", "3 0", "4 1"],
    }
    for name, lines in lists.items():
        write_lines(folder / f"{name}.txt", lines)
    return root


def stanford_dogs(root: Path) -> Path:
    for split, files in DOGS.items():
        write_images(root / "Images", files)
        shape = (len(files), 1)
        content = {
            "file_list": cells(files, shape),
            "annotation_list": cells([file.removesuffix(".jpg") for file in files], shape),
            "labels": np.array([[1.0], [2.0]]),
        }
        savemat(root / f"{split}_list.mat", content)
    return root


def stanford_cars(root: Path) -> Path:
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": cells(CARS, (1, 2))})
    lists = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
    for split, name in lists.items():
        files = ["00001.jpg", "00002.jpg"]
        write_images(folder / f"cars_{split}", files)
        box = {f"bbox_{side}": 1 for side in ("x1", "y1", "x2", "y2")}
        numbers = (2, 1) if split == "train" else (1, 2)
        rows = [
            {**box, "class": number, "fname": file}
            for number, file in zip(numbers, files, strict=True)
        ]
        savemat(folder / name, {"annotations": structs(rows)}, do_compression=True)
    return root


def fgvc_aircraft(root: Path) -> Path:
    data = root / "fgvc-aircraft-2013b" / "data"
    write_lines(data / "variants.txt", ["Boeing 707-320", "F/A-18"])
    for part, lines in {**AIRCRAFT, "trainval": AIRCRAFT["train"] + AIRCRAFT["val"]}.items():
        write_lines(data / f"images_variant_{part}.txt", lines)
        write_images(data / "images", [f"{line[:7]}.jpg" for line in lines])
    return root


def flowers102(root: Path) -> Path:
    folder = root / "flowers-102"
    write_images(folder / "jpg", [f"image_{number:05d}.jpg" for number in range(1, 8)])
    splits = {"trnid": [[6, 1]], "valid": [[3, 7]], "tstid": [[2, 4, 5]]}
    savemat(folder / "setid.mat", {name: np.array(ids) for name, ids in splits.items()})
    labels = np.array([[77, 77, 1, 1, 77, 1, 1]], dtype=np.uint8)
    savemat(folder / "imagelabels.mat", {"labels": labels})
    return root


def mit_indoor67(root: Path) -> Path:
    for name, files in INDOOR.items():
        write_lines(root / name, files)
        write_images(root / "Images", files)
    return root


def imagenet(root: Path) -> Path:
    synsets = ("n01440764", "n01443537")
    for number, synset in enumerate(synsets, 1):
        write_images(root / "train" / synset, [f"{synset}_{index}.JPEG" for index in (10026, 9)])
        write_images(root / "val" / synset, [f"ILSVRC2012_val_{number:08d}.JPEG"])
    return root


def imagenet_flat(root: Path) -> Path:
    """The validation images as they come, and the development kit that says what they are."""
    imagenet(root)
    for path in (root / "val").glob("*/*"):
        path.rename(root / "val" / path.name)
        path.parent.rmdir()
    rows = [
        {"ILSVRC2012_ID": 1, "WNID": "n01443537", "words": "goldfish", "num_children": 0},
        {"ILSVRC2012_ID": 2, "WNID": "n01440764", "words": "tench, Tinca tinca", "num_children": 0},
        {"ILSVRC2012_ID": 1001, "WNID": "n00001740", "words": "entity", "num_children": 2},
    ]
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    write_lines(kit / "ILSVRC2012_validation_ground_truth.txt", ["2", "1"])
    savemat(kit / "meta.mat", {"synsets": structs(rows).T})
    return root


def places365(root: Path) -> Path:
    write_lines(root / "categories_places365.txt", ["/a/airfield 0", "/b/bus_station/indoor 1"])
    write_lines(root / "places365_train_standard.txt", PLACES["train"])
    write_lines(root / "places365_val.txt", PLACES["val"])
    write_images(root / "data_256", [line.split()[0][1:] for line in PLACES["train"]])
    write_images(root / "val_256", [line.split()[0] for line in PLACES["val"]])
    return root


def places365_easy(root: Path) -> Path:
    folder = root / "places365_standard"
    for place in ("airfield", "bus_station-indoor"):
        write_images(folder / "train" / place, ["00000001.jpg", "00000002.jpg"])
        write_images(folder / "val" / place, [f"Places365_val_{place}.jpg"])
    return root


def inat2017(root: Path) -> Path:
    categories = [
        {"id": number, "supercategory": name.split("/")[0], "name": name.split("/")[1]}
        for number, name in enumerate(INATURALIST)
    ]
    for part, count in (("train", 4), ("val", 20)):
        rows = [
            (1000 + index, f"train_val_images/{INATURALIST[index % 2]}/{part}{index:02d}.jpg")
            for index in range(count)
        ]
        write_images(root, [file for _, file in rows])
        content = {
            "images": [{"id": image, "file_name": file, "license": 3} for image, file in rows],
            "categories": categories,
            "annotations": [
                {"id": index, "image_id": image, "category_id": index % 2}
                for index, (image, _) in enumerate(rows)
            ],
        }
        (root / f"{part}2017.json").write_text(json.dumps(content))
    return root


TREES: Mapping[str, WriteTree] = {
    "caltech256": caltech256,
    "cub200": cub200,
    "stanford-dogs": stanford_dogs,
    "stanford-cars": stanford_cars,
    "fgvc-aircraft": fgvc_aircraft,
    "flowers102": flowers102,
    "mit-indoor67": mit_indoor67,
    "imagenet": imagenet,
    "imagenet:flat": imagenet_flat,
    "inat2017": inat2017,
    "places365": places365,
    "places365:easy": places365_easy,
}


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the tree of a set, `NAME` or `NAME:LAYOUT`, and gives its root."""

    def write(name: str) -> Path:
        return TREES[name](tmp_path / name.replace(":", "-"))

    return write


@pytest.fixture
def named_tree(tree: Callable[[str], Path]) -> Callable[[str], str]:
    """The same, as a user names it."""
    return lambda name: f"paper:{name.partition(':')[0]}={tree(name)}"
