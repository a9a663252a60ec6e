"""Decoded once, never stale, whole or not at all."""

import os
import resource
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kintune.base.errors import DataError
from kintune.data import cache as cache_module
from kintune.data import entries as entries_module
from kintune.data.cache import cached_images
from kintune.data.decode import ImageScale, decode_file
from kintune.data.entries import DamagedEntry, building, cache_root, read_entry
from kintune.data.transforms import epoch_draws, random_crops

SCALE = ImageScale(16, "bilinear")


@pytest.fixture
def paths(tmp_path, write_images):
    write_images(tmp_path / "images", {"a": 3, "b": 2})
    return [str(path) for path in sorted((tmp_path / "images").rglob("*.png"))]


def entries(cache):
    return sorted((cache / "images").iterdir())


def test_cached_pixels_are_the_decoded_ones(paths):
    cached = cached_images(paths, SCALE)
    assert len(cached.images) == 5
    for path, pixels, digest in zip(paths, cached.images, cached.sha256, strict=True):
        decoded = decode_file(path, SCALE)
        assert decoded.pixels is not None
        assert np.array_equal(pixels, decoded.pixels)
        assert digest == decoded.sha256.hex()


def test_the_second_time_nothing_is_decoded(paths, monkeypatch):
    first = cached_images(paths, SCALE)
    monkeypatch.setattr(cache_module, "_build", None)
    second = cached_images(paths, SCALE)
    assert np.array_equal(first.images.pixels, second.images.pixels)
    assert first.sha256 == second.sha256


def test_pixels_are_mapped_not_read(paths):
    assert isinstance(cached_images(paths, SCALE).images.pixels, np.memmap)


def test_images_too_large_to_keep_are_decoded_on_use(paths, monkeypatch, capsys, cache):
    kept = cached_images(paths, SCALE)
    monkeypatch.setattr(cache_module, "MAX_BYTES", 2000)
    monkeypatch.setenv("KINTUNE_CACHE", str(cache / "other"))
    for said in (True, False):  # made, then read
        found = cached_images(paths, SCALE)
        assert found.images.pixels.nbytes == 0
        assert found.pixel_sha256 == kept.pixel_sha256
        few = found.images.select(np.array([3, 1]))
        assert np.array_equal(few[0], kept.images[3])
        assert np.array_equal(few[1], kept.images[1])
        draws, every = epoch_draws(5, seed=0, epoch=0), np.arange(5)
        one, other = (
            random_crops(images, every, 12, "random_resized_crop", draws)
            for images in (found.images, kept.images)
        )
        assert torch.equal(one, other)
        assert ("decoded anew in each epoch" in capsys.readouterr().err) is said
    assert sum(file.stat().st_size for file in (cache / "other").rglob("pixels.bin")) == 0
    Image.new("RGB", (40, 20)).save(paths[3])
    with pytest.raises(DataError, match="was changed while it was in use"):
        few[0]
    Path(paths[3]).write_bytes(b"")
    with pytest.raises(DataError, match="it was read before"):
        few[0]


def test_their_size_is_estimated_before_all_are_written(paths, cache, monkeypatch):
    scale = ImageScale(200, "bilinear")  # 144,000 bytes an image, more than a buffer holds
    monkeypatch.setattr(cache_module, "MAX_BYTES", 3 * 144_000)
    monkeypatch.setattr(cache_module, "_EXPECTED_FROM", 1)
    written = []

    def watched(work, files, description):
        for path in files:
            yield work(path)
            written.extend(file.stat().st_size for file in cache.rglob("pixels.bin"))

    monkeypatch.setattr(cache_module, "in_threads", watched)
    assert cached_images(paths, scale).images.pixels.nbytes == 0
    assert len(written) == 5
    assert max(written[:1]) > 100_000  # one image tells little
    assert max(written[1:]) == 0


