"""Prototypes on disk: safetensors, all but the arrays in the header."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kintune.backbones import Backbone
from kintune.base.errors import DataError, IncomparableError, one_line
from kintune.base.files import write_atomically
from kintune.similarity.prototypes.prototypes import Origin, Prototypes

WEIGHTS_TOLERANCE = 1e-6
"""Largest difference between the sum of the weights and 1."""
ORIGINS: dict[str, Origin] = {"images": "images", "clusters": "clusters", "head": "head"}


def save_prototypes(prototypes: Prototypes, path: Path, backbone: Backbone) -> None:
    """Write prototypes as safetensors: `means`, `weights`, `counts`, `center`, and in the header
    what they are and how they came about: model, its arguments, hash of the weights, preprocessing.

    Args:
        prototypes: what to write.
        path: of the file.
        backbone: the network that they came through.

    Raises:
        IncomparableError: they came through another network or input.
        OptionError: the file cannot be written.
    """
    if prototypes.extractor != backbone.extractor:
        raise IncomparableError(
            f"the prototypes were made by {prototypes.extractor}, not by {backbone.extractor}."
        )
    arrays = {"means": prototypes.means, "weights": prototypes.weights}
    if prototypes.counts is not None:
        arrays["counts"] = prototypes.counts
    if prototypes.center is not None:
        arrays["centre"] = prototypes.center
    header = {
        "extractor": prototypes.extractor,
        "origin": prototypes.origin,
        "domain": prototypes.domain,
        "classes": json.dumps(prototypes.classes),
        "min_images": str(prototypes.min_images),
        "notes": json.dumps(prototypes.notes),
        "model": backbone.name,
        "model_kwargs": json.dumps(backbone.model_kwargs, sort_keys=True),
        "weights_sha256": backbone.weights_sha256,
        "input": json.dumps(backbone.input.to_json()),
    }
    header["sha256"] = _checksum(arrays)
    write_atomically(path, save(arrays, header))


def load_prototypes(path: Path) -> Prototypes:
    """Read what `save_prototypes` wrote.

    Raises:
        DataError: it is no prototype file, or damaged.
    """
    try:
        if path.exists() and not path.is_file():  # opening a FIFO would wait for ever
            raise ValueError("not a regular file")
        with safe_open(path, framework="numpy") as file:
            names: list[str] = file.keys()  # the handle itself cannot be iterated
            arrays = {name: file.get_tensor(name) for name in names}
            return _from_parts(arrays, file.metadata() or {})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not a prototype file ({one_line(error)}). Expected one that kintune wrote, "
            "or a folder of source images."
        ) from None


def _checksum(arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _refuse_damaged(arrays: dict[str, Any], header: dict[str, str], classes: int) -> None:
    """Files of earlier versions have no checksum."""
    if "sha256" in header and header["sha256"] != _checksum(arrays):
        raise ValueError("damaged: its checksum does not fit its content")
    width = arrays["means"].shape[-1]
    kinds = {
        "means": (np.float32, (classes, width)),
        "weights": (np.float64, (classes,)),
        "counts": (np.int64, (classes,)),
        "centre": (np.float32, (width,)),
    }
    for name, array in arrays.items():
        dtype, shape = kinds[name]
        if array.dtype != dtype or array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"damaged: {name} is not of {classes} classes, or not finite")
    if arrays["weights"].min() < 0 or abs(arrays["weights"].sum() - 1) > WEIGHTS_TOLERANCE:
        raise ValueError("damaged: its weights are no shares of a whole")


def _from_parts(arrays: dict[str, Any], header: dict[str, str]) -> Prototypes:
    classes = tuple(map(str, json.loads(header["classes"])))
    _refuse_damaged(arrays, header, len(classes))
    return Prototypes(
        means=arrays["means"],
        weights=arrays["weights"],
        counts=arrays.get("counts"),
        classes=classes,
        center=arrays.get("centre"),
        extractor=header["extractor"],
        origin=ORIGINS[header["origin"]],
        domain=header["domain"],
        min_images=int(header.get("min_images", 1)),
        notes=tuple(json.loads(header["notes"])),
    )
