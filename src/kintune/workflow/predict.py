"""A fine-tuned model on new images."""

import glob
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from kintune.backbones import normalized
from kintune.base.errors import DataError, ModelError
from kintune.base.progress import announce, printable
from kintune.base.records import Record
from kintune.data import DecodedImages
from kintune.data.decode import ImageScale, decode_file, in_threads
from kintune.data.transforms import center_crops
from kintune.data.values import value_range_note
from kintune.data.walk import Walk
from kintune.training import FineTunedModel, load_model_folder

BATCH_SIZE = 64


class Prediction(Record):
    """Prediction for one image."""

    path: str
    """Absolute path."""
    label: str
    """The most probable class."""
    confidence: float
    """Its softmax probability."""
    top: tuple[tuple[str, float], ...]
    """The most probable classes with their probabilities, best first."""


class Unreadable(Record):
    """A file, folder or pattern that gave no image."""

    path: str
    """Absolute path."""
    reason: str


class Predictions(Record):
    """One prediction for each image, in the order of the files."""

    model: str
    """Absolute path of the model folder."""
    predictions: tuple[Prediction, ...]
    unreadable: tuple[Unreadable, ...] = ()
    """Files that could not be classified."""


def predict(
    model_folder: Path, files: Sequence[Path], *, top: int = 5, device: str = "cpu"
) -> Predictions:
    """Classify image files with the model that `tune` or `finetune` left in a folder.

    Args:
        model_folder: holds `model.safetensors` and `model.json`, or is the output folder around it.
        files: of any kind that a data set may hold; folders, of which all images count, hidden ones
            aside; or patterns such as `new/*.jpg`.
        top: how many classes to name for each image, as far as there are as many.
        device: `cpu`, `cuda` or `cuda:N`.

    Returns:
        The predictions, and what could not be read beside them.

    Raises:
        ModelError: not a model folder, or a model that gives no numbers.
        DataError: there is no image that loads; all that was tried is listed.
    """
    model = load_model_folder(model_folder)
    model.network.to(device)
    paths, unreadable = _image_files(files)
    scale = ImageScale(model.input.shorter_side, model.input.interpolation)
    decoded = in_threads(partial(decode_file, scale=scale), paths, "predicting")

    misfits: list[tuple[str, str]] = []
    predictions: list[Prediction] = []
    for first in range(0, len(paths), BATCH_SIZE):
        names = paths[first : first + BATCH_SIZE]
        loaded: list[str] = []
        pixels: list[np.ndarray] = []
        for path, file in zip(names, islice(decoded, len(names)), strict=True):
            if file.pixels is None:
                unreadable.append(Unreadable(path=path, reason=file.reason))
            else:
                loaded.append(path)
                pixels.append(file.pixels)
                misfits += [(path, file.value_range)] if file.value_range else []
        if loaded:
            predictions += _classify(model, loaded, pixels, top, device)
    if not predictions:
        raise DataError(f"no image to classify.\n{unreadable_lines(unreadable)}")
    for note in value_range_note(misfits, len(paths)):
        announce(f"- {note}")
    return Predictions(
        model=str(model_folder.absolute()),
        predictions=tuple(predictions),
        unreadable=tuple(unreadable),
    )


def unreadable_lines(unreadable: Sequence[Unreadable]) -> str:
    """One line for each, path and reason."""
    return "\n".join(f"  {printable(each.path)}: {each.reason}" for each in unreadable)


def _image_files(given: Sequence[Path]) -> tuple[list[str], list[Unreadable]]:
    """Absolute paths of the image files behind files, folders and patterns, and what gave none."""
    paths: list[str] = []
    unreadable: list[Unreadable] = []
    for each in given:
        path = each.absolute()
        found, reason = [str(path)], ""
        if path.is_dir():
            walk = Walk(path)
            found, reason = sorted(walk.all_images(path)), "no images in this folder"
            lost = walk.unreadable | dict.fromkeys(walk.broken, "a symbolic link to nothing")
            unreadable += [Unreadable(path=name, reason=why) for name, why in lost.items()]
            for note in walk.notes():
                announce(f"- {path}: {note}")
        elif not path.exists():
            is_pattern = glob.has_magic(str(each))
            found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - Path.glob wants a root
            reason = "no file matches this pattern" if is_pattern else "no such file"
        elif not path.is_file():
            found, reason = [], "not a file"
        paths += found
        if not found:
            unreadable.append(Unreadable(path=str(path), reason=reason))
    return paths, unreadable


@torch.inference_mode()
def _classify(
    model: FineTunedModel, paths: list[str], pixels: list[np.ndarray], top: int, device: str
) -> list[Prediction]:
    crops = center_crops(_joined(pixels), np.arange(len(pixels)), model.input.image_size)
    logits = model.network(normalized(crops.to(device), model.input)).float()
    if not logits.isfinite().all():
        row = int(logits.isfinite().all(1).logical_not().nonzero()[0])
        raise ModelError(
            f"{paths[row]}: the model's outputs for this image are NaN or infinite. Its weights or "
            "input statistics are damaged: train it again."
        )
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
