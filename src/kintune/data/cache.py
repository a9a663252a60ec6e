"""Images decoded once, on disk: later runs map them instead of decoding again.

    <cache root>/images/<key>/pixels.bin      uint8 RGB, image after image
                              index.npz       offsets (n,), sizes (n, 2), sha256 and
                                              pixel_sha256 (n, 32)
                              manifest.json   what it was made from, and the unreadable files

Where the pixels would be too large for the disk, `pixels.bin` is empty and the files are decoded on
use.

The key holds path, size and times of change of every file, the scale and the decoder's version,
so that a changed folder is never served from an old entry. `pixels.bin` has the size that was
written, and its content is trusted unless it is verified; the small files are verified on each use.
"""

import functools
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kintune.base.arrays import IndexArray
from kintune.base.progress import announce, detail, megabytes
from kintune.base.records import Record
from kintune.data.decode import (
    DECODER_VERSION,
    ImageScale,
    ImagesOnDemand,
    decode_file,
    in_threads,
)
from kintune.data.entries import (
    MARK,
    DamagedEntry,
    building,
    cache_in_use,
    cache_root,
    read_entry,
    remove_entry,
    verify,
)
from kintune.data.images import DecodedImages
from kintune.data.opening import file_sha256

_LAYOUT = 3
"""Version of the layout of an entry; raise it when older ones cannot be read."""
_PIXELS = "pixels.bin"
MAX_BYTES = 100 * 10**9
"""Bytes of pixels in one entry, at most. The files of larger sets, such as Places365 at 256 pixels
(470 GB), are decoded on use."""
_EXPECTED_FROM = 500
"""Images after which the size of all is estimated."""


@dataclass(frozen=True)
class CachedImages:
    """The decoded form of n files, in their order."""

    images: DecodedImages
    """All n; an unreadable file's image is empty (0, 0, 3)."""
    sha256: tuple[str, ...]
    """SHA-256 of each file's bytes, hexadecimal."""
    pixel_sha256: tuple[str, ...]
    """SHA-256 of each image's pixels, as `DecodedFile` has it."""
    unreadable: Mapping[int, str]
    """Index of each file that does not load, and why."""
    value_ranges: Mapping[int, str]
    """Index of each file whose values misfit the range that is read, and how."""
    decode_seconds: float = 0.0
    """Estimate for what is not decoded yet; only a sample has such files."""

    def select(self, readable: IndexArray) -> "CachedImages":
        """These files alone, in this order; all of them load."""
        at = {int(old): new for new, old in enumerate(readable)}
        ranges = {at[old]: words for old, words in self.value_ranges.items() if old in at}
        return CachedImages(
            images=self.images.select(readable),
            sha256=tuple(self.sha256[index] for index in readable),
            pixel_sha256=tuple(self.pixel_sha256[index] for index in readable),
            unreadable={},
            value_ranges=ranges,
            decode_seconds=self.decode_seconds,
        )


class CacheManifest(Record):
    """Origin of a cache entry."""

    decoder_version: int
    shorter_side: int
    interpolation: str
    files: int
    first_file: str
    unreadable: dict[int, str]
    value_ranges: dict[int, str]
    has_pixels: bool = True
    """False where they are too large to keep: the files are decoded on use."""


def cached_images(paths: Sequence[str], scale: ImageScale, *, verify: bool = False) -> CachedImages:
    """Decode files, or map what an earlier call decoded.

    A damaged entry is made again, which is said on stderr.

    Args:
        paths: absolute paths, at least one.
        scale: size of the decoded images.
        verify: hash every file and what the cache holds, instead of trusting size and times, and
            make the entry again where anything has changed.

    Raises:
        DataError: the cache cannot be written. Unreadable files do not raise.
    """
    with cache_in_use():
        return _cached_images(paths, scale, verify)


def kept_images(paths: Sequence[str], scale: ImageScale) -> CachedImages | None:
    """Images that an earlier call decoded; None where there are none, or damaged. Writes
    nothing."""
    try:
        return _read(_entry(paths, scale), paths, scale, verify_all=False)
    except (DamagedEntry, OSError, ValueError):
        return None


def _entry(paths: Sequence[str], scale: ImageScale) -> Path:
    return cache_root() / "images" / files_key(paths, f"{_LAYOUT} {DECODER_VERSION} {scale}")


def _cached_images(paths: Sequence[str], scale: ImageScale, verify_all: bool) -> CachedImages:
    entry = _entry(paths, scale)
    cached = read_entry(entry, lambda folder: _read(folder, paths, scale, verify_all), _say_damage)
    if cached is not None:
        unreadable = [paths[index] for index in cached.unreadable]
        stale = verify_all and _has_changed(paths, cached)
        if not stale and not (unreadable and _any_loads(unreadable, scale)):
            return cached
        remove_entry(entry)
    with building(entry) as folder:
        _build(folder, paths, scale)
        cached = _open(folder, paths, scale)
    size = megabytes(cached.images.pixels.nbytes)
    detail(f"Decoded {len(paths):,} images, {size} in {entry}.")
    if isinstance(cached.images, ImagesOnDemand):
        limit = megabytes(_max_bytes(entry.parent))
        announce(
            f"- The decoded images take more than {limit}, the limit of the cache on this disk, "
            "and are decoded anew in each epoch. Set KINTUNE_CACHE to a folder on a disk with more "
            "free space to keep up to 100 GB."
        )
    return cached


