"""Folders and tables: what is found, and one clear message for what does not fit."""

from pathlib import Path

import pytest

from kintune.base.errors import DataError
from kintune.data.catalog import list_images
from kintune.data.csv_table import read_csv
from kintune.data.readers import read_folder
from kintune.testing import ReaderSuite


class TestFolders(ReaderSuite):
    @pytest.fixture
    def source(self, tmp_path, write_images):
        return str(write_images(tmp_path / "a", {"train/cat": 3, "train/dog": 2, "test/dog": 1}))


class TestTables(ReaderSuite):
    @pytest.fixture
    def source(self, tmp_path, write_images):
        write_images(tmp_path, {"images": 3})
        rows = ("path,label", "images/2.png,cat", "images/0.png,dog", "images/1.png,cat")
        (tmp_path / "table.csv").write_text("\n".join(rows))
        return str(tmp_path / "table.csv")


def summary(listing, root):
    return [
        (entry.split, entry.label, entry.path.removeprefix(f"{root}/")) for entry in listing.entries
    ]


def test_a_flat_folder_is_all_training(tmp_path, write_images):
    write_images(tmp_path, {"dog": 1, "cat": 2})
    listing = read_folder(str(tmp_path))
    assert listing.classes == ("cat", "dog")
    assert summary(listing, tmp_path) == [
        ("train", "cat", "cat/0.png"),
        ("train", "cat", "cat/1.png"),
        ("train", "dog", "dog/0.png"),
    ]
    assert listing.notes == ()


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_split_folders(tmp_path, write_images, validation):
    write_images(
        tmp_path, {"train/a": 1, "train/b": 1, f"{validation}/a": 1, "test/b": 1, "extras/x": 1}
    )
    listing = read_folder(str(tmp_path))
    assert [entry.split for entry in listing.entries] == ["train", "train", "val", "test"]
    assert listing.classes == ("a", "b")


def test_images_may_lie_deeper_in_a_class(tmp_path, write_images):
    write_images(tmp_path, {"a/x": 1, "a/y": 1, "b": 1})
    assert [entry.label for entry in read_folder(str(tmp_path)).entries] == ["a", "a", "b"]


def test_hidden_and_system_files_are_passed_over(tmp_path, write_images):
    write_images(tmp_path, {"a": 1, "b": 1, ".ipynb_checkpoints": 1, "a/.hidden": 1, "__MACOSX": 1})
    for name in ("a/.DS_Store", "a/Thumbs.db", "a/._0.png"):
        (tmp_path / name).touch()
    listing = read_folder(str(tmp_path))
    assert len(listing.entries) == 2
    assert listing.notes == ()


def test_other_files_are_counted_and_named(tmp_path, write_images):
    write_images(tmp_path, {"a": 1, "b": 1, "": 2})
    for name in ("a/notes.txt", "b/more.TXT", "b/README"):
        (tmp_path / name).touch()
    notes = " ".join(read_folder(str(tmp_path)).notes)
    assert "ignored 3 non-image files (.txt 2, no extension 1)" in notes
    assert f"ignored 2 images in {tmp_path} that are in no class folder" in notes


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"": 3}, "holds 3 images but no class folders"),
        ({"a": 0, "b": 0}, "no images in its class folders a, b"),
        ({"train": 3}, "has no class folders"),
        ({"test/a": 1, "test/b": 1}, "has test/ but no train/"),
        ({"train/a": 0, "train/b": 0, "test/a": 1}, "no training images"),
        (
            {"train/a": 1, "train/b": 1, "test/c": 1, "val/d": 1},
            "classes that train does not have: test/c, val/d",
        ),
        ({"train/a": 1, "val/a": 1, "valid/a": 1}, "both val/ and valid/ name the val split"),
    ],
)
def test_folders_that_do_not_fit(tmp_path, write_images, counts, message):
    write_images(tmp_path, counts)
    with pytest.raises(DataError) as error:
        read_folder(str(tmp_path))
    assert str(error.value).startswith(f"{tmp_path}: ")
    assert message in str(error.value)


def test_a_folder_around_the_folder_is_pointed_at(tmp_path, write_images):
    write_images(tmp_path, {"photos/cat": 1, "photos/dog": 1})
    with pytest.raises(DataError, match=f"Did you mean {tmp_path}/photos?"):
        list_images(tmp_path)


@pytest.mark.parametrize("name", ["", "table.csv"])
def test_a_single_class_is_refused_only_for_training(tmp_path, write_images, name):
    write_images(tmp_path, {"a": 2})
    (tmp_path / "table.csv").write_text("path,label\na/0.png,a\na/1.png,a\n")
    with pytest.raises(DataError, match=r"only one class \(a\)"):
        list_images(tmp_path / name)
    assert list_images(tmp_path / name, for_training=False).classes == ("a",)


def test_a_flat_folder_is_unlabelled_and_only_to_be_measured(tmp_path, write_images):
    write_images(tmp_path / "flat", {"": 3})
    (tmp_path / "flat" / "notes.txt").touch()
    listing = list_images(tmp_path / "flat", for_training=False)
    assert not listing.is_labeled
    assert [Path(entry.path).name for entry in listing.entries] == ["0.png", "1.png", "2.png"]
    assert {entry.split for entry in listing.entries} == {"train"}
    assert "ignored 1 non-image file (" in listing.notes[0]
    with pytest.raises(DataError, match="3 images but no class folders"):
        list_images(tmp_path / "flat")


def test_no_images_names_the_extensions_found(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "photo.heic").touch()
    with pytest.raises(DataError, match=r"does not read \(\.heic 1\).*\.jpg"):
        read_folder(str(tmp_path))


