"""Input images as a network expects them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from kintune.base.records import Record

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Triple = tuple[float, float, float]

MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 8, 4096
"""Pixels. Beyond the upper one a single image takes gigabytes in any network."""
MAX_MEAN, MIN_STD, MAX_STD = 2.0, 1e-4, 10.0
"""In units where white is 1; 1/255, the least in use, is 0.004."""


def _mean(values: Triple) -> Triple:
    if max(abs(value) for value in values) > MAX_MEAN:
        raise ValueError(
            f"each must be in [-{MAX_MEAN:g}, {MAX_MEAN:g}], in units where white is 1; divide "
            "values for 0 to 255 by 255"
        )
    return values


def _std(values: Triple) -> Triple:
    if min(values) <= 0:
        raise ValueError("each must be above 0")
    if min(values) < MIN_STD or max(values) > MAX_STD:
        raise ValueError(
            f"each must be in [{MIN_STD:g}, {MAX_STD:g}], in units where white is 1; divide values "
            "for 0 to 255 by 255"
        )
    return values


def _square(size: tuple[int, int, int]) -> tuple[int, int, int]:
    channels, height, width = size
    if channels != 3 or height != width:
        raise ValueError("only [3, s, s] is covered: three channels (RGB), height equal to width")
    if not MIN_IMAGE_SIZE <= height <= MAX_IMAGE_SIZE:
        raise ValueError(f"s must be from {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE}")
    return size


ImageSize = Annotated[int, Field(ge=MIN_IMAGE_SIZE, le=MAX_IMAGE_SIZE)]
"""Side of the square crop, pixels."""
Mean = Annotated[Triple, AfterValidator(_mean)]
"""Mean of the input channels, RGB in [0, 1]."""
Std = Annotated[Triple, AfterValidator(_std)]
"""Standard deviation of the input channels."""
InputSize = Annotated[tuple[int, int, int], AfterValidator(_square)]
"""Channels, height, width."""
CropPct = Annotated[float, Field(ge=0.1, le=1)]
"""Crop side over shorter side."""


class InputSpec(Record):
    """Preprocessing of section 3.1: shorter side to `shorter_side` pixels, crop of `image_size`,
    RGB in [0, 1] minus `mean`, divided by `std`."""

    image_size: ImageSize
    """Side of the square crop that the network sees, pixels."""
    mean: Mean
    std: Std
    crop_pct: CropPct = 0.875
    """Crop side over shorter side; the paper's 224 / 256 is 0.875."""
    interpolation: Interpolation = "bilinear"

    @property
    def shorter_side(self) -> int:
        """Pixels of an image's shorter side before the crop."""
        return round(self.image_size / self.crop_pct)
