"""From a source to an `ImageDataset`."""

import shutil

import numpy as np
import pytest
from PIL import Image

from kintune.base.errors import DataError, OptionError
from kintune.data import UnreadableFile, load_dataset, load_unsplit
from kintune.data.decode import ImageScale


@pytest.fixture
def photos(tmp_path, write_images):
    return write_images(tmp_path / "photos", {"train/cat": 10, "train/dog": 5, "test/dog": 3})


def test_a_data_set_is_complete(photos, spec, pixels_of):
    dataset = load_dataset(photos, spec)
    assert (dataset.name, dataset.source) == ("photos", str(photos))
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.paths) == len(dataset.images) == 18
    assert dataset.labels.dtype == np.int64
    assert dataset.skipped == ()
    for path, label, pixels in zip(dataset.paths, dataset.labels, dataset.images, strict=True):
        assert f"/{dataset.classes[label]}/" in path
        assert np.array_equal(pixels, pixels_of(path, ImageScale(16, "bilinear")))


def test_validation_is_drawn_from_training_and_said(photos, spec):
    dataset = load_dataset(photos, spec)
    assert sorted(np.concatenate(list(dataset.splits.values()))) == list(range(18))
    assert np.bincount(dataset.labels_of("train")).tolist() == [8, 4]
    assert np.bincount(dataset.labels_of("val")).tolist() == [2, 1]
    assert {dataset.paths[index].split("/")[-3] for index in dataset.splits["test"]} == {"test"}
    assert dataset.notes == (
        "test has no images of 1 of 2 classes: cat",
        "validation: 3 of 15 training images, 20 % of each class, drawn with seed 0",
    )


def test_no_validation_is_drawn_where_none_is_wanted(photos, spec, write_images):
    write_images(photos, {"train/ant": 1})
    dataset = load_dataset(photos, spec, val_fraction=None)
    assert np.bincount(dataset.labels_of("train")).tolist() == [1, 10, 5]
    assert dataset.splits["val"].tolist() == []
    assert not any("validation" in note for note in dataset.notes)


def test_a_class_without_images_is_named(photos, spec, write_images):
    write_images(photos, {"train/ant": 0})
    with pytest.raises(DataError, match=r"fewer than 1 usable training images: ant \(0\)"):
        load_dataset(photos, spec, val_fraction=None)


def test_a_given_validation_split_is_kept(photos, spec, write_images):
    write_images(photos, {"val/cat": 4, "train/ant": 1})
    dataset = load_dataset(photos, spec)
    assert {key: len(value) for key, value in dataset.splits.items()} == {
        "train": 16,
        "val": 4,
        "test": 3,
    }
    assert dataset.notes[-1] == "validation: the 4 images of the validation split"


def test_the_same_file_in_two_splits_is_said(photos, spec):
    for index in range(2):
        shutil.copy(photos / f"train/dog/{index}.png", photos / f"test/dog/copy{index}.png")
    note = load_dataset(photos, spec, val_fraction=None).notes[-1]
    assert note.startswith("warning: 2 of 5 images of test are the same as images of train")
    assert f"{photos}/test/dog/copy0.png (test) and {photos}/train/dog/0.png (train)" in note


def test_the_same_image_in_another_format_is_said(photos, spec):
    with Image.open(photos / "train/dog/0.png") as image:
        image.save(photos / "test/dog/copy.bmp")
    note = load_dataset(photos, spec, val_fraction=None).notes[-1]
    assert note.startswith("warning: 1 of 4 images of test are the same as images of train")


def test_different_images_of_16_bits_are_not_taken_for_the_same(photos, spec):
    for split, value in (("train", 100), ("test", 101)):  # both 0 in 8 bits
        levels = np.full((20, 24), value, np.uint16)
        Image.fromarray(levels).save(photos / split / "dog/deep.png")
    notes = load_dataset(photos, spec, val_fraction=None).notes
    assert not any("warning" in note for note in notes)


def test_the_same_file_twice_may_be_drawn_apart_which_is_said(photos, spec):
    for index in range(1, 5):
        shutil.copy(photos / "train/dog/0.png", photos / f"train/dog/{index}.png")
    note = load_dataset(photos, spec).notes[-1]
    assert note.startswith("warning: 1 of 3 images of val are the same as images of train")


