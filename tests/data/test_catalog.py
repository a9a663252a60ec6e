"""Which reader a name goes to, and what is said where there is none."""

import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from kintune.base.errors import DataError
from kintune.data.catalog import list_images
from kintune.testing import ReaderSuite


class TestDigits(ReaderSuite):
    @pytest.fixture
    def source(self):
        return "sklearn:digits"


def test_folders_and_tables_find_their_readers(tmp_path, write_images):
    write_images(tmp_path / "photos", {"a": 1, "b": 1})
    (tmp_path / "photos.CSV").write_text("path,label\nphotos/a/0.png,a\nphotos/b/0.png,b\n")
    folder, table = list_images(tmp_path / "photos"), list_images(f"{tmp_path}/photos.CSV")
    assert [entry.path for entry in folder.entries] == [entry.path for entry in table.entries]


def test_relative_paths_become_absolute(tmp_path, write_images, monkeypatch):
    write_images(tmp_path / "photos", {"a": 1, "b": 1})
    monkeypatch.chdir(tmp_path)
    assert list_images("photos").source == str(tmp_path / "photos")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("photo", "photo: no such folder. Did you mean {root}/photos?"),
        ("sklearn:digit", "no such folder. Did you mean sklearn:digits?"),
        ("quite/other", "no such folder. Known by name: sklearn:digits, paper:caltech256, "),
        ("empty", "empty: is empty."),
        ("~no-such-user/photos", "~no-such-user/photos: no such folder."),
        ("image.jpg", "image.jpg: is a file, not a folder of class folders nor a .csv table"),
    ],
)
def test_what_is_not_there_is_said(tmp_path, monkeypatch, name, message):
    (tmp_path / "photos").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "image.jpg").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        list_images(name)
    assert message.format(root=tmp_path) in str(error.value)


def test_digits_are_scikit_learns_once_each_in_fixed_splits():
    listing = list_images("sklearn:digits")
    assert (listing.name, listing.source) == ("digits", "sklearn:digits")
    assert listing.classes == tuple("0123456789")
    values, labels = load_digits(return_X_y=True)
    images = np.asarray(values).reshape(-1, 8, 8)
    seen = set()
    for entry in listing.entries:
        index = int(entry.path.rpartition("/")[2].removesuffix(".png"))
        seen.add(index)
        if index % 100 == 0:
            with Image.open(entry.path) as image:
                levels = np.asarray(image) * (16 / 255)
            assert np.abs(levels - images[index]).max() < 0.04
            assert entry.label == str(labels[index])
    assert seen == set(range(1797))
    test = [entry for entry in listing.entries if entry.split == "test"]
    assert len(test) == pytest.approx(0.2 * 1797, abs=5)
    assert list_images("sklearn:digits") == listing


def test_digits_without_scikit_learn_say_what_to_install(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match="pip install scikit-learn"):
        list_images("sklearn:digits")
    assert not list((cache / "datasets").iterdir())
