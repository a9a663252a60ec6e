"""What each target set reads of its official files: splits, classes, files, and what is missing."""

import numpy as np
import pytest
from numpy.lib.recfunctions import repack_fields
from scipy.io import loadmat, savemat

from kintune.data.catalog import list_images

from .conftest import refusal, rows


def test_caltech_draws_sixty_of_each_class_and_leaves_clutter_out(named_tree):
    found = rows(named_tree("caltech256"))
    counts = {}
    for split, label, _ in found:
        counts[split, label] = counts.get((split, label), 0) + 1
    assert counts == {
        ("train", "001.ak47"): 60,
        ("train", "002.american-flag"): 60,
        ("test", "001.ak47"): 2,
        ("test", "002.american-flag"): 1,
    }
    # The greatest two of `printf "0 001_0001.jpg" | sha256sum` and so on: f90750cc and fa092002.
    assert [path for split, label, path in found if (split, label) == ("test", "001.ak47")] == [
        "256_ObjectCategories/001.ak47/001_0048.jpg",
        "256_ObjectCategories/001.ak47/001_0050.jpg",
    ]


def test_caltechs_draw_in_a_class_does_not_depend_on_the_others(tree):
    root = tree("caltech256")
    before = list_images(f"paper:caltech256={root}").entries
    (root / "256_ObjectCategories" / "002.american-flag").rename(root / "kept")
    alone = list_images(f"paper:caltech256={root}", for_training=False).entries
    assert alone == tuple(entry for entry in before if entry.label == "001.ak47")


def test_caltech_says_what_the_paper_prints(named_tree):
    assert list_images(named_tree("caltech256")).notes[0] == (
        "training: 60 images of each of 2 classes, drawn with seed 0; test: the other 3. The paper "
        "prints 15,189 test images; its 256 classes hold 29,780 images, which leaves 14,420."
    )


def test_caltech_needs_more_than_sixty_images(tree):
    root = tree("caltech256")
    folder = root / "256_ObjectCategories" / "002.american-flag"
    (folder / "002_0007.jpg").unlink()
    assert refusal(f"paper:caltech256={root}").startswith(
        "256_ObjectCategories/002.american-flag: holds 60 .jpg files. 60 are drawn for training"
    )


def test_cub_follows_its_four_lists(named_tree):
    assert rows(named_tree("cub200")) == [
        (split, label, f"CUB_200_2011/images/{label}/{file}")
        for split, label, file in [
            ("train", "001.Black_footed_Albatross", "Black_Footed_Albatross_0009_34.jpg"),
            ("train", "002.Laysan_Albatross", "Laysan_Albatross_0003_1033.jpg"),
            ("test", "001.Black_footed_Albatross", "Black_Footed_Albatross_0046_18.jpg"),
            ("test", "002.Laysan_Albatross", "Laysan_Albatross_0002_1027.jpg"),
        ]
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train_test_split.txt", "1 0\n2 1\n3 0\n", "train_test_split.txt: has nothing for '4'"),
        ("train_test_split.txt", "1 0\n2 1\n3 0\n4 x", "train_test_split.txt: has nothing for 'x'"),
        ("image_class_labels.txt", "1 1\n2 1\n3 2\n4 9", "classes.txt: has nothing for '9'"),
        ("classes.txt", "1\n2 b", "classes.txt: has the line '1', where two fields are expected"),
        ("images.txt", "\n", "images.txt: is empty."),
        ("images.txt", None, ": has no images.txt. Needed: images, images.txt, image_class_"),
    ],
)
def test_cub_lists_that_do_not_fit(tree, name, text, message):
    root = tree("cub200")
    path = root / "CUB_200_2011" / name
    path.unlink() if text is None else path.write_text(text)
    assert refusal(f"paper:cub200={root}").startswith("CUB_200_2011")
    assert message in refusal(f"paper:cub200={root}")


def test_dogs_follow_their_two_lists(named_tree):
    assert rows(named_tree("stanford-dogs")) == [
        (split, file.partition("/")[0], f"Images/{file}")
        for split, file in [
            ("train", "n02085620-Chihuahua/n02085620_5927.jpg"),
            ("train", "n02085782-Japanese_spaniel/n_1.jpg"),
            ("test", "n02085620-Chihuahua/n02085620_2650.jpg"),
            ("test", "n02085782-Japanese_spaniel/n_2.jpg"),
        ]
    ]


