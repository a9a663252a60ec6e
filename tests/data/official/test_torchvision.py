"""torchvision reads the same trees: the same files in the same splits and classes."""

import pytest
import torch
from torchvision import datasets

from kintune.data.catalog import list_images


def flowers(root, split):
    names = ("train", "val") if split == "train" else ("test",)
    sets = [datasets.Flowers102(root, name) for name in names]
    return [pair for each in sets for pair in zip(each._image_files, each._labels, strict=True)]


def aircraft(root, split):
    found = datasets.FGVCAircraft(root, "trainval" if split == "train" else "test")
    return zip(found._image_files, found._labels, strict=True)


def imagenet(root, split):
    torch.save(({"n01440764": ("tench",), "n01443537": ("goldfish",)}, []), root / "meta.bin")
    return datasets.ImageNet(root, "train" if split == "train" else "val").imgs


def places(root, split):
    if (root / "data_256").exists():
        (root / "data_256").rename(root / "data_256_standard")
    part = "train-standard" if split == "train" else "val"
    return datasets.Places365(root, part, small=True).imgs


READERS = {
    "stanford-cars": lambda root, split: datasets.StanfordCars(root, split)._samples,
    "fgvc-aircraft": aircraft,
    "flowers102": flowers,
    "imagenet": imagenet,
    "places365": places,
}


@pytest.mark.parametrize("name", READERS)
def test_files_splits_and_classes_agree(tree, name, monkeypatch):
    # Only the hashes of the official lists are passed over.
    monkeypatch.setattr(datasets.Flowers102, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.Places365, "_check_integrity", lambda *_: True)
    root = tree(name)
    theirs = {
        (split, str(path)): label
        for split in ("train", "test")
        for path, label in READERS[name](root, split)
    }
    ours = {
        (entry.split, entry.path): entry.label
        for entry in list_images(f"paper:{name}={root}").entries
    }
    assert theirs.keys() == ours.keys()
    pairs = {(theirs[key], ours[key]) for key in ours}
    assert len(pairs) == len(set(theirs.values())) == len(set(ours.values())) == 2


def test_caltechs_images_are_the_same_but_for_clutter(tree):
    root = tree("caltech256")
    (root / "caltech256").mkdir()
    (root / "256_ObjectCategories").rename(root / "caltech256" / "256_ObjectCategories")
    found = datasets.Caltech256(root)
    folder = f"{found.root}/256_ObjectCategories"
    theirs = {
        (f"{folder}/{found.categories[label]}/{label + 1:03d}_{number:04d}.jpg")
        for number, label in zip(found.index, found.y, strict=True)
        if not found.categories[label].endswith("clutter")
    }
    assert theirs == {entry.path for entry in list_images(f"paper:caltech256={root}").entries}
