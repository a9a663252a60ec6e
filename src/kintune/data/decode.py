"""One image file -> 8-bit RGB pixels of one shorter side."""

import hashlib
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from kintune.base.arrays import IndexArray
from kintune.base.errors import DataError
from kintune.base.progress import progress_bar
from kintune.data.images import DecodedImages, ImageArray
from kintune.data.limits import decoding_threads
from kintune.data.opening import loaded_image, opened_file, reason
from kintune.data.prefetch import prefetch
from kintune.data.values import describe_values, tiles, to_rgb
from kintune.runs.inputs import Interpolation

T = TypeVar("T")

DECODER_VERSION = 1
"""Raise it when the same file would give other pixels: caches are keyed by it."""

MAX_ASPECT = 3
"""A longer side beyond this many shorter sides is cropped centrally."""

_AHEAD = 4
"""Files that each thread may be ahead of the one whose turn it is."""
_NO_DRAFT = 2**31 - 1
_CHECKED_SIDE = 4096
"""Pixels that a JPEG keeps on each side when it is decoded for `pixel_digest`."""
_WHOLE_PIXELS = 2**24
"""Images up to this size are hashed as they look, larger ones as they are stored."""

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_UPRIGHT = {  # EXIF orientation -> what turns the stored image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageScale:
    """How images are scaled on decoding."""

    shorter_side: int
    """Pixels of the shorter side of every decoded image."""
    interpolation: Interpolation


@dataclass(frozen=True)
class DecodedFile:
    """Result of decoding a file."""

    sha256: bytes
    """SHA-256 of the file's bytes, 32 bytes; of nothing where the file could not be opened."""
    pixels: ImageArray | None
    """RGB, or None where the file does not load."""
    reason: str = ""
    """Why it does not load."""
    value_range: str = ""
    """In words, that its values fill only a small part of the range that is read, or exceed it."""
    pixel_sha256: bytes = b""
    """SHA-256 of the pixels, 32 bytes; of the file where it holds more than 8 bits, because
    different images of that kind may look the same in 8."""


class PixelDigest(NamedTuple):
    """Result of `pixel_digest`."""

    digest: str
    """Hash of the pixels; empty where the file does not load."""
    reason: str
    """Why it does not load."""
    value_range: str
    """As in `DecodedFile`."""


def decode_file(path: str, scale: ImageScale | None) -> DecodedFile:
    """Read a file of any mode, in one of the formats of `kintune.data.opening`.

    The image is turned upright by its EXIF orientation, 16-bit and floating-point values are
    brought to 8 bits, transparency is laid on white. With a `scale` its shorter side gets
    `scale.shorter_side` pixels and its longer side at most `MAX_ASPECT` times as many, cropped
    centrally; without, all its pixels are kept. Never raises for a bad file: the result has the
    reason.
    """
    sha256 = hashlib.sha256(b"").digest()
    # JPEG decodes at 1/2, 1/4 or 1/8; twice the target keeps the resize exact enough (the gap of
    # PIL's own thumbnail()).
    draft_side = _NO_DRAFT if scale is None else 2 * scale.shorter_side
    try:
        with opened_file(path) as content:
            sha256 = hashlib.file_digest(content, "sha256").digest()
            with loaded_image(content, draft_side) as loaded:
                values = describe_values(loaded.image) if loaded.is_deep else ""
                rgb = _upright(loaded.image, to_rgb(loaded.image))
                pixels = np.asarray(rgb if scale is None else _scaled(rgb, scale))
                look = sha256 if loaded.is_deep else _pixel_sha256(pixels)
    # SyntaxError, struct.error, zlib.error, ...: a bad file is named and does not end the reading.
    except Exception as error:  # noqa: BLE001 - Pillow's plugins raise whatever parsing meets
        return DecodedFile(sha256, None, reason(path, error))
    return DecodedFile(sha256, pixels, value_range=values, pixel_sha256=look)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImagesOnDemand(DecodedImages):
    """Images that are decoded anew on each use, because all together they are too large to keep.

    `pixels` is empty.
    """

    paths: tuple[str, ...]
    scale: ImageScale

    def __getitem__(self, index: int) -> ImageArray:
        """Image i, uint8 RGB (height, width, 3), as `decode_file` reads it now.

        Called in several threads, so Pillow's warnings are not silenced: Python's filters belong to
        the process.

        Raises:
            DataError: the file is not as it was when all were read.
        """
        decoded = decode_file(self.paths[index], self.scale)
        if decoded.pixels is None:
            raise DataError(f"{self.paths[index]}: {decoded.reason}; it was read before.")
        if decoded.pixels.shape[:2] != tuple(self.sizes[index]):
            raise DataError(f"{self.paths[index]}: was changed while it was in use. Start again.")
        return decoded.pixels.copy()  # torch warns about arrays that cannot be written

    def select(self, indices: IndexArray) -> "ImagesOnDemand":
        """These images alone, in this order."""
        return ImagesOnDemand(
            pixels=self.pixels,
            offsets=self.offsets[indices],
            sizes=self.sizes[indices],
            shorter_side=self.shorter_side,
            paths=tuple(self.paths[index] for index in indices),
            scale=self.scale,
        )


def pixel_digest(path: str) -> PixelDigest:
    """Decode a file as `decode_file` does and hash its pixels, with little memory.

    Images of the same digest have the same pixels. Images of the same pixels have the same digest
    whatever their format, up to 16 million pixels of 8 bits; larger ones where they are turned
    alike, and deeper ones where their files are the same. Large JPEGs are compared at a smaller
    size. Never raises for a bad file.
    """
    try:
        with opened_file(path) as content:
            sha256 = hashlib.file_digest(content, "sha256")
            with loaded_image(content, _CHECKED_SIDE) as loaded:
                if loaded.is_deep:  # different images of more than 8 bits may look the same in 8
                    return PixelDigest(sha256.hexdigest(), "", describe_values(loaded.image))
                return PixelDigest(_digest(loaded.image), "", "")
    except Exception as error:  # noqa: BLE001 - as in decode_file
        return PixelDigest("", reason(path, error), "")


def in_threads(
    work: Callable[[str], T], paths: Sequence[str], description: str
) -> Generator[T, None, None]:
    """Results of `work` for each file, in order, with a bar; PIL releases the interpreter's lock.

    A few results for each thread are in memory at once. PIL's warnings about odd files are
    silenced meanwhile.
    """
    results = prefetch(work, paths, threads=decoding_threads(), ahead=_AHEAD)
    with (
        warnings.catch_warnings(),
        closing(results),
        progress_bar(description, len(paths)) as advance,
    ):
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for result in results:
            yield result
            advance()


def _digest(image: Image.Image) -> str:
    if image.width * image.height <= _WHOLE_PIXELS:
        return _pixel_sha256(np.asarray(_upright(image, to_rgb(image)))).hex()
    digest = hashlib.sha256(f"{image.size} {_orientation(image)}".encode())
    for part in tiles(image):
        digest.update(to_rgb(part).tobytes())
    return digest.hexdigest()


def _pixel_sha256(pixels: ImageArray) -> bytes:
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()


def _upright(image: Image.Image, rgb: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - parsing of a damaged block raises anything; pixels are good
        return 1


def _scaled(image: Image.Image, scale: ImageScale) -> Image.Image:
    short = min(image.size)
    kept = [min(side, MAX_ASPECT * short) for side in image.size]
    margins = [(side - keep) / 2 for side, keep in zip(image.size, kept, strict=True)]
    box = (margins[0], margins[1], margins[0] + kept[0], margins[1] + kept[1])
    width, height = (round(keep * scale.shorter_side / short) for keep in kept)
    return image.resize((width, height), _RESAMPLING[scale.interpolation], box=box)
