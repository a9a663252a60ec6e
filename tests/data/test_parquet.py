"""Parquet files of images become a listing like any other."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from kintune.base.errors import DataError
from kintune.data.catalog import list_images
from kintune.data.load import load_dataset
from kintune.testing import ReaderSuite

NAMES = ["dog", "cat/kitten"]


@pytest.fixture
def write_parquet(tmp_path, write_images):
    """Writes a parquet file of two images for each label."""
    images = write_images(tmp_path / "images", {"x": 2})
    contents = [path.read_bytes() for path in sorted(images.rglob("*.png"))]

    def write(name, labels, names=None):
        rows = {
            "image": [{"bytes": content, "path": None} for _ in labels for content in contents],
            "label": [label for label in labels for _ in contents],
        }
        table = pa.table(rows)
        if names:
            info = {"info": {"features": {"label": {"names": names}}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
        (tmp_path / "set").mkdir(exist_ok=True)
        parquet.write_table(table, tmp_path / "set" / name)
        return tmp_path / "set"

    return write


class TestParquet(ReaderSuite):
    @pytest.fixture
    def source(self, write_parquet):
        write_parquet("test.parquet", [0], NAMES)
        return str(write_parquet("train.parquet", [0, 1], NAMES))


def test_splits_labels_and_bytes_are_those_of_the_files(write_parquet, tmp_path):
    write_parquet("train-00000-of-00002.parquet", [0, 1], NAMES)
    write_parquet("train-00001-of-00002.parquet", [1], NAMES)
    listing = list_images(write_parquet("test.parquet", [0], NAMES))
    assert (listing.name, listing.classes) == ("set", ("cat/kitten", "dog"))
    assert [(entry.split, entry.label) for entry in listing.entries] == [
        *[("train", "cat/kitten")] * 4,
        *[("train", "dog")] * 2,
        *[("test", "dog")] * 2,
    ]
    assert Path(listing.entries[-1].path).read_bytes() == (tmp_path / "images/x/1.png").read_bytes()


def test_labels_without_names_are_themselves(write_parquet):
    assert list_images(write_parquet("train.parquet", ["b", "a"])).classes == ("a", "b")
    assert list_images(write_parquet("train.parquet", [7, 5])).classes == ("5", "7")


def test_other_columns_are_named(tmp_path):
    parquet.write_table(pa.table({"img": [1], "fine_label": [2]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match="needs the columns image and label, has img, fine_label"):
        list_images(tmp_path)


def test_a_file_of_no_split_and_a_file_of_no_parquet_are_named(write_parquet):
    folder = write_parquet("all.parquet", [0, 1])
    with pytest.raises(
        DataError, match=r"all\.parquet: its name must begin with train, val or test"
    ):
        list_images(folder)
    (folder / "all.parquet").rename(folder / "train.parquet")
    (folder / "train.parquet").write_bytes(b"text, and long enough")
    with pytest.raises(DataError, match=r"train\.parquet: is not a parquet file"):
        list_images(folder)


@pytest.mark.parametrize("label", [None, -1])
def test_images_without_a_label_are_refused(write_parquet, label):
    with pytest.raises(DataError, match=r"train\.parquet: holds images without a label"):
        list_images(write_parquet("train.parquet", [0, label], NAMES))


def test_any_name_is_a_class_of_its_own(write_parquet):
    names = ["a/b", "a_b", "..", ".hidden", "x" * 300]
    assert list_images(write_parquet("train.parquet", names)).classes == tuple(sorted(names))


@pytest.mark.parametrize(
    ("label", "message"),
    [("", r"train\.parquet: '' cannot name a class"), ("a\0b", r"a\\x00b")],
)
def test_labels_that_are_no_names_are_refused(write_parquet, label, message):
    with pytest.raises(DataError, match=message):
        list_images(write_parquet("train.parquet", ["cat", label]))


def test_two_classes_of_one_name_are_refused(write_parquet):
    with pytest.raises(DataError, match="class names hold cat more than once"):
        list_images(write_parquet("train.parquet", [0, 1], ["cat", "cat"]))


def test_what_lies_beside_the_files_is_said(write_parquet):
    folder = write_parquet("train.parquet", [0, 1], NAMES)
    (folder / "README.md").touch()
    (folder / "more").mkdir()
    assert list_images(folder).notes == ("did not read more/, README.md",)


@pytest.mark.parametrize("label", [2, -2])
def test_a_label_without_a_name_is_refused(write_parquet, label):
    with pytest.raises(DataError, match=f"label {label} is none of its 2 class names"):
        list_images(write_parquet("train.parquet", [0, label], NAMES))


@pytest.mark.parametrize("image", [None, {"bytes": None, "path": "x.png"}])
def test_rows_without_an_image_are_refused(tmp_path, image):
    images = [{"bytes": b"x", "path": None}, image]
    parquet.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"train\.parquet: holds rows without an image"):
        list_images(tmp_path)


@pytest.mark.parametrize("image", [b"\x89PNG", {"path": "x.png"}])
def test_a_column_of_another_kind_is_named(tmp_path, image):
    parquet.write_table(pa.table({"image": [image], "label": [0]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match="column image must be a struct"):
        list_images(tmp_path)


def test_a_file_that_is_damaged_inside_leaves_nothing(write_parquet, cache):
    folder = write_parquet("train.parquet", [0, 1], NAMES)
    file = folder / "train.parquet"
    content = bytearray(file.read_bytes())
    content[4:400] = bytes(396)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.parquet: is damaged"):
        list_images(folder)
    assert list((cache / "datasets").iterdir()) == []


@pytest.mark.parametrize("damage", ["image", "classes.json"])
def test_unpacked_images_that_are_damaged_are_unpacked_again(write_parquet, cache, capsys, damage):
    folder = write_parquet("train.parquet", [0, 1], NAMES)
    listing = list_images(folder)
    if damage == "image":
        Path(listing.entries[0].path).unlink()
    else:
        [names] = cache.glob("datasets/*/classes.json")
        names.write_text(names.read_text().replace("dog", "dig"))
    assert list_images(folder) == listing
    assert Path(listing.entries[0].path).is_file()
    assert "the images are unpacked again" in capsys.readouterr().err


def test_changed_bytes_of_unpacked_images_are_seen_by_verifying(write_parquet, spec, capsys):
    folder = write_parquet("train.parquet", [0, 1], NAMES)
    dataset = load_dataset(folder, spec)
    image = Path(dataset.paths[0])
    image.write_bytes(Path(dataset.paths[-1]).read_bytes())
    again = load_dataset(folder, spec, verify=True)
    assert again.content_hash == dataset.content_hash
    assert image.name in capsys.readouterr().err


def test_a_file_that_is_not_regular_is_named(write_parquet):
    folder = write_parquet("train.parquet", [0, 1], NAMES)
    os.mkfifo(folder / "test.parquet")
    with pytest.raises(DataError, match=r"test\.parquet: is not a regular file"):
        list_images(folder)
