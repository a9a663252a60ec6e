"""`check_dataset` names everything that is wrong, all at once."""

import shutil

import numpy as np
import pytest
from PIL import Image

from kintune.data import HealthReport, check_dataset


@pytest.fixture
def photos(tmp_path, write_images):
    return write_images(tmp_path, {"train/cat": 6, "train/dog": 6, "test/dog": 2})


def found(report, kind):
    return [problem for problem in report.problems if problem.kind == kind]


def test_a_healthy_set_has_no_problems(photos):
    report = check_dataset(photos)
    assert report.problems == ()
    assert report.counts == {
        "classes": 2,
        "images": 14,
        "train": 12,
        "val": 0,
        "test": 2,
        "unreadable": 0,
        "duplicate": 0,
        "leak": 0,
        "tiny_class": 0,
    }


def test_every_unreadable_file_is_named(photos):
    bad = [photos / "train/cat/0.png", photos / "train/dog/3.png", photos / "test/dog/1.png"]
    for path in bad:
        path.write_text("a text")
    problems = found(check_dataset(photos), "unreadable")
    assert {problem.paths for problem in problems} == {(str(path),) for path in bad}
    assert {problem.message for problem in problems} == {"not an image of a known format"}


def test_the_same_pixels_in_one_split_are_duplicates(photos):
    same = photos / "train/cat/0.png", photos / "train/cat/copy.bmp"
    with Image.open(same[0]) as image:
        image.save(same[1])
    (problem,) = check_dataset(photos).problems
    assert problem.kind == "duplicate"
    assert problem.paths == tuple(str(path) for path in same)
    assert problem.message == "the same image 2 times, class cat"


def test_a_duplicate_under_two_classes_names_both(photos):
    shutil.copy(photos / "train/cat/0.png", photos / "train/dog/copy.png")
    (problem,) = check_dataset(photos).problems
    assert problem.kind == "duplicate"
    assert problem.message == "the same image 2 times, classes cat and dog"


def test_an_image_in_train_and_test_is_a_leak(photos):
    shutil.copy(photos / "train/dog/0.png", photos / "test/dog/copy.png")
    (problem,) = check_dataset(photos).problems
    assert problem.kind == "leak"
    assert problem.message == "the same image in train and test, class dog"
    assert len(problem.paths) == 2


def test_nearly_the_same_is_not_the_same(photos):
    with Image.open(photos / "train/cat/0.png") as image:
        pixels = np.array(image)
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(photos / "train/cat/close.png")
    assert check_dataset(photos).problems == ()


def test_classes_under_five_images_are_tiny(photos, write_images):
    write_images(photos, {"train/ant": 4, "train/bee": 5})
    (photos / "train/bee/0.png").write_text("a text")
    messages = [problem.message for problem in found(check_dataset(photos), "tiny_class")]
    assert messages == ["class ant has 4 images that load", "class bee has 4 images that load"]


def test_the_report_survives_json(photos):
    (photos / "train/cat/0.png").write_text("a text")
    report = check_dataset(photos)
    assert HealthReport.model_validate(report.to_json()) == report
