from pathlib import Path

import pytest

from kintune.base.errors import DataError
from kintune_paper.image_sets import (
    MAX_CLASSES,
    TRAIN_IMAGES,
    named_set,
    place_of,
    subset,
    target_folder,
)


def files(**counts):
    return {label: [Path(f"{label}{i}.jpg") for i in range(n)] for label, n in counts.items()}


def total(split):
    return sum(len(each) for each in split.values())


def test_large_classes_share_the_training_images_evenly():
    chosen = subset(files(a=400, b=400, c=400, d=400, e=400, f=400, g=400))
    assert total(chosen["train"]) == total(chosen["val"]) == TRAIN_IMAGES
    assert {len(each) for each in chosen["train"].values()} == {68, 69}


def test_small_classes_keep_a_fifth_for_validation():
    chosen = subset(files(a=10, b=400))
    assert len(chosen["train"]["a"]) == 8
    assert len(chosen["val"]["a"]) == 2
    assert len(chosen["train"]["b"]) == TRAIN_IMAGES // 2


def test_no_image_trains_and_validates():
    chosen = subset(files(a=30, b=700, c=100))
    for label, images in chosen["train"].items():
        assert not set(images) & set(chosen["val"][label])


def test_the_choice_depends_on_names_alone_and_not_on_their_order():
    some = files(a=300, b=300)
    assert subset(some) == subset({label: each[::-1] for label, each in some.items()})


def test_a_target_is_a_folder_of_links_with_at_most_80_classes(tmp_path):
    for split, count in (("train", 8), ("test", 2)):
        for label in range(100):
            for index in range(count):
                path = tmp_path / f"data/many/{split}/class{label:03d}/{index}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    folder = target_folder(tmp_path / "data/many", "many", tmp_path / "targets")
    assert target_folder(tmp_path / "data/many", "many", tmp_path / "targets") == folder
    found = {
        split: [path for path in (folder / split).glob("*/*.jpg") if path.is_symlink()]
        for split in ("train", "val", "test")
    }
    assert {split: len(links) for split, links in found.items()} == {
        "train": 480,
        "val": 160,
        "test": 160,
    }
    for links in found.values():
        assert len({link.parent.name for link in links}) == MAX_CLASSES


def test_the_links_hold_when_the_data_were_named_from_here(tmp_path, monkeypatch):
    for split in ("train", "test"):
        for index in range(8):
            path = tmp_path / f"data/few/{split}/one/{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    monkeypatch.chdir(tmp_path)
    folder = target_folder(place_of(Path("data"), "few"), "few", Path("targets"))
    monkeypatch.chdir("/")
    links = list((tmp_path / folder).glob("*/*/*.jpg"))
    assert len(links) == 16
    assert all(link.exists() for link in links)


def test_a_set_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="data/absent: needs the folders train and test"):
        target_folder(tmp_path / "data/absent", "absent", tmp_path / "targets")


def folder_of(root, content):
    for split in ("train", "test"):
        path = root / "photos" / split / "one" / "a.jpg"
        path.parent.mkdir(parents=True)
        path.write_text(content)
    return root / "photos"


def test_a_folder_is_known_by_what_is_in_it(tmp_path):
    one, other = folder_of(tmp_path / "a", "x"), folder_of(tmp_path / "b", "longer")
    first = named_set(str(one))
    assert first.title == named_set(str(other)).title == "photos"
    assert first.name != named_set(str(other)).name
    moved = one.rename(tmp_path / "photos")
    assert named_set(f"{moved}/").name == first.name


def test_a_set_by_its_name_is_looked_for_where_the_sets_are():
    assert named_set("birds") == ("birds", "birds", None)
    assert named_set("sklearn:digits").name == "digits"
