"""A fine-tuned model on new images."""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from kintune.backbones import normalised
from kintune.datasets import DecodedImages
from kintune.datasets.decode import ImageScale, decode_file, in_threads
from kintune.datasets.transforms import centre_crops
from kintune.errors import DataError
from kintune.progress import printable
from kintune.records import Record
from kintune.training import FineTunedModel, load_model_folder

BATCH_SIZE = 64


class Prediction(Record):
    """What the model says about one image."""

    path: str
    """Absolute path."""
    label: str
    """The most probable class."""
    confidence: float
    """Its softmax probability."""
    top: tuple[tuple[str, float], ...]
    """The most probable classes with their probabilities, best first."""


class Predictions(Record):
    """One prediction for each file, in the order of the files."""

    model: str
    """Absolute path of the model folder."""
    predictions: tuple[Prediction, ...]


def predict(
    model_folder: Path, files: Sequence[Path], *, top: int = 5, device: str = "cpu"
) -> Predictions:
    """Classify image files with the model that `tune` or `finetune` left in a folder.

    Args:
        model_folder: holds `model.safetensors` and `model.json`.
        files: of any kind that a data set may hold.
        top: how many classes to name for each image, as far as there are as many.
        device: `cpu`, `cuda` or `cuda:N`.

    Raises:
        ModelError: not a model folder.
        DataError: files that do not load as images; all of them are listed.
    """
    model = load_model_folder(model_folder)
    model.network.to(device)
    paths = [str(file.absolute()) for file in files]
    scale = ImageScale(model.input.shorter_side, model.input.interpolation)
    decoded = in_threads(partial(decode_file, scale=scale), paths, "predicting")

    unreadable: list[str] = []
    predictions: list[Prediction] = []
    for first in range(0, len(paths), BATCH_SIZE):
        names = paths[first : first + BATCH_SIZE]
        pixels: list[np.ndarray] = []
        for path, file in zip(names, islice(decoded, len(names)), strict=True):
            if file.pixels is None:
                unreadable.append(f"  {printable(path)}: {file.reason}")
            else:
                pixels.append(file.pixels)
        if not unreadable:
            predictions += _classify(model, names, pixels, top, device)
    if unreadable:
        raise DataError(
            f"{len(unreadable)} of {len(files)} files cannot be read as images:\n"
            + "\n".join(unreadable)
            + "\nRepair or omit them."
        )
    return Predictions(model=str(model_folder.absolute()), predictions=tuple(predictions))


@torch.inference_mode()
def _classify(
    model: FineTunedModel, paths: list[str], pixels: list[np.ndarray], top: int, device: str
) -> list[Prediction]:
    crops = centre_crops(_joined(pixels), np.arange(len(pixels)), model.input.image_size)
    logits = model.network(normalised(crops.to(device), model.input)).float()
    probabilities, indices = logits.softmax(1).topk(min(top, len(model.classes)))
    predictions = []
    for path, values, classes in zip(paths, probabilities.tolist(), indices.tolist(), strict=True):
        best = tuple(zip((model.classes[index] for index in classes), values, strict=True))
        predictions.append(Prediction(path=path, label=best[0][0], confidence=best[0][1], top=best))
    return predictions


def _joined(pixels: list[np.ndarray]) -> DecodedImages:
    sizes = np.array([image.shape[:2] for image in pixels], np.int64)
    lengths = sizes.prod(axis=1) * 3
    return DecodedImages(
        pixels=np.concatenate([image.ravel() for image in pixels]),
        offsets=lengths.cumsum() - lengths,
        sizes=sizes,
        shorter_side=int(sizes.min()),
    )
