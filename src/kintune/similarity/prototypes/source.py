"""Prototypes of a network's source domain, wherever it comes from."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from kintune.backbones import POCKET_WEIGHTS, Backbone
from kintune.base.errors import DataError, IncomparableError
from kintune.data import load_unsplit
from kintune.similarity.features import extract_features
from kintune.similarity.prototypes.clusters import clustered
from kintune.similarity.prototypes.files import load_prototypes
from kintune.similarity.prototypes.head import head_prototypes
from kintune.similarity.prototypes.prototypes import Prototypes, class_prototypes

POCKET_PROTOTYPES = POCKET_WEIGHTS.with_suffix(".prototypes.safetensors")


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """Where a source's prototypes shall come from, and how they are made of images."""

    path: Path | None = None
    """A prototype file (`.safetensors`) or a folder of source images, of which every training image
    counts; None takes the shipped file where it belongs to this network, else the head."""
    origin: Literal["auto", "head"] = "auto"
    """`head` passes over the shipped file."""
    min_images: int = 1
    """Classes with fewer images are left out."""
    clusters: int | None = None
    """Number of clusters of images without class folders; None takes `default_clusters`."""
    seed: int = 0
    """Seed of the clusters."""
    skip_unreadable: bool = False
    """Continue without the images of the folder that do not load."""
    verify: bool = False
    """Hash what the caches hold before it is believed."""


def source_prototypes(
    backbone: Backbone, spec: SourceSpec | None = None, *, device: str = "cpu"
) -> Prototypes:
    """Prototypes of what a network was trained on.

    Args:
        backbone: the network.
        spec: where they shall come from.
        device: where the network runs over the folder's images.

    Raises:
        IncomparableError: the file was made through another network or input.
        DataError: the file or the images cannot be used.
        ModelError: the head gives no prototypes.
    """
    spec = spec or SourceSpec()
    if spec.path is None:
        return _own(backbone, spec)
    if spec.path.suffix == ".safetensors":
        held = _checked(load_prototypes(spec.path), backbone, spec.path)
        return held.with_min_images(spec.min_images)
    return _of_folder(backbone, spec, spec.path, device)


def _own(backbone: Backbone, spec: SourceSpec) -> Prototypes:
    """Prototypes that ship with the network."""
    if spec.origin == "auto" and backbone.name == "pocket" and POCKET_PROTOTYPES.exists():
        shipped = load_prototypes(POCKET_PROTOTYPES)
        if shipped.extractor == backbone.extractor:
            return shipped.with_min_images(spec.min_images)
    if spec.min_images > 1:
        raise DataError(
            f"--min-images {spec.min_images}: the source's prototypes come from the head of "
            f"{backbone.name}, behind which are no images that could be counted. Leave it out, or "
            "give source images: --source."
        )
    return head_prototypes(backbone)


def _of_folder(backbone: Backbone, spec: SourceSpec, folder: Path, device: str) -> Prototypes:
    dataset = load_unsplit(
        folder, backbone.input, skip_unreadable=spec.skip_unreadable, verify=spec.verify
    )
    features = extract_features(backbone, dataset, device=device)
    notes = tuple(f"{dataset.name}: {note}" for note in dataset.notes)
    if not dataset.is_labeled:
        features = clustered(features, spec.clusters, seed=spec.seed)
        clusters = f"{len(features.classes)} k-means clusters"
        notes += (f"{dataset.name}: no class folders, so {clusters} stand for classes",)
    made = class_prototypes(features, min_images=spec.min_images, domain=dataset.name)
    if len(made.classes) < len(features.classes):
        left_out = len(features.classes) - len(made.classes)
        notes += (f"{dataset.name}: left out {left_out} classes under {spec.min_images} images",)
    return replace(made, notes=notes)


def _checked(prototypes: Prototypes, backbone: Backbone, source: Path) -> Prototypes:
    if prototypes.extractor != backbone.extractor:
        raise IncomparableError(
            f"--source {source}: its prototypes of {prototypes.domain} were made by "
            f"{prototypes.extractor}, this network with its input is {backbone.extractor}. Use "
            "prototypes made with the same --model, --weights, --image-size, --mean and --std."
        )
    return prototypes
