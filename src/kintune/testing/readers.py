"""Tests that every reader of image sets must pass. Give the fixture `source`."""

from pathlib import Path

import pytest

from kintune.data import SPLITS, absolute_source, check_dataset
from kintune.data.catalog import list_images


class ReaderSuite:
    """Subclass it, with a fixture `source`: a small set, complete and sound, as a user names it."""

    def test_entries_are_files_in_order_each_once(self, source: str) -> None:
        entries = list_images(source).entries
        assert all(Path(entry.path).is_absolute() for entry in entries)
        assert all(Path(entry.path).is_file() for entry in entries)
        assert len({entry.path for entry in entries}) == len(entries)
        keys = [(SPLITS.index(entry.split), entry.label, entry.path) for entry in entries]
        assert keys == sorted(keys)

    def test_classes_are_those_of_training_sorted(self, source: str) -> None:
        listing = list_images(source)
        trained = {entry.label for entry in listing.entries if entry.split == "train"}
        assert listing.classes == tuple(sorted(trained))
        assert {entry.label for entry in listing.entries} == trained

    def test_a_listing_is_found_again_by_its_source_from_anywhere(
        self, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listing = list_images(source)
        from_here = absolute_source(source)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert list_images(listing.source) == listing == list_images(from_here)

    def test_every_image_loads(self, source: str) -> None:
        report = check_dataset(source)
        assert [problem for problem in report.problems if problem.kind == "unreadable"] == []
