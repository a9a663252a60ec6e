"""One file -> a loaded PIL image, within limits: of file types, formats and memory.

A data set is not trusted. Only raster formats that Pillow decodes itself are opened, whatever a
file's name says: others (EPS) start a program. Only regular files are read: a FIFO would never end.
No image takes more memory than decoding may (`kintune.data.limits`).
"""

import hashlib
import io
import math
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, UnidentifiedImageError

from kintune.data.limits import GIGABYTE, decoding_bytes, held_bytes

Content = io.BytesIO | io.BufferedReader

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA")
"""Pillow's names of the formats that are read. TGA comes last because it has no signature."""

_NATIVE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Bytes that a pixel of a mode takes in Pillow, where that is not 4."""
_RGB_BYTES = 4
_DECODER_BYTES = {"WEBP": 16, "AVIF": 16, "JPEG2000": 24, "PPM": 4, "BMP": 1, "GIF": 1}
"""Bytes a pixel that decoders of a format take beside the image, at most."""
_PROGRESSIVE_BYTES = 6  # coefficients of the whole image, at its full size
_LIBTIFF_BYTES = 8  # an image may be a single strip
_READ_WHOLE = 64 * 2**20
"""Files up to so many bytes are read into memory; of larger ones, one at a time is open."""

_opening = threading.Lock()


@dataclass(frozen=True)
class LoadedImage:
    """An image in memory."""

    image: Image.Image
    is_deep: bool
    """Whether it is stored with more than 8 bits a channel; Pillow may keep the upper 8 only."""


class ImageRefused(Exception):
    """A file that is not read as an image; its text says why."""


@contextmanager
def opened_file(path: str) -> Iterator[Content]:
    """A regular file's content, to be read.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ImageRefused: it is a FIFO, a device, a socket or a folder, or larger than the memory for
            decoding.
    """
    _refuse_special(Path(path).stat().st_mode)  # opening a device can already do something
    # The file may have been replaced meanwhile: without O_NONBLOCK, opening a FIFO waits forever.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        _refuse_special(status.st_mode)
        if status.st_size > decoding_bytes():
            raise ImageRefused(f"{_too_large(status.st_size)}; its file alone is that large")
        if status.st_size <= _READ_WHOLE:
            yield io.BytesIO(file.read(status.st_size))
        else:
            yield file


@contextmanager
def loaded_image(content: Content, draft_side: int) -> Iterator[LoadedImage]:
    """The first image of a file, loaded; while it is in use its memory counts.

    Args:
        content: of the file, from its start.
        draft_side: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as both sides keep so
            many pixels.

    Raises:
        ImageRefused: it needs more memory than decoding may take.
        Exception: whatever Pillow's decoders raise for files that are no images or damaged.
    """
    file_bytes = content.seek(0, os.SEEK_END)
    is_large = file_bytes > _READ_WHOLE  # some decoders read the whole file when it is opened
    with ExitStack() as held:
        if is_large:
            held.enter_context(held_bytes(decoding_bytes()))
        image = held.enter_context(open_image(content))
        needed = _draft_and_check(image, draft_side, file_bytes)
        if not is_large:
            held.enter_context(held_bytes(needed))
        is_deep = _is_deep(image)
        image.load()
        yield LoadedImage(image, is_deep)


def open_image(content: Content) -> ImageFile.ImageFile:
    """The header of an image of one of `FORMATS`; its pixels are not loaded.

    Raises:
        UnidentifiedImageError: it is of no such format.
        Exception: whatever Pillow raises for damaged files.
    """
    # Pillow's own limit counts pixels, and so refuses photographs that take little memory. It is
    # a global of the process, so it is lifted only for the moment.
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(content, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def file_sha256(path: str) -> bytes:
    """SHA-256 of a file's content, 32 bytes; of nothing where it cannot be read."""
    try:
        with opened_file(path) as content:
            return hashlib.file_digest(content, "sha256").digest()
    except (OSError, ImageRefused):
        return hashlib.sha256(b"").digest()


def reason(path: str, error: Exception) -> str:
    """In words, why a file did not load."""
    if isinstance(error, UnidentifiedImageError):
        is_empty = Path(path).stat().st_size == 0
        return "empty file" if is_empty else "not an image of a known format"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _refuse_special(mode: int) -> None:
    kinds = {
        "a FIFO": stat.S_ISFIFO,
        "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
        "a socket": stat.S_ISSOCK,
        "a folder": stat.S_ISDIR,
    }
    for name, is_kind in kinds.items():
        if is_kind(mode):
            raise ImageRefused(f"not a regular file but {name}")


def _draft_and_check(image: ImageFile.ImageFile, draft_side: int, file_bytes: int) -> int:
    """Bytes that the image takes on loading; a JPEG is set to be decoded at a smaller size."""
    width, height = image.size
    image.draft(None, (draft_side, draft_side))
    needed = file_bytes + _bytes_needed(image, width * height)
    if needed > decoding_bytes():
        raise ImageRefused(f"{width} x {height} pixels: {_too_large(needed)}")
    return needed


def _bytes_needed(image: ImageFile.ImageFile, stored_pixels: int) -> int:
    """An upper bound for the image as loaded, what its decoder takes, and its RGB form."""
    native = _NATIVE_BYTES.get(image.mode, 4)
    beside = _DECODER_BYTES.get(image.format or "", 0)
    if any(tile[0] == "libtiff" for tile in image.tile):
        beside += _LIBTIFF_BYTES
    converted = 0 if image.mode == "RGB" and "exif" not in image.info else _RGB_BYTES
    needed = math.prod(image.size) * (native + max(beside, converted))
    if image.info.get("progressive"):
        needed += _PROGRESSIVE_BYTES * stored_pixels
    return needed


def _is_deep(image: ImageFile.ImageFile) -> bool:
    """Asked before the image is loaded, which forgets how it is stored."""
    if image.mode.startswith(("I", "F")):
        return True
    stored = [part for tile in image.tile for part in _flat(tile[3])]
    raw = any(isinstance(part, str) and ";16" in part and "BGR" not in part for part in stored)
    largest = any(isinstance(part, int) and part > 255 for part in stored)
    return raw or (image.format == "PPM" and largest)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for part in value:  # pyright: ignore[reportUnknownVariableType] - Pillow's, of any kind
            yield from _flat(part)
    else:
        yield value


def _too_large(needed: int) -> str:
    return (
        f"needs {needed / GIGABYTE:.1f} GB of memory, {decoding_bytes() / GIGABYTE:g} GB are "
        f"allowed for decoding (more with --decode-memory {math.ceil(needed / GIGABYTE)})"
    )
