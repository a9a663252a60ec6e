"""Prototypes on disk: safetensors, all but the arrays in the header."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kintune.backbones import Backbone
from kintune.errors import DataError, IncomparableError
from kintune.files import write_atomically
from kintune.prototypes.prototypes import Origin, Prototypes

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
    write_atomically(path, save(arrays, header))


def load_prototypes(path: Path) -> Prototypes:
    """Read what `save_prototypes` wrote.

    Raises:
        DataError: it is no prototype file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names: list[str] = file.keys()  # the handle itself cannot be iterated
            arrays = {name: file.get_tensor(name) for name in names}
            return _from_parts(arrays, file.metadata() or {})
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: not a prototype file ({error!s}). Expected one that kintune wrote, or a "
            "folder of source images."
        ) from None


def _from_parts(arrays: dict[str, Any], header: dict[str, str]) -> Prototypes:
    return Prototypes(
        means=arrays["means"],
        weights=arrays["weights"],
        counts=arrays.get("counts"),
        classes=tuple(json.loads(header["classes"])),
        center=arrays.get("centre"),
        extractor=header["extractor"],
        origin=ORIGINS[header["origin"]],
        domain=header["domain"],
        min_images=int(header.get("min_images", 1)),
        notes=tuple(json.loads(header["notes"])),
    )
