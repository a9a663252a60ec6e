"""Crops and augmentation of section 3.1 and appendix E, a batch at a time.

A crop is cut out of 8-bit pixels on the CPU; what follows is done to the batch on its device. All
randomness comes in as a table of uniform numbers, one row an image, so that what happens to an
image depends on (seed, epoch, image) alone: not on its batch, the order or the number of processes.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Float64, Int64, UInt8

from kintune.base.arrays import IndexArray
from kintune.data.decode import ImagesOnDemand
from kintune.data.images import DecodedImages
from kintune.data.limits import decoding_threads
from kintune.runs.hyperparameters import AugmentationName

MIN_AREA = 0.08
MAX_ASPECT = 4 / 3
JITTER = 0.4
_GRAY = (0.2989, 0.587, 0.114)  # ITU-R 601-2 luma, rounded as in torchvision

_AUGMENTATION_STREAM = 0
_SHUFFLE_STREAM = 1

Boxes = Int64[np.ndarray, "b 4"]
"""Top, left, height, width of a crop in each image, pixels."""
Sizes = Int64[np.ndarray, "b 2"]
Rows = Float64[np.ndarray, "b 8"]
Factors = Float64[np.ndarray, "b 3"]
Batch = Float32[torch.Tensor, "b 3 size size"]
ByteBatch = UInt8[torch.Tensor, "b 3 size size"]


@dataclass(frozen=True)
class EpochDraws:
    """The random numbers of one epoch, uniform in [0, 1)."""

    values: Rows
    """Row i belongs to image i. Columns: area, aspect, top, left, mirror, brightness, contrast,
    saturation."""


def epoch_draws(n: int, seed: int, epoch: int) -> EpochDraws:
    """The draws of n images, all of a data set; row i depends on (seed, epoch, i) only.

    Args:
        n: number of images.
        seed: of the run, at least 0.
        epoch: from 0.
    """
    return EpochDraws(_generator(seed, epoch, _AUGMENTATION_STREAM).random((n, 8)))


def shuffled(indices: IndexArray, seed: int, epoch: int) -> IndexArray:
    """The indices in the random order of one epoch."""
    return _generator(seed, epoch, _SHUFFLE_STREAM).permutation(indices)


def crop_threads(images: DecodedImages, device: str) -> int:
    """Threads that cut crops beside a network on a device.

    On a CPU the network has the cores, and one thread keeps up with it; a GPU leaves them idle, and
    would wait for one. Images that are decoded on use take most of the time anywhere.
    """
    if device == "cpu" and not isinstance(images, ImagesOnDemand):
        return 1
    return decoding_threads()


def center_crops(images: DecodedImages, indices: IndexArray, image_size: int) -> ByteBatch:
    """The central squares of b images, uint8 RGB (b, 3, image_size, image_size), channels last.

    Args:
        images: decoded images whose shorter side is at least `image_size`.
        indices: which of them, int64 (b,).
        image_size: side of the squares, pixels.
    """
    sizes = images.sizes[indices]
    boxes = _centered(np.full_like(sizes, image_size), sizes)
    squares = np.empty((len(indices), image_size, image_size, 3), np.uint8)
    for square, index, (top, left, height, width) in zip(squares, indices, boxes, strict=True):
        square[:] = images[index][top : top + height, left : left + width]
    return torch.from_numpy(squares).permute(0, 3, 1, 2)


def random_crops(
    images: DecodedImages,
    indices: IndexArray,
    image_size: int,
    kind: AugmentationName,
    draws: EpochDraws,
) -> ByteBatch:
    """Squares of b images, uint8 RGB (b, 3, image_size, image_size), for `varied`.

    - `random_resized_crop`: a box of 8 to 100 % of the area and an aspect of 3/4 to 4/3, scaled to
      the square (bilinear, antialiased). The paper's standard.
    - `random_crop`: an unscaled square. `flip`, `none`: the central square.

    Args:
        images: decoded images whose shorter side is at least `image_size`.
        indices: which of them, int64 (b,).
        image_size: side of the squares, pixels.
        kind: what is varied.
        draws: rows for all of `images`.
    """
    if kind in ("flip", "none"):
        return center_crops(images, indices, image_size)
    boxes = _boxes(kind, images.sizes[indices], image_size, draws.values[indices])
    return _crops(images, indices, boxes, image_size)


def varied(crops: ByteBatch, kind: AugmentationName, rows: Rows) -> Batch:
    """The rest of the augmentation: each crop mirrored or not, and its colors changed.

    `random_resized_crop` and `random_crop` do both, `flip` mirrors, `none` does neither.

    Args:
        crops: of b images, by `random_crops`; those that are mirrored are so in place.
        kind: what is varied.
        rows: `EpochDraws.values` of the b images.

    Returns:
        float32, RGB in [0, 1], on the device of the crops.
    """
    if kind != "none":
        mirrored = torch.from_numpy(np.flatnonzero(rows[:, 4] < 0.5)).to(crops.device)
        crops[mirrored] = crops[mirrored].flip(-1)
    batch = crops.float().div_(255)
    if kind in ("random_resized_crop", "random_crop"):
        return color_jitter(batch, 1 + JITTER * (2 * rows[:, 5:8] - 1))
    return batch


def color_jitter(batch: Batch, factors: Factors) -> Batch:
    """Change brightness, contrast and saturation of each image by its factors, in place.

    Each is a blend f x + (1 - f) y, cut to [0, 1], with y black, the image's mean gray and the
    pixel's gray. Without the cut the three commute, so that one order serves for all.

    Args:
        batch: RGB in [0, 1].
        factors: brightness, contrast, saturation of each image; 1 changes nothing.
    """
    columns = torch.from_numpy(factors).to(batch.device, torch.float32).T
    brightness, contrast, saturation = columns[:, :, None, None, None]
    batch.mul_(brightness).clamp_(0, 1)
    _blend(batch, _gray(batch).mean(dim=(2, 3), keepdim=True), contrast)
    return _blend(batch, _gray(batch), saturation)


def _blend(batch: torch.Tensor, other: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return batch.mul_(factor).add_(other.mul_(1 - factor)).clamp_(0, 1)


def _gray(batch: torch.Tensor) -> torch.Tensor:
    red, green, blue = _GRAY
    gray = batch[:, 0:1] * red
    return gray.add_(batch[:, 1:2], alpha=green).add_(batch[:, 2:3], alpha=blue)


def _generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
    key = np.array([seed, epoch], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, stream]))


def _crops(images: DecodedImages, indices: IndexArray, boxes: Boxes, image_size: int) -> ByteBatch:
    """The boxes, scaled to squares.

    Nothing here splits over threads, so that it can run beside the network. In 8 bits torch's
    antialiased resize is faster than sampling a padded batch on a grid, and it does not alias where
    a box is larger than the square.
    """
    crops = torch.empty((len(indices), 3, image_size, image_size), dtype=torch.uint8)
    for crop, index, (top, left, height, width) in zip(crops, indices, boxes, strict=True):
        box = images[index][top : top + height, left : left + width]
        pixels = torch.from_numpy(box).permute(2, 0, 1)
        if (height, width) != (image_size, image_size):
            pixels = F.interpolate(pixels[None], image_size, mode="bilinear", antialias=True)[0]
        crop.copy_(pixels)
    return crops


def _boxes(kind: AugmentationName, sizes: Sizes, image_size: int, rows: Rows) -> Boxes:
    square = np.full_like(sizes, image_size)
    if kind == "random_resized_crop":
        return _placed(_resized_boxes(sizes, rows), sizes, rows)
    if kind == "random_crop":
        return _placed(square, sizes, rows)
    return _centered(square, sizes)


def _resized_boxes(sizes: Sizes, rows: Rows) -> Sizes:
    """Aspect log-uniform, area uniform from `MIN_AREA` to the largest box of that aspect.

    The usual way rejects boxes that do not fit and falls back to the center; this needs a fixed
    number of draws and is always within bounds, up to the rounding to pixels.
    """
    height, width = sizes.T
    aspect = MAX_ASPECT ** (2 * rows[:, 1] - 1)
    largest = np.minimum(width, height * aspect) ** 2 / aspect
    area = MIN_AREA * height * width
    area = area + rows[:, 0] * (largest - area)
    box = np.sqrt(np.stack([area / aspect, area * aspect], axis=1))
    return np.clip(np.rint(box).astype(np.int64), 1, sizes)


def _placed(box: Sizes, sizes: Sizes, rows: Rows) -> Boxes:
    corners = (rows[:, 2:4] * (sizes - box + 1)).astype(np.int64)
    return np.hstack([corners, box])


def _centered(box: Sizes, sizes: Sizes) -> Boxes:
    return np.hstack([np.rint((sizes - box) / 2).astype(np.int64), box])
