"""One image file -> 8-bit RGB pixels of one shorter side."""

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base

from kintune.datasets.images import ImageArray
from kintune.inputs import Interpolation
from kintune.progress import progress_bar

T = TypeVar("T")

DECODER_VERSION = 1
"""Raise it when the same file would give other pixels: caches are keyed by it."""

MAX_ASPECT = 3
"""A longer side beyond this many shorter sides is cropped centrally."""

_FILES_IN_FLIGHT = 256  # results that wait in memory for their turn

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
    """What a file gave."""

    sha256: bytes
    """Of the file's bytes, 32 bytes; of nothing where the file could not be opened."""
    pixels: ImageArray | None
    """RGB, or None where the file does not load."""
    reason: str = ""
    """Why it does not load."""


def decode_file(path: str, scale: ImageScale | None) -> DecodedFile:
    """Read a file of any kind and mode that PIL knows.

    The image is turned upright by its EXIF orientation, 16-bit and floating-point values are
    brought to 8 bits, transparency is laid on white. With a `scale` its shorter side gets
    `scale.shorter_side` pixels and its longer side at most `MAX_ASPECT` times as many, cropped
    centrally; without, all its pixels are kept. Never raises for a bad file: the result has the
    reason.
    """
    content = b""
    try:
        content = Path(path).read_bytes()
        image = _upright_rgb(content, scale)
        pixels = np.asarray(image if scale is None else _scaled(image, scale))
    # SyntaxError, struct.error, zlib.error, ...: a bad file is named and does not end the reading.
    except Exception as error:  # noqa: BLE001 - Pillow's plugins raise whatever parsing meets
        return DecodedFile(hashlib.sha256(content).digest(), None, _reason(content, error))
    return DecodedFile(hashlib.sha256(content).digest(), pixels)


def in_threads(work: Callable[[str], T], paths: Sequence[str], description: str) -> Iterator[T]:
    """What `work` gives for each file, in order, with a bar; PIL releases the interpreter's lock.

    At most a few hundred results are in memory at once. PIL's warnings about odd files are
    silenced meanwhile.
    """
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress_bar(description, len(paths)) as advance,
    ):
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for start in range(0, len(paths), _FILES_IN_FLIGHT):
            for result in pool.map(work, paths[start : start + _FILES_IN_FLIGHT]):
                yield result
                advance()


def _upright_rgb(content: bytes, scale: ImageScale | None) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        if scale is not None:
            # JPEG decodes at 1/2, 1/4 or 1/8; twice the target keeps the resize exact enough
            # (the gap of PIL's own thumbnail()).
            image.draft(None, (2 * scale.shorter_side, 2 * scale.shorter_side))
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        rgb = _to_rgb(image)
        return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - parsing of a damaged block raises anything; pixels are good
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # "I" holds 16-bit values too: PGM and some PNG
        return _grey(np.asarray(image) / 257)
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        return _grey(values * 255 if values.max() <= 1 else values)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _grey(levels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8)).convert("RGB")


def _scaled(image: Image.Image, scale: ImageScale) -> Image.Image:
    short = min(image.size)
    kept = [min(side, MAX_ASPECT * short) for side in image.size]
    margins = [(side - keep) / 2 for side, keep in zip(image.size, kept, strict=True)]
    box = (margins[0], margins[1], margins[0] + kept[0], margins[1] + kept[1])
    width, height = (round(keep * scale.shorter_side / short) for keep in kept)
    return image.resize((width, height), _RESAMPLING[scale.interpolation], box=box)


def _reason(content: bytes, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format" if content else "empty file"
    if isinstance(error, Image.DecompressionBombError):
        return f"over {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
