"""Features -> `Prototypes`: one mean a class stands for a whole domain.

The source's prototypes come from its images, from a file, or, where nobody has the images, from the
network itself.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kintune.arrays import CentreArray, CountArray, MeanArray, WeightArray
from kintune.backbones import POCKET_WEIGHTS, Backbone, head_rows, mean_feature
from kintune.datasets import load_dataset
from kintune.errors import DataError, IncomparableError, ModelError
from kintune.features import Features, extract_features
from kintune.runs import write_atomically

Origin = Literal["images", "head"]

POCKET_PROTOTYPES = POCKET_WEIGHTS.with_suffix(".prototypes.safetensors")


@dataclass(frozen=True, kw_only=True, eq=False)
class Prototypes:
    """Class means of one domain, through one extractor."""

    means: MeanArray
    """Mean feature of each class, float32 (c, d). From a head: centre plus the class's direction,
    whose length is a convention."""
    weights: WeightArray
    """Share of each class in the domain, float64 (c,), sum 1."""
    counts: CountArray | None
    """Images behind each mean; None where there were none."""
    classes: tuple[str, ...]
    centre: CentreArray | None
    """Mean feature of the domain, float32 (d,); None where it is not known."""
    extractor: str
    """`Backbone.extractor` of the network that the features came through."""
    origin: Origin
    """From `images`, or from the rows of the source `head`."""
    domain: str
    """What it stands for, e.g. `ImageNet-1k`."""
    notes: tuple[str, ...] = ()
    """What a person should know about how they were made."""


def class_prototypes(features: Features, *, min_images: int = 1, domain: str = "") -> Prototypes:
    """Mean feature of each class, weighted by the class's share of the images (Appendix B).

    Args:
        features: of images with labels.
        min_images: classes with fewer are left out; the code that the paper builds on asks 200 of a
            source class.
        domain: name of what the images stand for.

    Raises:
        DataError: no class has enough images.
    """
    counts = np.bincount(features.labels, minlength=len(features.classes))
    kept = np.flatnonzero(counts >= max(min_images, 1))
    if len(kept) == 0:
        raise DataError(f"no class has {min_images} images; the largest has {counts.max()}.")
    of_class = [features.values[features.labels == index] for index in kept]
    means = np.stack([values.mean(axis=0, dtype=np.float64) for values in of_class])
    weights = counts[kept] / counts[kept].sum()
    return Prototypes(
        means=means.astype(np.float32),
        weights=weights,
        counts=counts[kept],
        classes=tuple(features.classes[index] for index in kept),
        centre=(weights @ means).astype(np.float32),
        extractor=features.extractor,
        origin="images",
        domain=domain,
    )


def head_prototypes(backbone: Backbone) -> Prototypes:
    """Prototypes of the source domain without its images.

    A linear head trained on balanced classes points, for each class, from the mean of all features
    towards the class's: its row minus the mean row is the direction. The mean of all features comes
    from the last normalisation (`mean_feature`). The length of a direction is a convention, so
    only angles of these prototypes mean something.

    Raises:
        ModelError: no head was loaded, or the construction does not hold for this network.
    """
    if backbone.num_source_classes is None:
        raise ModelError(
            f"{backbone.name}: no source head was loaded, so it does not know its source classes. "
            "Pass --source with a folder of source images or a prototype file."
        )
    mean = mean_feature(backbone)
    rows = head_rows(backbone.network, backbone.head_name).double().numpy()
    centre = None if mean.values is None else mean.values.numpy()
    directions = rows - rows.mean(axis=0)
    means = directions if centre is None else centre + directions
    count = len(means)
    return Prototypes(
        means=means.astype(np.float32),
        weights=np.full(count, 1 / count),
        counts=None,
        classes=backbone.source_labels,
        centre=None if centre is None else centre.astype(np.float32),
        extractor=backbone.extractor,
        origin="head",
        domain=backbone.domain,
        notes=(f"Source prototypes from the head's rows; {mean.note}.",),
    )


def source_prototypes(
    backbone: Backbone,
    *,
    source: Path | None = None,
    device: str = "cpu",
    skip_unreadable: bool = False,
) -> Prototypes:
    """Prototypes of what a network was trained on.

    Args:
        backbone: the network.
        source: a prototype file (`.safetensors`) or a folder of source images, of which every
            training image counts; None takes the shipped file where it belongs to this network,
            else the head.
        device: where the network runs over the folder's images.
        skip_unreadable: go on without the images of the folder that do not load.

    Raises:
        IncomparableError: the file was made through another network or input.
        DataError: the file or the images cannot be used.
        ModelError: the head gives no prototypes.
    """
    if source is not None and source.suffix == ".safetensors":
        return _checked(load_prototypes(source), backbone, source)
    if source is not None:
        dataset = load_dataset(
            source, backbone.input, skip_unreadable=skip_unreadable, val_fraction=None
        )
        features = extract_features(backbone, dataset, device=device)
        notes = tuple(f"{dataset.name}: {note}" for note in dataset.notes)
        return replace(class_prototypes(features, domain=dataset.name), notes=notes)
    if backbone.name == "pocket" and POCKET_PROTOTYPES.exists():
        shipped = load_prototypes(POCKET_PROTOTYPES)
        if shipped.extractor == backbone.extractor:
            return shipped
    return head_prototypes(backbone)


def save_prototypes(prototypes: Prototypes, path: Path) -> None:
    """Write prototypes as safetensors; all but the arrays is in the header.

    Raises:
        OptionError: the file cannot be written.
    """
    arrays = {"means": prototypes.means, "weights": prototypes.weights}
    if prototypes.counts is not None:
        arrays["counts"] = prototypes.counts
    if prototypes.centre is not None:
        arrays["centre"] = prototypes.centre
    header = {
        "extractor": prototypes.extractor,
        "origin": prototypes.origin,
        "domain": prototypes.domain,
        "classes": json.dumps(prototypes.classes),
        "notes": json.dumps(prototypes.notes),
    }
    write_atomically(path, save(arrays, header))


def load_prototypes(path: Path) -> Prototypes:
    """Read what `save_prototypes` wrote.

    Raises:
        DataError: it is no prototype file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
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
        centre=arrays.get("centre"),
        extractor=header["extractor"],
        origin="head" if header["origin"] == "head" else "images",
        domain=header["domain"],
        notes=tuple(json.loads(header["notes"])),
    )


def _checked(prototypes: Prototypes, backbone: Backbone, source: Path) -> Prototypes:
    if prototypes.extractor != backbone.extractor:
        raise IncomparableError(
            f"--source {source}: its prototypes of {prototypes.domain} were made by "
            f"{prototypes.extractor}, this network with its input is {backbone.extractor}. Use "
            "prototypes made with the same --model, --weights, --image-size, --mean and --std."
        )
    return prototypes
