"""A few files decoded in place of all of them: enough to say what the rest would cost."""

import functools
import time
from collections.abc import Mapping, Sequence
from contextlib import closing

import numpy as np

from kintune.base.arrays import IndexArray
from kintune.base.errors import DataError
from kintune.base.progress import announce, duration
from kintune.data.cache import CachedImages, kept_images
from kintune.data.decode import DecodedFile, ImageScale, decode_file, in_threads
from kintune.data.images import DecodedImages
from kintune.data.limits import decoding_threads

SAMPLED_FILES = 64
MAX_SECONDS = 3.0
"""No further file is decoded after so long."""


def sampled_images(paths: Sequence[str], scale: ImageScale) -> CachedImages:
    """Images of n files, of which a sample is decoded; each of the others has the image of a
    sampled file next to it. Where the cache has them all, they are what it has. Nothing is written.

    Args:
        paths: absolute paths, at least one.
        scale: size of the decoded images.

    Returns:
        Unreadable files and value ranges are those of the sample; the hashes are only placeholders.

    Raises:
        DataError: no file of the sample can be read.
    """
    kept = kept_images(paths, scale)
    if kept is not None:
        return kept
    decoded, seconds_per_file = _decode_sample(paths, scale)
    readable = np.array([index for index, file in decoded.items() if file.pixels is not None])
    if not len(readable):
        index, file = next(iter(decoded.items()))
        raise DataError(
            f"none of {len(decoded)} sampled files can be read as an image, among them "
            f"{paths[index]}: {file.reason}. Pass a folder of images."
        )
    seconds = seconds_per_file * len(paths)
    announce(
        f"- decoded a sample of {len(decoded)} of {len(paths):,} images; all take "
        f"{duration(seconds)}"
    )
    placeholders = tuple(f"{index:064x}" for index in range(len(paths)))
    return CachedImages(
        images=_spread(decoded, readable, len(paths), scale),
        sha256=placeholders,
        pixel_sha256=placeholders,
        unreadable={i: file.reason for i, file in decoded.items() if file.pixels is None},
        value_ranges={i: file.value_range for i, file in decoded.items() if file.value_range},
        decode_seconds=seconds,
    )


def _decode_sample(paths: Sequence[str], scale: ImageScale) -> tuple[dict[int, DecodedFile], float]:
    """Decoded files by their index, ascending, and the seconds that each takes of the time of all
    threads together."""
    chosen = np.unique(np.linspace(0, len(paths) - 1, SAMPLED_FILES).round().astype(int))
    # In random order, so that they are spread over all files even where time ends the sample.
    order: list[int] = np.random.default_rng(0).permutation(chosen).tolist()
    began = time.monotonic()
    decode = functools.partial(_timed, scale=scale)
    found: dict[int, tuple[DecodedFile, float]] = {}
    with closing(in_threads(decode, [paths[index] for index in order], "sample")) as files:
        for index, file in zip(order, files, strict=False):
            found[index] = file
            if time.monotonic() - began > MAX_SECONDS:
                break
    seconds = sum(seconds for _, seconds in found.values()) / len(found)
    threads = min(decoding_threads(), len(order))
    return {index: found[index][0] for index in sorted(found)}, seconds / threads


def _timed(path: str, scale: ImageScale) -> tuple[DecodedFile, float]:
    began = time.monotonic()
    return decode_file(path, scale), time.monotonic() - began


def _spread(
    decoded: Mapping[int, DecodedFile], readable: IndexArray, count: int, scale: ImageScale
) -> DecodedImages:
    """`count` images, each that of the next readable file or of the last one."""
    arrays = [file.pixels for file in decoded.values() if file.pixels is not None]
    lengths = np.array([array.size for array in arrays])
    images = DecodedImages(
        pixels=np.concatenate([array.ravel() for array in arrays]),
        offsets=lengths.cumsum() - lengths,
        sizes=np.array([array.shape[:2] for array in arrays]),
        shorter_side=scale.shorter_side,
    )
    next_readable = np.searchsorted(readable, np.arange(count))
    return images.select(np.minimum(next_readable, len(readable) - 1))