def test_dogs_lists_may_lie_in_a_folder_of_their_own(tree):
    root = tree("stanford-dogs")
    before = rows(f"paper:stanford-dogs={root}")
    (root / "lists").mkdir()
    for path in root.glob("*.mat"):
        path.rename(root / "lists" / path.name)
    assert rows(f"paper:stanford-dogs={root}") == before


def test_cars_follow_the_development_kit(named_tree):
    hummer, ram = "AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"
    assert rows(named_tree("stanford-cars")) == [
        ("train", hummer, "stanford_cars/cars_train/00002.jpg"),
        ("train", ram, "stanford_cars/cars_train/00001.jpg"),
        ("test", hummer, "stanford_cars/cars_test/00001.jpg"),
        ("test", ram, "stanford_cars/cars_test/00002.jpg"),
    ]


def test_cars_test_labels_may_lie_in_the_kit(tree):
    root = tree("stanford-cars")
    before = rows(f"paper:stanford-cars={root}")
    name = "cars_test_annos_withlabels.mat"
    (root / "stanford_cars" / name).rename(root / "stanford_cars" / "devkit" / name)
    assert rows(f"paper:stanford-cars={root}") == before


def test_cars_without_test_labels_name_the_file_that_has_them(tree):
    root = tree("stanford-cars")
    folder = root / "stanford_cars"
    (folder / "cars_test_annos_withlabels.mat").unlink()
    assert refusal(f"paper:stanford-cars={root}").startswith(
        "stanford_cars: has no cars_test_annos_withlabels.mat."
    )


def test_cars_annotations_of_the_kit_have_no_class(tree):
    root = tree("stanford-cars")
    path = root / "stanford_cars" / "cars_test_annos_withlabels.mat"
    annotations = loadmat(path)["annotations"]
    unlabelled = [name for name in annotations.dtype.names if name != "class"]
    savemat(path, {"annotations": repack_fields(annotations[unlabelled])})
    assert refusal(f"paper:stanford-cars={root}").startswith(
        "stanford_cars/cars_test_annos_withlabels.mat: its annotations has no field class."
    )


def test_aircraft_train_on_training_and_validation(named_tree):
    assert rows(named_tree("fgvc-aircraft")) == [
        (split, label, f"fgvc-aircraft-2013b/data/images/{number}.jpg")
        for split, label, number in [
            ("train", "Boeing 707-320", "1025794"),
            ("train", "F/A-18", "0034309"),
            ("train", "F/A-18", "0056978"),
            ("test", "Boeing 707-320", "0450014"),
            ("test", "F/A-18", "0062765"),
        ]
    ]


def test_flowers_train_on_training_and_validation(named_tree):
    assert rows(named_tree("flowers102")) == [
        (split, label, f"flowers-102/jpg/image_{number:05d}.jpg")
        for split, label, number in [
            ("train", "001", 3),
            ("train", "001", 6),
            ("train", "001", 7),
            ("train", "077", 1),
            ("test", "001", 4),
            ("test", "077", 2),
            ("test", "077", 5),
        ]
    ]


def test_flowers_without_a_label_for_an_image(tree):
    root = tree("flowers102")
    savemat(root / "flowers-102" / "imagelabels.mat", {"labels": np.array([[77, 77, 1]])})
    assert refusal(f"paper:flowers102={root}").startswith(
        "flowers-102/imagelabels.mat: has nothing for 6, which another list names."
    )


def test_indoor_follows_its_two_lists(named_tree):
    assert rows(named_tree("mit-indoor67")) == [
        ("train", "gameroom", "Images/gameroom/b.jpg"),
        ("train", "gameroom", "Images/gameroom/bt_132294gameroom2.jpg"),
        ("train", "poolinside", "Images/poolinside/n.jpg"),
        ("test", "poolinside", "Images/poolinside/t.jpg"),
    ]


def test_indoor_lists_must_name_class_folders(tree):
    root = tree("mit-indoor67")
    (root / "TestImages.txt").write_text("404 not found")
    assert refusal(f"paper:mit-indoor67={root}").startswith(
        "TestImages.txt: has the line '404 not found', where CLASS/FILE is expected."
    )
