"""JPEG files with the statistics of photographs, so that a benchmark needs no data."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

QUALITY = 85
SCENES = 24
ASPECT = 4 / 3
CLASSES = 10


def write_photographs(folder: Path, counts: Sequence[tuple[str, int]], shorter_side: int) -> None:
    """Write `folder/SPLIT/CLASS/*.jpg` of ten classes, about half a byte a pixel at 500 px.

    Each image is a random window of one of a few scenes.

    Args:
        folder: made where it is not there.
        counts: images of each split.
        shorter_side: height of the images, pixels; they are 4/3 as wide.
    """
    generator = np.random.default_rng(0)
    height, width = shorter_side, round(shorter_side * ASPECT)
    scenes = [_scene(generator, 2 * height, 2 * width) for _ in range(SCENES)]
    for split, images in counts:
        for index in range(images):
            place = folder / split / f"class{index % CLASSES}"
            place.mkdir(parents=True, exist_ok=True)
            top, left = generator.integers(0, (height + 1, width + 1))
            scene = scenes[generator.integers(SCENES)]
            window = scene[top : top + height, left : left + width]
            Image.fromarray(window).save(place / f"{index}.jpg", quality=QUALITY)


def _scene(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3): luminance and weaker colors whose amplitude falls as 1 / f."""
    gray, warm, tint = (_field(generator, height, width) for _ in range(3))
    rgb = np.stack([gray + 0.4 * warm, gray - 0.2 * warm - 0.2 * tint, gray + 0.4 * tint], axis=2)
    return np.clip(128 + 50 * rgb, 0, 255).astype(np.uint8)


def _field(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = 1
    phases = generator.normal(size=(2, *frequency.shape))
    field = np.fft.irfft2((phases[0] + 1j * phases[1]) / frequency, (height, width))
    return (field - field.mean()) / field.std()
