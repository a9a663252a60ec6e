"""MATLAB files as published, and broken ones."""

import numpy as np
import pytest
from scipy.io import savemat

from kintune.base.errors import DataError
from kintune.data.official.matlab import read_integers, read_strings, read_structs


@pytest.fixture
def file(tmp_path):
    """A file with one of each; compressed, as MATLAB writes by default since version 7."""
    texts = np.empty((2, 1), dtype=object)
    texts[:, 0] = ["a/b.jpg", "Citroën"]
    rows = np.empty((1, 2), dtype=[("fname", object), ("class", object)])
    rows[0, 0], rows[0, 1] = ("1.jpg", 3), ("2.jpg", 4.0)
    content = {"texts": texts, "numbers": np.array([[7.0], [8.0]]), "rows": rows, "half": 0.5}
    savemat(tmp_path / "x.mat", content, do_compression=True)
    return tmp_path / "x.mat"


def test_texts_numbers_and_structs(file):
    assert read_strings(file, "texts") == ["a/b.jpg", "Citroën"]
    assert read_integers(file, "numbers") == [7, 8]
    assert read_structs(file, "rows", ("class", "fname")) == [(3, "1.jpg"), (4, "2.jpg")]


def test_one_of_each_is_still_a_list(tmp_path):
    text, row = np.empty((1, 1), dtype=object), np.empty((1, 1), dtype=[("n", object)])
    text[0, 0], row[0, 0] = "a", (1,)
    savemat(tmp_path / "x.mat", {"text": text, "number": 5, "row": row})
    assert read_strings(tmp_path / "x.mat", "text") == ["a"]
    assert read_integers(tmp_path / "x.mat", "number") == [5]
    assert read_structs(tmp_path / "x.mat", "row", ("n",)) == [(1,)]


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda path: read_strings(path, "labels"), "has no variable labels."),
        (lambda path: read_integers(path, "half"), "its half holds '0.5', not a whole number."),
        (lambda path: read_integers(path, "texts"), "its texts holds "),
        (lambda path: read_structs(path, "rows", ("class", "box")), "its rows has no field box."),
        (lambda path: read_structs(path, "texts", ("class",)), "its texts has no field class."),
        (lambda path: read_strings(path, "rows"), "its rows holds "),
        (lambda path: read_strings(path, "numbers"), "its numbers holds '7.0', not a text."),
    ],
)
def test_other_contents_are_named(file, read, message):
    with pytest.raises(DataError) as error:
        read(file)
    assert str(error.value).startswith(f"{file}: {message}")


def test_a_file_cut_off_anywhere_is_damaged_or_lacks_its_variables(file):
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"x\.mat: (is damaged|has no variable half)"):
            read_integers(file, "half")


def test_another_file_under_the_name_is_damaged(file):
    file.write_bytes(b"<!DOCTYPE html><html>" + b" " * 4096)
    with pytest.raises(DataError, match=r"x\.mat: is damaged or no MATLAB file .* Fetch it again"):
        read_strings(file, "texts")
    file.unlink()
    with pytest.raises(DataError, match=r"x\.mat: is not there"):
        read_strings(file, "texts")
