"""Images decoded once, on disk: later runs map them instead of decoding again.

    <cache root>/images/<key>/pixels.bin      uint8 RGB, image after image
                              index.npz       offsets (n,), sizes (n, 2), sha256 (n, 32)
                              manifest.json   what it was made from, and the unreadable files

The key holds path, size and times of change of every file, the scale and the decoder's version,
so that a changed folder is never served from an old entry. An entry is built in a temporary
neighbour and takes its name whole; of two processes that build it at once the first wins. Those who
build or open an entry share the cache's lock; who clears the cache (`kintune.datasets.inventory`)
holds it alone.
"""

import fcntl
import functools
import hashlib
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from kintune.arrays import IndexArray
from kintune.datasets.decode import DECODER_VERSION, ImageScale, decode_file, in_threads
from kintune.datasets.images import DecodedImages
from kintune.errors import DataError
from kintune.progress import announce, megabytes
from kintune.records import Record

MARK = ".kintune-cache"
"""A file in every folder that was built here: only such folders are ever cleared."""
LOCK = ".lock"
BUILDING = ".building-"
"""Begins the name of an entry that is not whole yet."""

_ABANDONED_SECONDS = 3600.0


@dataclass(frozen=True)
class CachedImages:
    """The decoded form of n files, in their order."""

    images: DecodedImages
    """All n; an unreadable file's image is empty (0, 0, 3)."""
    sha256: tuple[str, ...]
    """Of each file's bytes, hexadecimal."""
    unreadable: Mapping[int, str]
    """Index of each file that does not load, and why."""

    def select(self, readable: IndexArray) -> "CachedImages":
        """These files alone, in this order; all of them load."""
        sha256 = tuple(self.sha256[index] for index in readable)
        return CachedImages(self.images.select(readable), sha256, {})


class CacheManifest(Record):
    """What a cache entry was made from."""

    decoder_version: int
    shorter_side: int
    interpolation: str
    files: int
    first_file: str
    unreadable: dict[int, str]


def cache_root() -> Path:
    """`$KINTUNE_CACHE`, else `~/.cache/kintune`; it need not exist."""
    return Path(os.environ.get("KINTUNE_CACHE") or "~/.cache/kintune").expanduser().absolute()


def cached_images(paths: Sequence[str], scale: ImageScale, *, verify: bool = False) -> CachedImages:
    """Decode files, or map what an earlier call decoded.

    A damaged entry is made again, which is said on stderr.

    Args:
        paths: absolute paths, at least one.
        scale: size of the decoded images.
        verify: hash every file, instead of trusting its size and times, and make the entry again
            where one has changed.

    Raises:
        DataError: the cache cannot be written or mended. Unreadable files do not raise.
    """
    with cache_in_use():
        return _cached_images(paths, scale, verify)


@contextmanager
def cache_in_use() -> Iterator[None]:
    """Keep the cache from being cleared meanwhile; waits while it is being cleared.

    Any number of processes and threads may hold this at once. The operating system frees it when
    the process dies.
    """
    try:
        cache_root().mkdir(parents=True, exist_ok=True)
        lock = (cache_root() / LOCK).open("w")
    except OSError:
        lock = None  # what cannot be written cannot be cleared either
    with lock or nullcontext():
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _cached_images(paths: Sequence[str], scale: ImageScale, verify: bool) -> CachedImages:
    entry = cache_root() / "images" / files_key(paths, f"{DECODER_VERSION} {scale}")
    if entry.exists():
        try:
            cached = _open(entry, scale)
        except DataError as damage:
            announce(f"- {damage} Trying that now.")
        else:
            unreadable = [paths[index] for index in cached.unreadable]
            stale = verify and _has_changed(paths, cached)
            if not stale and not (unreadable and _any_loads(unreadable, scale)):
                return cached
        shutil.rmtree(entry, ignore_errors=True)
    with building(entry) as folder:
        _build(folder, paths, scale)
    cached = _open(entry, scale)
    size = megabytes(cached.images.pixels.nbytes)
    announce(f"- decoded {len(paths):,} images, {size} in {entry}")
    return cached


