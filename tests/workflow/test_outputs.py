"""The output folder may lie inside the data, but not in the place of its images."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from kintune.base.errors import OptionError
from kintune.runs import is_output
from kintune.workflow.outputs import refuse_output_among_images, require_writable


@pytest.fixture
def photos(tmp_path):
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
    paths = tuple(str(tmp_path / "photos" / name / "0.jpg") for name in "ab")
    return SimpleNamespace(source=str(tmp_path / "photos"), paths=paths)


@pytest.mark.parametrize("place", ["runs", "a/out", "..", "../elsewhere"])
def test_a_place_without_images_is_allowed_and_marked(photos, place):
    folder = Path(photos.source, place)
    refuse_output_among_images(folder, photos)
    require_writable(folder)
    assert is_output(folder)


@pytest.mark.parametrize("place", [".", "a", "b/../a", "link"])
def test_a_place_with_images_is_refused(photos, place):
    Path(photos.source, "link").symlink_to("b")
    with pytest.raises(OptionError, match=r"holds images of the data, in .*photos/"):
        refuse_output_among_images(Path(photos.source, place), photos)