def _say_damage(damage: str) -> None:
    announce(f"- {damage}: the image cache is made again, and features where they are needed.")
    # Features are kept by the content of the files, and may have been made from damaged pixels.
    for features in (cache_root() / "features").glob("*"):
        if (features / MARK).is_file():
            remove_entry(features)


def files_key(paths: Sequence[str], purpose: str) -> str:
    """32 hexadecimal digits of the purpose and of every file's path, size and times of change."""
    digest = hashlib.sha256(purpose.encode())
    for path in paths:
        digest.update(b"\0" + os.fsencode(path) + _stamp(path).encode())
    return digest.hexdigest()[:32]


def _has_changed(paths: Sequence[str], cached: CachedImages) -> bool:
    found = in_threads(lambda path: file_sha256(path).hex(), paths, "verifying the cache")
    pairs = zip(paths, found, cached.sha256, strict=True)
    changed = [path for path, here, there in pairs if here != there]
    if changed:
        announce(
            f"- {len(changed)} files differ from the image cache, the first is {changed[0]}; "
            "it is made again."
        )
    return bool(changed)


def _any_loads(paths: Sequence[str], scale: ImageScale) -> bool:
    """Try files again that did not load: the fault may have been the disk's or the network's."""
    decode = functools.partial(decode_file, scale=scale)
    return any(file.pixels is not None for file in in_threads(decode, paths, "trying again"))


def _stamp(path: str) -> str:
    try:
        status = Path(path).stat()
    except OSError:
        return "\0unreadable"
    # The time of the inode's change also sees a file replaced by one of equal size and time.
    return f"\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _build(folder: Path, paths: Sequence[str], scale: ImageScale) -> None:
    sizes = np.zeros((len(paths), 2), np.int64)
    sha256, pixel_sha256 = np.zeros((2, len(paths), 32), np.uint8)
    unreadable: dict[int, str] = {}
    value_ranges: dict[int, str] = {}
    decode = functools.partial(decode_file, scale=scale)
    max_bytes, has_pixels = _max_bytes(folder), True
    with (folder / _PIXELS).open("wb") as blob:
        for index, decoded in enumerate(in_threads(decode, paths, "decoding images")):
            sha256[index] = np.frombuffer(decoded.sha256, np.uint8)
            if decoded.pixels is None:
                unreadable[index] = decoded.reason
                continue
            pixel_sha256[index] = np.frombuffer(decoded.pixel_sha256, np.uint8)
            sizes[index] = decoded.pixels.shape[:2]
            size = blob.tell() + decoded.pixels.nbytes
            # Estimated early, before a hundred gigabytes are written in vain.
            expected = size / (index + 1) * len(paths) if index >= _EXPECTED_FROM else size
            if has_pixels and expected > max_bytes:
                has_pixels = False
                blob.seek(0)
                blob.truncate()
            if has_pixels:
                blob.write(decoded.pixels.data)
            if decoded.value_range:
                value_ranges[index] = decoded.value_range
    lengths = sizes.prod(axis=1) * 3
    np.savez(
        folder / "index.npz",
        offsets=lengths.cumsum() - lengths,
        sizes=sizes,
        sha256=sha256,
        pixel_sha256=pixel_sha256,
    )
    manifest = CacheManifest(
        decoder_version=DECODER_VERSION,
        shorter_side=scale.shorter_side,
        interpolation=scale.interpolation,
        files=len(paths),
        first_file=os.fsencode(paths[0]).decode(errors="backslashreplace"),
        unreadable=unreadable,
        value_ranges=value_ranges,
        has_pixels=has_pixels,
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=1))


def _max_bytes(folder: Path) -> int:
    return min(MAX_BYTES, shutil.disk_usage(folder).free)


def _read(entry: Path, paths: Sequence[str], scale: ImageScale, verify_all: bool) -> CachedImages:
    verify(entry, but=frozenset() if verify_all else frozenset({_PIXELS}))
    return _open(entry, paths, scale)


def _open(entry: Path, paths: Sequence[str], scale: ImageScale) -> CachedImages:
    manifest = CacheManifest.model_validate_json((entry / "manifest.json").read_bytes())
    with np.load(entry / "index.npz") as index:
        offsets, sizes = index["offsets"], index["sizes"]
        sha256, pixel_sha256 = _texts(index["sha256"]), _texts(index["pixel_sha256"])
    length = int(sizes.prod(axis=1).sum()) * 3 if manifest.has_pixels else 0
    blob = entry / _PIXELS
    if blob.stat().st_size != length:
        raise DamagedEntry(f"{_PIXELS} has {blob.stat().st_size} bytes instead of {length}")
    # Copy-on-write: torch warns about arrays that cannot be written, and none is.
    pixels = np.memmap(blob, np.uint8, "c", shape=(length,)) if length else np.empty(0, "u1")
    images = DecodedImages(
        pixels=pixels, offsets=offsets, sizes=sizes, shorter_side=scale.shorter_side
    )
    if not manifest.has_pixels:
        images = ImagesOnDemand(**vars(images), paths=tuple(paths), scale=scale)
    return CachedImages(
        images=images,
        sha256=sha256,
        pixel_sha256=pixel_sha256,
        unreadable=manifest.unreadable,
        value_ranges=manifest.value_ranges,
    )


def _texts(digests: np.ndarray) -> tuple[str, ...]:
    return tuple(digest.tobytes().hex() for digest in digests)