def test_a_changed_file_is_never_served_stale(paths, pixels_of):
    before = cached_images(paths, SCALE)
    path = Path(paths[1])
    status = path.stat()
    with Image.open(path) as image:
        pixels = 255 - np.asarray(image)
    Image.fromarray(pixels).save(path, compress_level=9)
    path.write_bytes(path.read_bytes().ljust(status.st_size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    after = cached_images(paths, SCALE)
    assert after.sha256[1] != before.sha256[1]
    assert np.array_equal(after.images[1], pixels_of(str(path), SCALE))


@pytest.mark.parametrize("scale", [ImageScale(17, "bilinear"), ImageScale(16, "bicubic")])
def test_another_scale_is_another_entry(paths, scale, cache, pixels_of):
    cached_images(paths, SCALE)
    assert np.array_equal(cached_images(paths, scale).images[0], pixels_of(paths[0], scale))
    assert len(entries(cache)) == 2


def test_another_decoder_is_another_entry(paths, cache, monkeypatch):
    cached_images(paths, SCALE)
    monkeypatch.setattr(cache_module, "DECODER_VERSION", 10**6)
    cached_images(paths, SCALE)
    assert len(entries(cache)) == 2


def test_a_change_that_leaves_no_trace_is_seen_by_verifying(paths, monkeypatch, capsys):
    monkeypatch.setattr(cache_module, "_stamp", lambda path: "as ever")
    before = cached_images(paths, SCALE)
    with Image.open(paths[2]) as image:
        changed = 255 - np.asarray(image)
    Image.fromarray(changed).save(paths[2])
    assert cached_images(paths, SCALE).sha256 == before.sha256
    assert "differ" not in capsys.readouterr().err
    verified = cached_images(paths, SCALE, verify=True)
    assert [a == b for a, b in zip(before.sha256, verified.sha256, strict=True)].count(False) == 1
    assert (
        f"1 files differ from the image cache, the first is {paths[2]}" in capsys.readouterr().err
    )
    assert cached_images(paths, SCALE, verify=True).sha256 == verified.sha256
    assert "differ" not in capsys.readouterr().err


def test_an_unreadable_file_is_recorded(paths, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"text")
    for _ in range(2):
        assert cached_images([*paths, str(bad)], SCALE).unreadable == {
            5: "not an image of a known format"
        }


def test_a_passing_read_error_is_not_remembered(paths, monkeypatch):
    good = decode_file
    monkeypatch.setattr(
        cache_module, "decode_file", lambda path, scale: good(f"{path}.missing", scale)
    )
    assert len(cached_images(paths, SCALE).unreadable) == 5
    monkeypatch.setattr(cache_module, "decode_file", good)
    assert not cached_images(paths, SCALE).unreadable


def test_two_processes_may_build_at_once(paths, cache):
    program = (
        "import sys\n"
        "from kintune.data.cache import cached_images\n"
        "from kintune.data.decode import ImageScale\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(cached_images(sys.argv[1:], ImageScale(16, 'bilinear')).images.pixels.sum())\n"
    )
    many = paths * 60
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, *many],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    sums = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(sums) == 1
    assert len(entries(cache)) == 1


def test_the_loser_of_a_race_takes_the_winners_entry(paths, cache):
    expected = cached_images(paths, SCALE)
    (entry,) = entries(cache)
    with building(entry) as folder:
        (folder / "other").touch()
    assert entries(cache) == [entry]
    assert np.array_equal(cached_images(paths, SCALE).images.pixels, expected.images.pixels)


def test_an_unwritable_cache_names_the_variable(paths, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KINTUNE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be written \(Not a directory\).*KINTUNE_CACHE"):
        cached_images(paths, SCALE)


def test_a_full_disk_leaves_nothing_and_names_the_variable(paths, cache):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(DataError, match="KINTUNE_CACHE"):
            cached_images(paths, SCALE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert entries(cache) == []


@pytest.mark.parametrize("name", ["pixels.bin", "index.npz", "manifest.json"])
@pytest.mark.parametrize("kept", [0, 100])
def test_a_truncated_file_is_made_again_and_said(paths, cache, capsys, name, kept):
    cached = cached_images(paths, SCALE)
    pixels = np.array(cached.images.pixels)
    (entry,) = entries(cache)
    (entry / name).write_bytes((entry / name).read_bytes()[:kept])

    rebuilt = cached_images(paths, SCALE)

    assert f"{entry.name}: damaged (" in capsys.readouterr().err
    assert np.array_equal(rebuilt.images.pixels, pixels)
    assert rebuilt.sha256 == cached.sha256
    assert entries(cache) == [entry]
    assert np.array_equal(cached_images(paths, SCALE).images.pixels, pixels)
    assert capsys.readouterr().err == ""


def test_damage_that_cannot_be_removed_is_not_served(paths, cache, monkeypatch):
    pixels = np.array(cached_images(paths, SCALE).images.pixels)
    (entry,) = entries(cache)
    (entry / "pixels.bin").write_bytes(b"short")
    monkeypatch.setattr(entries_module, "_remove", lambda *_: None)
    assert np.array_equal(cached_images(paths, SCALE).images.pixels, pixels)


def test_changed_pixels_are_seen_by_verifying(paths, cache, capsys):
    pixels = np.array(cached_images(paths, SCALE).images.pixels)
    (entry,) = entries(cache)
    (cache / "features" / "made").mkdir(parents=True)
    (cache / "features" / "made" / entries_module.MARK).touch()
    changed = bytearray((entry / "pixels.bin").read_bytes())
    changed[7] ^= 255
    (entry / "pixels.bin").write_bytes(changed)
    assert not np.array_equal(cached_images(paths, SCALE).images.pixels, pixels)
    assert capsys.readouterr().err.count("damaged") == 0
    assert np.array_equal(cached_images(paths, SCALE, verify=True).images.pixels, pixels)
    assert f"{entry}: damaged (pixels.bin is not what was written)" in capsys.readouterr().err
    # They may have been computed from the changed pixels.
    assert not (cache / "features" / "made").exists()


@pytest.mark.parametrize("name", ["index.npz", "manifest.json"])
def test_one_changed_byte_in_a_small_file_is_seen(paths, cache, capsys, name):
    first = cached_images(paths, SCALE)
    (entry,) = entries(cache)
    content = (entry / name).read_bytes()
    for at in range(0, len(content), max(1, len(content) // 8)):
        changed = bytearray(content)
        changed[at] ^= 1
        (entry / name).write_bytes(changed)
        again = cached_images(paths, SCALE)
        assert again.sha256 == first.sha256
        assert np.array_equal(again.images.pixels, first.images.pixels)
        assert "damaged" in capsys.readouterr().err


def test_entries_follow_the_umask(paths, cache):
    before = os.umask(0o022)
    try:
        cached_images(paths, SCALE)
    finally:
        os.umask(before)
    (entry,) = entries(cache)
    assert entry.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in entry.iterdir()} == {0o644}


def test_only_the_damaged_entry_is_removed_not_its_replacement(tmp_path):
    """Two processes find the same damage; the slower one must not remove what the faster built."""
    entry = tmp_path / "images" / "entry"
    with building(entry) as folder:
        (folder / "file").write_text("damaged")

    def read(found):
        with building(entry.with_name("other")) as folder:  # the faster process meanwhile
            (folder / "file").write_text("good")
        entries_module.remove_entry(entry)
        entry.with_name("other").rename(entry)
        raise DamagedEntry("file")

    assert read_entry(entry, read, lambda _: None) is None
    assert (entry / "file").read_text() == "good"


def test_a_lock_that_is_a_link_leaves_its_target_alone(paths, cache, tmp_path):
    (tmp_path / "target").write_text("kept")
    (cache / ".lock").symlink_to(tmp_path / "target")
    cached_images(paths, SCALE)
    assert (tmp_path / "target").read_text() == "kept"


def test_without_a_home_directory_the_variable_is_named(monkeypatch):
    monkeypatch.delenv("KINTUNE_CACHE")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(DataError, match=r"no home directory.*KINTUNE_CACHE"):
        cache_root()


def test_what_a_killed_process_left_is_removed_later(paths, cache):
    for name, age_seconds in (("old", 7200), ("new", 0)):
        folder = cache / "images" / f".building-{name}"
        folder.mkdir(parents=True)
        (folder / "pixels.bin").touch()
        at = time.time() - age_seconds
        os.utime(folder / "pixels.bin", (at, at))
        os.utime(folder, (at, at))
    cached_images(paths, SCALE)
    assert [path.name for path in entries(cache) if path.name.startswith(".")] == [".building-new"]


def test_memory_holds_a_few_images_not_all(tmp_path):
    path = tmp_path / "image.png"
    Image.new("RGB", (100, 100)).save(path)
    tracemalloc.start()
    cached_images([str(path)] * 1500, ImageScale(100, "nearest"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1500 * 30_000 / 3


def test_the_root_is_the_variable_or_in_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("KINTUNE_CACHE", "~/there")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / "there"
    monkeypatch.delenv("KINTUNE_CACHE")
    assert cache_root() == tmp_path / ".cache" / "kintune"
