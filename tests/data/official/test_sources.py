"""What the sets of the paper's source domains read of their official files."""

import json

import pytest

from kintune.data.catalog import list_images

from .conftest import refusal, rows

SYNSETS = ("n01440764", "n01443537")


@pytest.mark.parametrize("name", ["imagenet", "imagenet:flat"])
def test_imagenet_by_synset_and_its_validation_split_as_the_test(named_tree, name):
    first, second = SYNSETS
    train = [
        ("train", synset, f"train/{synset}/{synset}_{number}.JPEG")
        for synset in SYNSETS
        for number in (10026, 9)
    ]
    flat = name == "imagenet:flat"  # the kit says 2, 1, and its 2 is the first synset
    test = [
        ("test", first, f"val/{'' if flat else f'{first}/'}ILSVRC2012_val_00000001.JPEG"),
        ("test", second, f"val/{'' if flat else f'{second}/'}ILSVRC2012_val_00000002.JPEG"),
    ]
    assert rows(named_tree(name)) == [*train, *test]


def test_imagenet_flat_needs_the_development_kit(tree):
    root = tree("imagenet:flat")
    (root / "ILSVRC2012_devkit_t12").rename(root / "kit")
    message = refusal(f"paper:imagenet={root}")
    assert ": has no meta.mat, no ILSVRC2012_validation_ground_truth.txt.\n" in message
    assert "ILSVRC2012_devkit_t12.tar.gz" in message


def test_imagenet_in_the_folders_of_its_challenge(tree, tmp_path):
    root = tree("imagenet")
    inner = tmp_path / "challenge" / "ILSVRC" / "Data" / "CLS-LOC"
    inner.parent.mkdir(parents=True)
    root.rename(inner)
    assert len(rows(f"paper:imagenet={tmp_path / 'challenge'}")) == 6


def test_imagenet_with_a_class_that_is_only_validated(tree):
    root = tree("imagenet")
    (root / "train" / SYNSETS[0]).rename(root / SYNSETS[0])
    assert f"classes that train does not have: test/{SYNSETS[0]}" in refusal(
        f"paper:imagenet={root}"
    )


def test_places_follows_its_lists(named_tree):
    assert rows(named_tree("places365")) == [
        ("train", "airfield", "data_256/a/airfield/00000001.jpg"),
        ("train", "bus_station/indoor", "data_256/b/bus_station/indoor/00000001.jpg"),
        ("test", "airfield", "val_256/Places365_val_00000002.jpg"),
        ("test", "bus_station/indoor", "val_256/Places365_val_00000001.jpg"),
    ]


def test_places_as_class_folders(named_tree):
    found = rows(named_tree("places365:easy"))
    assert [(split, label) for split, label, _ in found] == [
        *[("train", "airfield")] * 2,
        *[("train", "bus_station-indoor")] * 2,
        ("test", "airfield"),
        ("test", "bus_station-indoor"),
    ]


def test_inaturalist_trains_on_nine_tenths_of_validation_too(named_tree):
    source = named_tree("inat2017")
    found = rows(source)
    assert len(found) == 24
    # The greatest two of `printf "0 FILE" | sha256sum` over the validation images.
    assert [path for split, _, path in found if split == "test"] == [
        f"train_val_images/Plantae/Rosa canina/val{number}.jpg" for number in ("02", "10")
    ]
    assert {label for _, label, _ in found} == {"Plantae/Rosa canina", "Aves/Pica pica"}
    assert all(path.startswith(f"train_val_images/{label}/") for _, label, path in found)
    assert rows(source) == found
    assert list_images(source).notes[0] == (
        "test: 2 of the 20 official validation images, a tenth of it, drawn with seed 0, for there "
        "is no inat_minival.txt"
    )


def test_inaturalist_tests_on_the_images_of_a_list(tree):
    root = tree("inat2017")
    listed = [f"train_val_images/Plantae/Rosa canina/val{index:02d}.jpg" for index in (18, 4, 0)]
    (root / "inat_minival.txt").write_text("\n".join(listed))
    source = f"paper:inat2017={root}"
    assert [path for split, _, path in rows(source) if split == "test"] == sorted(listed)
    assert "those of inat_minival.txt" in list_images(source).notes[0]
    (root / "inat_minival.txt").write_text("train_val_images/Plantae/Rosa canina/train00.jpg")
    assert refusal(source).startswith("val2017.json: has nothing for 'train_val_images/Plantae/")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "train2017.json: is damaged or no JSON (Expecting property name"),
        ("[]", "train2017.json: is no such list of images, categories and annotations: "),
        ('{"images": []}', "train2017.json: is no such list of images, categories and annotation"),
    ],
)
def test_inaturalist_lists_that_are_none(tree, text, message):
    root = tree("inat2017")
    (root / "train2017.json").write_text(text)
    assert refusal(f"paper:inat2017={root}").startswith(message)


def test_inaturalist_images_without_a_class(tree):
    root = tree("inat2017")
    content = json.loads((root / "val2017.json").read_text())
    del content["annotations"][3]
    (root / "val2017.json").write_text(json.dumps(content))
    assert refusal(f"paper:inat2017={root}").startswith(
        "val2017.json: is no such list of images, categories and annotations: KeyError(1003)"
    )
