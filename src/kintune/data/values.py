"""Pixels of any mode -> 8-bit RGB, and whether an image's values fill the range that is read."""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]

_TILE_PIXELS = 2**22
"""Larger images are converted in parts, so that only the result takes memory."""
_TOP_16_BITS = 65535
_USED_LEVELS = 64
"""Number of levels, of 256: 256: an image of more than 8 bits with fewer between its darkest and
brightest pixels keeps too little contrast."""
_ALPHA_MODES = {"LA": "L", "RGBA": "RGB"}
_OUTLIERS = 0.0025
"""Share of the pixels at each end that may lie outside, such as hot pixels."""


def to_rgb(image: Image.Image) -> Image.Image:
    """The same image in 8-bit RGB.

    Integers of more than 8 bits are read as 0 to 65535, floating-point values as 0 to 1 where none
    exceeds 1 and as 0 to 255 otherwise; what lies outside is clipped. Transparency is laid on
    white.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    convert = _conversion(image)
    if image.width * image.height <= _TILE_PIXELS:
        return convert(image)
    rgb = Image.new("RGB", image.size)
    for box in _boxes(image):
        rgb.paste(convert(image.crop(box)), box)
    return rgb


def tiles(image: Image.Image) -> Iterator[Image.Image]:
    """Parts that together are the image; a small image is its own single part."""
    if image.width * image.height <= _TILE_PIXELS:
        yield image
    else:
        yield from (image.crop(box) for box in _boxes(image))


def describe_values(image: Image.Image) -> str:
    """In words, how the values of an image of more than 8 bits misfit the range that is read.

    Empty where the values fill the range, and where the image is of a single value. Colors of 16
    bits count with their upper 8, which Pillow keeps.
    """
    if image.mode in _ALPHA_MODES:
        image = image.convert(_ALPHA_MODES[image.mode])
    low, high, has_nan = _extremes(image)
    top = _top(image)
    found = f"values {low:g} to {high:g} of 0 to {top:g}"
    if has_nan:
        return f"{found}; NaN is read as 0"
    if low < 0 or high > top:
        return f"{found}; those outside are clipped"
    return found if low < high and _used_levels(image) < _USED_LEVELS else ""


def value_range_note(described: list[tuple[str, str]], images: int) -> tuple[str, ...]:
    """A note on images whose values misfit the range; none where there are none.

    Args:
        described: path and `describe_values` of each of them.
        images: how many there are in all.
    """
    if not described:
        return ()
    path, words = described[0]
    note = (
        f"value range: {len(described)} of {images} images hold more than 8 bits and do not fit "
        f"the range that is read (first: {path}, {words}). They reach the network dark or with "
        "little contrast. Scale the values of all images alike, for example 12-bit values by 16, "
        "or convert them to 8 bits."
    )
    return (note,)


def _conversion(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    if image.mode.startswith("I"):  # "I" holds 16-bit values too: PGM and some PNG
        return lambda part: _gray(np.asarray(part) / 257)
    if image.mode == "F":
        factor = 255 if _top(image) == 1 else 1
        return lambda part: _gray(np.nan_to_num(np.asarray(part)) * factor)
    if image.has_transparency_data:
        return _on_white
    return lambda part: part.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _gray(levels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8)).convert("RGB")


def _top(image: Image.Image) -> float:
    """The value that becomes 255."""
    if image.mode.startswith("I"):
        return _TOP_16_BITS
    if image.mode == "F":
        return (
            1 if max(np.nan_to_num(np.asarray(part)).max() for part in tiles(image)) <= 1 else 255
        )
    return 255


def _extremes(image: Image.Image) -> tuple[float, float, bool]:
    """Least and greatest value, and whether there is a NaN."""
    low, high, has_nan = np.inf, -np.inf, False
    for part in tiles(image):
        values = np.asarray(part)
        is_nan = np.isnan(values)
        has_nan |= bool(is_nan.any())
        if not is_nan.all():
            low, high = min(low, float(np.nanmin(values))), max(high, float(np.nanmax(values)))
    return (low, high, has_nan) if low <= high else (0.0, 0.0, has_nan)


def _used_levels(image: Image.Image) -> int:
    """8-bit levels between the darkest and the brightest pixels, outliers left out."""
    convert = _conversion(image)
    counts = np.zeros(256, np.int64)
    for part in tiles(image):
        counts += np.array(convert(part).histogram()).reshape(3, 256).sum(axis=0)
    shares = counts.cumsum() / counts.sum()
    first, last = np.searchsorted(shares, (_OUTLIERS, 1 - _OUTLIERS))
    return int(last - first) + 1


def _boxes(image: Image.Image) -> Iterator[Box]:
    width = min(image.width, _TILE_PIXELS)
    height = max(1, _TILE_PIXELS // width)
    for top in range(0, image.height, height):
        for left in range(0, image.width, width):
            yield left, top, min(left + width, image.width), min(top + height, image.height)
