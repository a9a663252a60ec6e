"""A labeled set of images, decoded and memory-mapped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64, UInt8

from kintune.base.arrays import IndexArray, LabelArray
from kintune.base.records import Record

ImageArray = UInt8[np.ndarray, "height width 3"]
PixelArray = UInt8[np.ndarray, " bytes"]
SizeArray = Int64[np.ndarray, "n 2"]

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class UnreadableFile(Record):
    """A file that does not load as an image."""

    path: str
    """Absolute path."""
    reason: str
    """Why, in words."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedImages:
    """Images of different sizes, one after another in one memory-mapped array.

    `images[i]` is image i, uint8 RGB (height, width, 3); its pages are read on use and no
    image stays in memory.
    """

    pixels: PixelArray
    offsets: IndexArray
    """Where each image begins in `pixels`."""
    sizes: SizeArray
    """Height and width of each image, pixels."""
    shorter_side: int
    """Pixels of the shorter side of every image."""

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> ImageArray:
        height, width = self.sizes[index]
        start = self.offsets[index]
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)

    def select(self, indices: IndexArray) -> "DecodedImages":
        """These images alone, in this order; no pixel is copied."""
        return DecodedImages(
            pixels=self.pixels,
            offsets=self.offsets[indices],
            sizes=self.sizes[indices],
            shorter_side=self.shorter_side,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageDataset:
    """Result of `load_dataset`: n decoded images with labels and splits."""

    name: str
    """Last part of the folder's name, or of the catalog's: "digits", "cub200"."""
    source: str
    """Absolute path, or a name of the catalog: "sklearn:digits", "paper:cub200=/data/birds"."""
    classes: tuple[str, ...]
    """Class names, sorted; labels index them."""
    paths: tuple[str, ...]
    """Absolute file of each image."""
    labels: LabelArray
    splits: Mapping[Split, IndexArray]
    """Indices into the n images; "test" may be empty, and "val" where none was drawn."""
    images: DecodedImages
    content_hash: str
    """SHA-256 of split, class and file bytes of every image in order, and of how the validation
    split came about."""
    skipped: tuple[UnreadableFile, ...]
    """Files left out because they do not load."""
    notes: tuple[str, ...]
    """Decisions on the way: a drawn validation split, ignored files."""
    val_fraction: float | None = None
    """As `load_dataset` was asked to draw it."""
    split_seed: int = 0
    """Seed of that draw."""
    validation_is_drawn: bool = False
    """Whether the validation images were drawn from the training images."""
    is_labeled: bool = True
    """False for images of a flat folder, which stand in one class."""
    decode_seconds: float = 0.0
    """Estimate for decoding the files of which this is a sample; 0 where all are decoded."""

    def labels_of(self, split: Split) -> LabelArray:
        """Labels of one split, int64 (m,), in the order of `splits[split]`."""
        return self.labels[self.splits[split]]