@pytest.fixture
def table(tmp_path, write_images):
    """Writes a CSV beside six images."""
    write_images(tmp_path, {"images": 6})

    def write(text, encoding="utf-8"):
        (tmp_path / "data.csv").write_text(text, encoding=encoding)
        return str(tmp_path / "data.csv")

    return write


def test_a_table_without_splits(table, tmp_path):
    listing = read_csv(table(f"path,label\nimages/1.png,dog\n{tmp_path}/images/0.png, cat \n"))
    assert listing.name == "data"
    assert listing.classes == ("cat", "dog")
    assert summary(listing, tmp_path) == [
        ("train", "cat", "images/0.png"),
        ("train", "dog", "images/1.png"),
    ]


def test_a_table_with_splits_other_columns_and_a_byte_order_mark(table):
    rows = (
        "Path,Split,width,Label",
        "images/0.png,train,7,a",
        "images/1.png,TRAIN,7,b",
        "images/2.png,valid,7,a",
        "images/3.png,test,7,b",
    )
    listing = read_csv(table("\n".join(rows), encoding="utf-8-sig"))
    assert [entry.split for entry in listing.entries] == ["train", "train", "val", "test"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a header with the columns path,label and perhaps split"),
        ("photo,breed\nimages/0.png,a\n", "Found: photo, breed."),
        ("path;breed\nimages/0.png;a\n", "Found: path;breed."),
        ("path,label,label\nimages/0.png,a,b\n", "has the column label more than once"),
        ("path,class,category\nimages/0.png,a,b\n", "class and category may each be the classes"),
        ("path,label\n,a\n", "1 rows without a path, in lines 2."),
        ("path,label,is_test\nimages/0.png,a,0\nimages/1.png,b,1\n", "is_test looks like a split"),
        (
            "path,label,usage\nimages/0.png,a,Training\nimages/1.png,b,PublicTest\n",
            "usage looks like a split",
        ),
        (
            "path,label,phase\nimages/0.png,a,train\nimages/1.png,b,holdout\n",
            "phase looks like a split",
        ),
        (
            "path,label\n0.png,a\n1.png,b\n",
            "2 files that do not exist (did you mean images/0.png for the first?",
        ),
        ("path,label\n", "has a header and no rows"),
        ("path,label\nimages/0.png,\nimages/1.png,a\n", "1 rows without a label, in lines 2."),
        (
            "path,label\nimages/0.png,a,b\n",
            "another number of fields than the header's 2, in lines 2",
        ),
        ("path,label,split\nimages/0.png,a,7\n", "not train, val or test, in lines 2 (7)"),
        (
            "path,label\nimages/0.png,a\nimages/1.png,b\nimages/../images/0.png,a\n",
            "1 files named more than once:\n  {root}/images/0.png",
        ),
        (
            "path,label\nimages/0.png,a\nimages/9.png,b\n",
            "1 files that do not exist:\n  {root}/images/9.png",
        ),
        ("path,label,split\nimages/0.png,a,test\n", "no training images"),
        (
            "path,label,split\nimages/0.png,a,train\nimages/1.png,b,train\nimages/2.png,c,test\n",
            "classes that train does not have: test/c",
        ),
    ],
)
def test_tables_that_cannot_be_used(table, tmp_path, text, message):
    with pytest.raises(DataError) as error:
        read_csv(table(text))
    assert str(error.value).startswith(f"{tmp_path}/data.csv: ")
    assert message.format(root=tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("path;label\nimages/0.png;a\nimages/1.png;b\n", "utf-8"),
        ("path\tlabel\nimages/0.png\ta\nimages/1.png\tb\n", "utf-16"),
        ("path,label\nimages\\0.png,a\nimages\\1,b\n", "utf-8"),
        ("image_id,label\nimages/0,a\nimages/1,b\n", "utf-8"),
        ("File Name,Category\nimages/0.png,a\nimages/1.png,b\n", "utf-8-sig"),
    ],
)
def test_tables_of_other_programs(table, tmp_path, text, encoding):
    listing = read_csv(table(text, encoding=encoding))
    assert summary(listing, tmp_path) == [
        ("train", "a", "images/0.png"),
        ("train", "b", "images/1.png"),
    ]


def test_what_was_read_otherwise_than_it_stands_is_said(table):
    listing = read_csv(
        table(
            "id,class,phase,width\nimages\\0,a,TRAIN,7\nimages/1.png,b,dev,7\nimages/2,b,train,7\n"
        )
    )
    assert [entry.split for entry in listing.entries] == ["train", "train", "val"]
    assert listing.notes == (
        "read the column id as the path and class as the label and phase as the split",
        "did not read the columns width",
        "read \\ as / in 1 paths",
        "added the extension to 2 paths",
        "val has no images of 1 of 2 classes: a",
    )


def test_a_table_in_latin_1_is_refused_with_its_line(table):
    path = table("path,label\nimages/0.png,a\nimages/1.png,gr\u00fcn\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"line 3 holds the byte 0xfc\. Save the table as UTF-8"):
        read_csv(path)


def test_of_many_missing_files_ten_are_shown(table):
    rows = "".join(f"missing/{index:02d}.png,a\n" for index in range(14))
    with pytest.raises(DataError) as error:
        read_csv(table(f"path,label\n{rows}"))
    text = str(error.value)
    assert "14 files that do not exist" in text
    assert "09.png" in text
    assert "10.png" not in text
    assert text.endswith("and 4 more")


def test_a_binary_file_is_not_a_table(table, tmp_path):
    path = table("")
    (tmp_path / "data.csv").write_bytes(b"\xff\xd8\xff\x00\x01")
    with pytest.raises(DataError, match="cannot be read as a CSV table in UTF-8"):
        read_csv(path)
