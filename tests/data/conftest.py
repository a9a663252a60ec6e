"""Small images, folders of them, and an empty cache for each test."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintune.data.decode import ImageScale, decode_file
from kintune.data.images import DecodedImages, ImageArray
from kintune.runs.inputs import InputSpec

WriteImages = Callable[[Path, Mapping[str, int]], Path]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("KINTUNE_CACHE", str(folder))
    return folder


@pytest.fixture
def spec() -> InputSpec:
    return InputSpec(image_size=14, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def write_images() -> WriteImages:
    """Writes so many different images into each class folder below a root."""
    generator = np.random.default_rng(0)

    def write(root: Path, counts: Mapping[str, int]) -> Path:
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / folder / f"{index}.png")
        return root

    return write


@pytest.fixture
def pixels_of() -> Callable[[str, ImageScale | None], ImageArray]:
    """Decodes a file that must load."""

    def decode(path: str, scale: ImageScale | None) -> ImageArray:
        decoded = decode_file(path, scale)
        assert decoded.pixels is not None, decoded.reason
        return decoded.pixels

    return decode


@pytest.fixture
def decoded() -> Callable[..., DecodedImages]:
    """Decoded images of the given heights and widths, of random pixels."""

    def make(*sizes: tuple[int, int]) -> DecodedImages:
        shapes = np.array(sizes, dtype=np.int64)
        lengths = shapes.prod(axis=1) * 3
        pixels = np.random.default_rng(1).integers(0, 256, lengths.sum(), dtype=np.uint8)
        return DecodedImages(
            pixels=pixels,
            offsets=lengths.cumsum() - lengths,
            sizes=shapes,
            shorter_side=int(shapes.min()),
        )

    return make
