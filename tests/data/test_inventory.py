"""What the cache holds is shown and cleared, and nothing else is touched."""

import fcntl
import os
import subprocess
import sys

import numpy as np
import pytest

from kintune.base.errors import OptionError
from kintune.base.progress import verbosity
from kintune.data import cache_contents, clear_cache
from kintune.data.cache import cached_images
from kintune.data.catalog import list_images
from kintune.data.decode import ImageScale
from kintune.data.entries import BUILDING, LOCK, MARK, building, cache_in_use

SCALE = ImageScale(16, "bilinear")


@pytest.fixture
def paths(tmp_path, write_images):
    write_images(tmp_path / "images", {"a": 3, "b": 2})
    return [str(path) for path in sorted((tmp_path / "images").rglob("*.png"))]


def write_features(cache, name="0123456789abcdef" * 2 + ".safetensors", size=1000):
    path = cache / "features" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_an_empty_cache(cache, monkeypatch):
    assert cache_contents().entries == ()
    assert clear_cache().bytes == 0
    monkeypatch.setenv("KINTUNE_CACHE", str(cache / "nowhere"))
    assert cache_contents().entries == clear_cache().entries == ()
    assert not (cache / "nowhere").exists()


def test_entries_with_their_sizes(paths, cache):
    cached = cached_images(paths, SCALE)
    list_images("sklearn:digits")
    write_features(cache)

    contents = cache_contents()

    assert contents.root == str(cache)
    assert {entry.kind for entry in contents.entries} == {"images", "features", "datasets"}
    assert contents.bytes == sum(entry.bytes for entry in contents.entries)
    sizes = {entry.kind: entry.bytes for entry in contents.entries}
    assert sizes["features"] == 1000
    assert cached.images.pixels.nbytes < sizes["images"] < cached.images.pixels.nbytes + 3000
    (images,) = [entry for entry in contents.entries if entry.kind == "images"]
    assert images.about == f"5 images of 16 px, the first is {paths[0]}"
    assert contents.others == ()


def test_clearing_removes_all_entries_and_they_are_made_again(paths, cache):
    pixels = np.array(cached_images(paths, SCALE).images.pixels)
    list_images("sklearn:digits")
    write_features(cache)
    shown = cache_contents()

    removed = clear_cache()

    assert removed.cleared
    assert removed.entries == shown.entries
    assert cache_contents().entries == ()
    assert np.array_equal(cached_images(paths, SCALE).images.pixels, pixels)


def test_what_is_not_ours_stays(paths, cache, tmp_path):
    cached_images(paths, SCALE)
    (cache / "holiday").mkdir()
    (cache / "notes.txt").touch()
    (cache / "datasets" / "digits").mkdir(parents=True)  # a person's own, without our mark
    (cache / "features").mkdir()
    (cache / "features" / "thesis.safetensors").touch()
    with building(tmp_path / "elsewhere") as folder:
        (folder / "pixels.bin").touch()
    (cache / "images" / "link").symlink_to(tmp_path / "elsewhere")

    removed = clear_cache()

    names = (
        "datasets/digits",
        "features/thesis.safetensors",
        "holiday",
        "images/link",
        "notes.txt",
    )
    assert sorted(removed.others) == [str(cache / name) for name in names]
    assert all(os.path.lexists(path) for path in removed.others)
    assert (tmp_path / "elsewhere" / "pixels.bin").exists()
    assert len(removed.entries) == 1


def test_a_linked_folder_is_not_followed(paths, cache, tmp_path):
    cached_images(paths, SCALE)
    (cache / "images").rename(tmp_path / "moved")
    (cache / "images").symlink_to(tmp_path / "moved")
    assert clear_cache().others == (str(cache / "images"),)
    assert len(list((tmp_path / "moved").iterdir())) == 1


def test_what_is_being_built_is_neither_shown_nor_cleared(cache):
    with building(cache / "images" / ("0" * 32)) as folder:
        (folder / "pixels.bin").write_bytes(b"half")
        assert cache_contents().entries == ()
        with pytest.raises(OptionError, match="another process is using the cache"):
            clear_cache()
    assert len(cache_contents().entries) == 1


def test_what_killed_processes_left_goes_too(cache):
    program = (
        "import os\n"
        "from kintune.data.entries import building, cache_root\n"
        "with building(cache_root() / 'images' / 'x'):\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    assert [path for path in (cache / "images").iterdir() if path.name.startswith(BUILDING)]
    clear_cache()
    assert list((cache / "images").iterdir()) == []


def test_mapped_images_outlive_the_clearing(paths):
    cached = cached_images(paths, SCALE)
    pixels = np.array(cached.images.pixels)
    clear_cache()
    assert np.array_equal(cached.images.pixels, pixels)


def test_who_uses_the_cache_waits_for_the_clearing(cache):
    program = (
        "from kintune.data.entries import cache_in_use\n"
        "print('ready', flush=True)\n"
        "with cache_in_use():\n"
        "    print('in use', flush=True)\n"
    )
    with (cache / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        user = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert user.stdout is not None
        assert user.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            user.wait(timeout=0.5)
    assert user.communicate(timeout=30)[0] == "in use\n"


def test_many_may_use_it_at_once():
    with cache_in_use(), cache_in_use():
        pass


def test_a_built_entry_bears_the_mark_and_its_size_is_said(paths, cache, capsys):
    with verbosity(verbose=True):
        cached = cached_images(paths, SCALE)
    (entry,) = (cache / "images").iterdir()
    assert (entry / MARK).is_file()
    size = f"{cached.images.pixels.nbytes / 1e6:.1f} MB"
    assert f"Decoded 5 images, {size} in {entry}" in capsys.readouterr().err
    cached_images(paths, SCALE)
    assert capsys.readouterr().err == ""