@contextmanager
def building(entry: Path) -> Iterator[Path]:
    """A temporary folder that becomes `entry` in one step when the block ends without an error.

    Raises:
        DataError: it cannot be written.
    """
    folder = None
    try:
        with cache_in_use():
            entry.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(entry.parent)
            folder = Path(tempfile.mkdtemp(dir=entry.parent, prefix=BUILDING))
            (folder / MARK).touch()
            yield folder
            _take_name(folder, entry)
    except OSError as error:
        raise DataError(
            f"{entry.parent}: the cache cannot be written ({error.strerror or error}). Make room "
            "there, or set the environment variable KINTUNE_CACHE to a folder that can be written."
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def files_key(paths: Sequence[str], purpose: str) -> str:
    """32 hexadecimal digits of the purpose and of every file's path, size and times of change."""
    digest = hashlib.sha256(purpose.encode())
    for path in paths:
        digest.update(b"\0" + os.fsencode(path) + _stamp(path).encode())
    return digest.hexdigest()[:32]


def _has_changed(paths: Sequence[str], cached: CachedImages) -> bool:
    found = in_threads(_sha256, paths, "verifying the cache")
    pairs = zip(paths, found, cached.sha256, strict=True)
    changed = [path for path, here, there in pairs if here != there]
    if changed:
        announce(
            f"- {len(changed)} files differ from the image cache, the first is {changed[0]}; "
            "it is made again."
        )
    return bool(changed)


def _sha256(path: str) -> str:
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return hashlib.sha256(b"").hexdigest()


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
    sha256 = np.zeros((len(paths), 32), np.uint8)
    unreadable: dict[int, str] = {}
    decode = functools.partial(decode_file, scale=scale)
    with (folder / "pixels.bin").open("wb") as blob:
        for index, decoded in enumerate(in_threads(decode, paths, "decoding images")):
            sha256[index] = np.frombuffer(decoded.sha256, np.uint8)
            if decoded.pixels is None:
                unreadable[index] = decoded.reason
            else:
                sizes[index] = decoded.pixels.shape[:2]
                blob.write(decoded.pixels.data)
        _to_disk(blob)
    lengths = sizes.prod(axis=1) * 3
    with (folder / "index.npz").open("wb") as index:
        np.savez(index, offsets=lengths.cumsum() - lengths, sizes=sizes, sha256=sha256)
        _to_disk(index)
    manifest = CacheManifest(
        decoder_version=DECODER_VERSION,
        shorter_side=scale.shorter_side,
        interpolation=scale.interpolation,
        files=len(paths),
        first_file=paths[0],
        unreadable=unreadable,
    )
    with (folder / "manifest.json").open("w") as stream:
        stream.write(manifest.model_dump_json(indent=1))
        _to_disk(stream)


def _to_disk(stream: IO[Any]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _open(entry: Path, scale: ImageScale) -> CachedImages:
    try:
        manifest = CacheManifest.model_validate_json((entry / "manifest.json").read_bytes())
        with (entry / "index.npz").open("rb") as file, np.load(file) as index:
            offsets, sizes, sha256 = index["offsets"], index["sizes"], index["sha256"]
        length = int(sizes.prod(axis=1).sum()) * 3
        # Copy-on-write: torch warns about arrays that cannot be written, and none is.
        blob = entry / "pixels.bin"
        pixels = np.memmap(blob, np.uint8, "c", shape=(length,)) if length else np.empty(0, "u1")
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{entry}: damaged image cache ({error}). Delete this folder.") from error
    images = DecodedImages(
        pixels=pixels, offsets=offsets, sizes=sizes, shorter_side=scale.shorter_side
    )
    digests = tuple(digest.tobytes().hex() for digest in sha256)
    return CachedImages(images, digests, manifest.unreadable)


def _take_name(folder: Path, entry: Path) -> None:
    try:
        folder.rename(entry)
    except OSError:
        if not entry.exists():  # else another process built the same entry first
            raise


def _remove_abandoned(parent: Path) -> None:
    """Delete what killed processes left behind."""
    for folder in parent.glob(f"{BUILDING}*"):
        with suppress(OSError):
            newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if time.time() - newest > _ABANDONED_SECONDS:
                shutil.rmtree(folder)
