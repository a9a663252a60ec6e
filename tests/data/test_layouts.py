"""Which folders are splits, which are classes, and what is said about everything else."""

import os
from collections import Counter

import pytest

from kintune.base.errors import DataError
from kintune.base.progress import printable
from kintune.data.catalog import list_images
from kintune.data.split_names import split_named
from kintune.runs import OUTPUT_MARK


@pytest.fixture
def layout(tmp_path):
    """Writes two empty image files into each folder named; readers open none."""

    def write(*folders):
        for folder in folders:
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            for index in range(2):
                (tmp_path / folder / f"{index}.jpg").touch()
        return tmp_path

    return write


def splits(listing):
    return {
        split: sorted({entry.label for entry in listing.entries if entry.split == split})
        for split in dict.fromkeys(entry.split for entry in listing.entries)
    }


def refusal(source):
    with pytest.raises(DataError) as error:
        list_images(source)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *[("Training", "train"), ("dev", "val"), ("VALID", "val"), ("test-set", "test")],
        ("Validate", "val"),
        *[("seg_train", "train"), ("test1", "test"), ("TrainImages", "train"), ("val2017", "val")],
        *[("invalid", None), ("latest", None), ("devices", None), ("train_test", None)],
    ],
)
def test_a_name_means_a_split_by_a_whole_word(name, split):
    found = split_named(name)
    assert (found and found.split) == split


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Training", "Validation", "Testing"),
        ("train", "dev", "test"),
        ("trainset", "valset", "testset"),
        ("seg_train", "seg_val", "seg_test"),
        ("train2017", "val2017", "test2017"),
        ("TrainImages", "ValImages", "TestImages"),
        ("train", "valid", "test1"),
    ],
)
def test_splits_under_other_names_are_splits_and_said(layout, train, val, test):
    listing = list_images(
        layout(*(f"{part}/{name}" for part in (train, val, test) for name in "ab"))
    )
    assert splits(listing) == {"train": ["a", "b"], "val": ["a", "b"], "test": ["a", "b"]}
    usual = ("train", "valid", "Validation", "test")
    unusual = [name for name in (train, val, test) if name not in usual]
    assert all(f"{name}/ as " in listing.notes[0] for name in unusual)


def test_a_split_may_be_held_twice(layout):
    root = layout("seg_train/seg_train/a", "seg_train/seg_train/b", "seg_test/seg_test/a")
    assert splits(list_images(root)) == {"train": ["a", "b"], "test": ["a"]}


@pytest.mark.parametrize(
    "classes",
    [
        ("bus", "car", "train"),
        ("bus_station", "test_tube", "train_station"),
        ("bus_station/in", "bus_station/out", "train_station/in", "train_station/out"),
        ("invalid", "latest"),
    ],
)
def test_a_class_may_be_called_like_a_split(layout, classes):
    listing = list_images(layout(*classes))
    assert listing.classes == tuple(sorted({name.partition("/")[0] for name in classes}))


def test_within_a_split_every_name_is_a_class(layout):
    listing = list_images(layout("train/train", "train/test", "test/train", "test/test"))
    assert splits(listing) == {"train": ["test", "train"], "test": ["test", "train"]}


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train", "test"), "test/ and train/ are called like a split, and train has no class"),
        (("trainA", "trainB", "testA", "testB"), "testA/ and trainA/ are called like a split"),
        (("cat", "dog", "test"), "has test/ but no train/"),
        (("control", "test"), "If test/ is meant as a class"),
        (("train_1/a", "train_1/b", "train_2/a", "train_2/b"), "both train_1/ and train_2/ name"),
        (("cat/train", "cat/test", "dog/train", "dog/test"), "/cat: holds test/ and train/"),
        (("x/train/a", "x/test/a", "y/train/a", "y/test/a"), "/x: holds test/ and train/"),
    ],
)
def test_names_that_contradict_the_layout_are_refused(layout, folders, message):
    assert message in refusal(layout(*folders))


def test_classes_that_hold_folders_of_the_same_names_are_said(layout):
    listing = list_images(layout("images/a", "images/b", "more/a", "more/b"))
    assert listing.classes == ("images", "more")
    assert (
        "images/, more/ as classes, though they hold folders of the same names" in listing.notes[0]
    )


