"""scikit-learn's handwritten digits as a folder of images."""

from pathlib import Path

import numpy as np
from PIL import Image

from kintune.base.errors import DataError
from kintune.data.entries import unpacked
from kintune.data.listing import Listing
from kintune.data.readers import read_folder
from kintune.data.splits import stratified_draw

_TEST_FRACTION = 0.2


def read_digits(source: str) -> Listing:
    """1797 gray images of 8 x 8 pixels, 10 classes, 80 % train and 20 % test, always the same.

    Written as PNG on first use, to `<cache root>/datasets/digits`.

    Raises:
        DataError: scikit-learn is not installed, or the cache cannot be written.
    """
    listing = read_folder(str(unpacked("digits", _write_digits)))
    return Listing(name="digits", source=source, entries=listing.entries, classes=listing.classes)


def _write_digits(folder: Path) -> None:
    try:
        from sklearn.datasets import load_digits  # seconds of import, needed once
    except ImportError:
        raise DataError(
            "sklearn:digits needs scikit-learn. Install it: pip install scikit-learn"
        ) from None
    values, labels = load_digits(return_X_y=True)
    levels = np.rint(np.asarray(values).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = np.asarray(labels, np.int64)
    train, test = stratified_draw(labels, _TEST_FRACTION, seed=0)
    for split, indices in (("train", train), ("test", test)):
        for index in indices:
            path = folder / split / str(labels[index]) / f"{index:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(levels[index]).save(path)
