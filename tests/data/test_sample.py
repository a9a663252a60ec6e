"""A sample of the files in place of all of them."""

import numpy as np
import pytest

from kintune.base.errors import DataError
from kintune.data import load_dataset, sample, sample_dataset
from kintune.data.decode import decode_file


@pytest.fixture
def opened(monkeypatch):
    """Files that were decoded, of which four are sampled."""
    paths: list[str] = []

    def decode(path, scale):
        paths.append(path)
        return decode_file(path, scale)

    monkeypatch.setattr(sample, "decode_file", decode)
    monkeypatch.setattr(sample, "SAMPLED_FILES", 4)
    return paths


@pytest.fixture
def folder(write_images, tmp_path):
    return write_images(tmp_path / "photos", {"a": 10, "b": 10})


def test_counts_and_splits_are_those_of_all_files_and_nothing_is_written(
    folder, spec, opened, cache
):
    found = sample_dataset(folder, spec)

    assert len(opened) == 4
    assert {path.split("/")[-2] for path in opened} == {"a", "b"}
    assert list(cache.iterdir()) == []
    assert found.decode_seconds > 0
    loaded = load_dataset(folder, spec)
    assert (found.classes, found.paths) == (loaded.classes, loaded.paths)
    assert found.notes == loaded.notes
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(found.splits[split], loaded.splits[split])


def test_every_file_has_an_image_of_the_sample_and_a_sampled_one_its_own(folder, spec, opened):
    found, loaded = sample_dataset(folder, spec), load_dataset(folder, spec)

    assert len({found.images[index].tobytes() for index in range(20)}) == 4
    for index, path in enumerate(found.paths):
        same = np.array_equal(found.images[index], loaded.images[index])
        assert same == (path in opened)


def test_what_is_decoded_already_costs_nothing(folder, spec, opened):
    loaded = load_dataset(folder, spec)

    found = sample_dataset(folder, spec)

    assert opened == []
    assert found.decode_seconds == 0
    assert found.content_hash == loaded.content_hash


def test_no_further_file_is_decoded_once_time_is_up(write_images, tmp_path, spec, monkeypatch):
    folder = write_images(tmp_path / "photos", {"a": 10, "b": 10})
    monkeypatch.setattr(sample, "MAX_SECONDS", -1.0)

    found = sample_dataset(folder, spec)

    assert len({found.images[index].tobytes() for index in range(20)}) == 1


def test_a_file_of_the_sample_that_does_not_load_is_refused_or_left_out(folder, spec, opened):
    (folder / "a/0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a/0\.png: not an image"):
        sample_dataset(folder, spec)

    found = sample_dataset(folder, spec, skip_unreadable=True)

    assert [file.path for file in found.skipped] == [str(folder / "a/0.png")]
    assert len(found.paths) == 19


def test_a_sample_without_any_image_is_refused(folder, spec, opened):
    for path in folder.glob("*/*"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of 4 sampled files .*not an image"):
        sample_dataset(folder, spec, skip_unreadable=True)