@pytest.mark.parametrize(
    ("test_images", "note"),
    [
        (["test"], "ignored 2 images in {root}/test that"),
        ([], "test/ holds no images; there is no"),
    ],
)
def test_a_test_folder_without_labels_is_said(layout, test_images, note):
    root = layout("train/a", "train/b", *test_images)
    (root / "test").mkdir(exist_ok=True)
    (root / "test/a").mkdir()
    listing = list_images(root)
    assert splits(listing) == {"train": ["a", "b"]}
    assert any(note.format(root=root) in each and "no test split" in each for each in listing.notes)


def test_folders_beside_splits_and_classes_absent_from_a_split_are_said(layout):
    notes = "; ".join(list_images(layout("train/a", "train/b", "test/a", "extra/x")).notes)
    assert "did not read the folders beside the splits: extra/ (2 images)" in notes
    assert "test has no images of 1 of 2 classes: b" in notes


def test_formats_that_are_not_read_are_named(layout):
    root = layout("a", "b")
    for name in ("b/IMG_1.HEIC", "a/notes.txt", "README.md"):
        (root / name).touch()
    notes = "; ".join(list_images(root).notes)
    assert "ignored 1 image file that Kintune does not read (.heic 1)" in notes
    assert f"for example {root}/b/IMG_1.HEIC" in notes
    assert "ignored 2 non-image files (" in notes


def test_links_are_followed_but_not_in_circles(layout, tmp_path_factory):
    root = layout("a", "b")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "0.jpg").touch()
    (root / "b/linked").symlink_to(elsewhere)
    (root / "a/up").symlink_to("..")
    (root / "self").symlink_to(".")
    listing = list_images(root)
    assert Counter(entry.label for entry in listing.entries) == {"a": 2, "b": 3}
    assert listing.notes == ("passed over links to a folder that holds them: self/, a/up/",)


@pytest.mark.parametrize("name", ["c", "a/sub", "a/v1.0"])
def test_a_link_to_nothing_is_named(layout, name):
    root = layout("a", "b")
    (root / name).symlink_to("/nowhere")
    message = refusal(root)
    assert "cannot be reached" in message
    assert f"{root}/{name}" in message


@pytest.mark.parametrize("closed", ["a", "b/deep/er"])
def test_a_folder_that_cannot_be_listed_is_named(layout, monkeypatch, closed):
    root = layout("a", "b/deep/er")
    scandir = os.scandir

    def denied(place):
        if str(place) == f"{root}/{closed}":
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", denied)
    assert f"{root}/{closed}: Permission denied" in refusal(root)


@pytest.mark.parametrize("place", ["runs/photos-1", "out", "a/out"])
def test_what_kintune_wrote_is_passed_over(layout, place):
    root = layout("a", "b", f"{place}/model")
    (root / place / OUTPUT_MARK).touch()
    (root / place).with_name("notes.txt").touch()
    listing = list_images(root)
    assert splits(listing) == {"train": ["a", "b"]}
    assert len(listing.entries) == 4
    assert any(f"wrote: {place.partition('/photos')[0]}/" in note for note in listing.notes)


def test_a_folder_of_an_earlier_version_and_the_cache_are_passed_over(layout, monkeypatch):
    root = layout("a", "b", "old", "cache/datasets/x")
    (root / "old/config.json").write_text('{"data_sha256": "1"}')
    monkeypatch.setenv("KINTUNE_CACHE", str(root / "cache"))
    assert list_images(root).classes == ("a", "b")


@pytest.mark.parametrize("name", [b"gr\xf6\xdfe", b"a/\xe9.jpg", b"b\nb"])
def test_names_that_are_not_text_on_one_line_are_refused(layout, name):
    root = layout("a", "b")
    path = root / os.fsdecode(name)
    path.touch() if path.suffix else path.mkdir()
    assert printable(os.fsdecode(name)) in refusal(root)


def test_names_that_look_the_same_are_refused_and_similar_ones_said(layout):
    assert r"'cafe\u0301' and 'caf\xe9'" in refusal(layout("nf/caf\u00e9", "nf/cafe\u0301") / "nf")
    assert (
        "names Cat and cat differ only in case"
        in list_images(layout("c/Cat", "c/cat") / "c").notes[0]
    )
    assert "test/cat differs from Cat only in case" in refusal(
        layout("s/train/Cat", "s/train/b", "s/test/cat") / "s"
    )


def test_a_name_that_is_too_long_is_refused():
    assert "File name too long" in refusal("a" * 300)
