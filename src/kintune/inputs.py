"""What a network expects of its input images."""

from typing import Literal

from pydantic import Field

from kintune.records import Record

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Triple = tuple[float, float, float]


class InputSpec(Record):
    """Preprocessing of section 3.1: shorter side to `shorter_side` pixels, crop of `image_size`,
    RGB in [0, 1] minus `mean`, divided by `std`."""

    image_size: int = Field(ge=8)
    """Side of the square crop that the network sees, pixels."""
    mean: Triple
    std: Triple
    crop_pct: float = Field(default=0.875, gt=0, le=1)
    """Crop side over shorter side; the paper's 224 / 256 is 0.875."""
    interpolation: Interpolation = "bilinear"

    @property
    def shorter_side(self) -> int:
        """Pixels of an image's shorter side before the crop."""
        return round(self.image_size / self.crop_pct)