def test_what_was_passed_over_is_said_where_a_class_is_empty(photos, spec):
    (photos / "train/ant").mkdir()
    (photos / "train/ant/0.HEIC").touch()
    with pytest.raises(DataError, match=r"ant \(0\)(.|\n)*does not read \(\.heic 1\)"):
        load_dataset(photos, spec)


def test_without_a_test_split_it_is_empty(tmp_path, spec, write_images):
    dataset = load_dataset(write_images(tmp_path, {"a": 3, "b": 3}), spec)
    assert dataset.splits["test"].tolist() == []


def test_the_content_hash_follows_the_content(photos, spec, tmp_path):
    first = load_dataset(photos, spec).content_hash
    assert load_dataset(photos, spec).content_hash == first
    assert load_dataset(photos, spec, seed=1).content_hash != first
    assert load_dataset(photos, spec, val_fraction=0.4).content_hash != first
    photos.rename(tmp_path / "elsewhere")
    assert load_dataset(tmp_path / "elsewhere", spec).content_hash == first
    cat, dog = (tmp_path / "elsewhere" / "train" / name / "4.png" for name in ("cat", "dog"))
    cat_bytes = cat.read_bytes()
    cat.write_bytes(dog.read_bytes())
    dog.write_bytes(cat_bytes)
    assert load_dataset(tmp_path / "elsewhere", spec).content_hash != first


def break_files(photos):
    text, short = photos / "train/cat/3.png", photos / "test/dog/1.png"
    text.write_text("a text")
    short.write_bytes(short.read_bytes()[:300])
    return text, short


def test_unreadable_files_stop_with_the_list_of_all(photos, spec):
    text, short = break_files(photos)
    with pytest.raises(DataError) as error:
        load_dataset(photos, spec)
    message = str(error.value)
    assert "2 of 18 files cannot be read as images" in message
    assert f"{text}: not an image of a known format" in message
    assert f"{short}: " in message
    assert "--skip-unreadable" in message


def test_unreadable_files_are_left_out_on_request_and_recorded(photos, spec, pixels_of):
    text, short = break_files(photos)
    dataset = load_dataset(photos, spec, skip_unreadable=True)
    assert [file.path for file in dataset.skipped] == [str(text), str(short)]
    assert dataset.skipped[0] == UnreadableFile(
        path=str(text), reason="not an image of a known format"
    )
    assert len(dataset.paths) == len(dataset.images) == 16
    assert not {str(text), str(short)} & set(dataset.paths)
    assert "left out 2 unreadable files" in dataset.notes
    for path, pixels in zip(dataset.paths, dataset.images, strict=True):
        assert np.array_equal(pixels, pixels_of(path, ImageScale(16, "bilinear")))


@pytest.mark.parametrize(("count", "shown"), [(0, "ant (0)"), (1, "ant (1)")])
def test_a_class_too_small_to_validate_is_named(photos, spec, write_images, count, shown):
    write_images(photos, {"train/ant": count})
    with pytest.raises(DataError, match="fewer than 2 usable training images") as error:
        load_dataset(photos, spec)
    assert shown in str(error.value)


def test_skipping_must_leave_enough_of_each_class(photos, spec):
    for index in range(4):
        (photos / f"train/dog/{index}.png").write_text("a text")
    with pytest.raises(DataError, match=r"fewer than 2 usable training images: dog \(1\)"):
        load_dataset(photos, spec, skip_unreadable=True)


def test_nothing_readable_lists_all(photos, spec):
    for path in photos.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="18 of 18 files"):
        load_dataset(photos, spec)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_the_share_of_validation_is_a_fraction(photos, spec, fraction):
    with pytest.raises(OptionError, match=r"val_fraction is .* between 0 and 1"):
        load_dataset(photos, spec, val_fraction=fraction)


def test_what_is_only_measured_needs_no_second_image_and_no_classes(tmp_path, write_images, spec):
    write_images(tmp_path / "single", {"a": 1, "b": 1})
    write_images(tmp_path / "flat", {"": 3})
    single = load_unsplit(tmp_path / "single", spec)
    assert (single.classes, single.is_labeled) == (("a", "b"), True)
    assert (len(single.splits["train"]), len(single.splits["val"])) == (2, 0)
    flat = load_unsplit(tmp_path / "flat", spec)
    assert (flat.is_labeled, len(flat.splits["train"])) == (False, 3)
