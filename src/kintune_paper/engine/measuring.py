"""Measurements beside runs of training: image counts, similarities, the loss over a plane."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from kintune.backbones import Backbone
from kintune.base.errors import DataError
from kintune.base.files import locked
from kintune.base.records import Record
from kintune.data import ImageDataset, load_unsplit
from kintune.runs import write_json
from kintune.similarity import domain_similarity
from kintune.similarity.features import extract_features
from kintune.similarity.prototypes import (
    Prototypes,
    SourceSpec,
    head_prototypes,
    source_prototypes,
)
from kintune.training import evaluate
from kintune_paper.context import StudyContext, StudyTask
from kintune_paper.engine.declaration import (
    Measurement,
    Protocol,
    SourceNetwork,
)
from kintune_paper.engine.loss_plane import (
    kept_weights,
    loss_plane,
    train_again,
)
from kintune_paper.image_sets import HELD_OUT, unpack_cifar


class Measured(Record):
    """Result of a measurement."""

    name: str
    values: dict[str, Any]


@dataclass(frozen=True)
class MeasurementArchive:
    """A folder with a JSON file a measurement."""

    root: Path

    def path(self, measurement: Measurement) -> Path:
        """The file of a measurement."""
        return self.root / f"{measurement.name}.json"

    def has(self, measurement: Measurement) -> bool:
        """Whether it was measured."""
        return self.path(measurement).exists()

    def read(self, measurement: Measurement) -> dict[str, Any] | None:
        """Result; None where nothing was measured yet.

        Raises:
            OptionError: the file is not one of a measurement.
        """
        return Measured.read(self.path(measurement)).values if self.has(measurement) else None

    def write(self, measurement: Measurement, values: dict[str, Any]) -> None:
        """Keep what was found."""
        found = Measured(name=measurement.name, values=values)
        write_json(self.path(measurement), found.to_json())

    @contextmanager
    def claimed(self, measurement: Measurement) -> Iterator[bool]:
        """Whether no other process measures it now."""
        with locked(self.root / f".{measurement.name}.lock", wait=False) as mine:
            yield mine is not None


def measure(
    measurement: Measurement,
    protocol: Protocol,
    context: StudyContext,
    tasks: Sequence[StudyTask] = (),
) -> dict[str, Any]:
    """Carry out a measurement.

    Args:
        measurement: what.
        protocol: knows its networks.
        context: has them, and the images.
        tasks: of the measurement's runs.

    Raises:
        KintuneError: the network or the images are not there.
    """
    if measurement.kind == "loss plane":
        for task in (task for task in tasks if kept_weights(task, context) is None):
            train_again(task, context)
        files = [file for task in tasks if (file := kept_weights(task, context))]
        return loss_plane(tasks, files, context.device)
    backbone = context.backbone(protocol.networks[measurement.network].file)
    if measurement.kind == "source error":
        source = _source_images(protocol.networks[measurement.network], context)
        return _source_error(backbone, source, context.device)
    if measurement.kind == "images":
        return _counts(context.dataset(measurement.target, backbone))
    return _similarity(measurement, protocol, context)


def _counts(dataset: ImageDataset) -> dict[str, Any]:
    counts = {split: len(rows) for split, rows in dataset.splits.items()}
    return {"classes": len(dataset.classes), **counts}


def _similarity(
    measurement: Measurement, protocol: Protocol, context: StudyContext
) -> dict[str, Any]:
    if measurement.extractor:
        extractor = context.backbone(protocol.networks[measurement.extractor].file)
        images = _source_images(protocol.networks[measurement.network], context)
        prototypes = source_prototypes(extractor, SourceSpec(path=images), device=context.device)
    else:
        extractor = context.backbone(protocol.networks[measurement.network].file)
        prototypes = _own_prototypes(measurement, protocol, context)
    dataset = context.dataset(measurement.target, extractor)
    features = extract_features(extractor, dataset, "train", device=context.device)
    found = domain_similarity(prototypes, features, model=extractor.name, target=dataset.name)
    return {
        "similarity": found.similarity,
        "similarity_interval": found.similarity_interval,
        "distance": found.distance,
        "relative_distance": found.relative_distance,
        "interval": found.interval,
        "prototypes_from": found.prototypes_from,
        "min_images": found.min_images,
        "extractor": extractor.extractor,
    }


def _own_prototypes(
    measurement: Measurement, protocol: Protocol, context: StudyContext
) -> Prototypes:
    """Prototypes of the source's images where they ship with the network or a file of class means
    lies beside it, else of its head."""
    network = protocol.networks[measurement.network]
    file, backbone = network.file, context.backbone(network.file)
    if network.source_set:
        spec = SourceSpec(path=_source_images(network, context))
        return source_prototypes(backbone, spec, device=context.device)
    if file.weights is None or context.models is None:
        return source_prototypes(backbone)
    size = backbone.input.image_size
    held = context.models / file.weights.replace(".safetensors", ".class_features.safetensors")
    means = load_file(held).get(f"features_{size}px") if held.is_file() else None
    head = head_prototypes(backbone)
    if means is None:
        return head
    values = means.astype(np.float32)
    return replace(head, means=values, center=values.mean(axis=0), origin="images")


def _source_error(backbone: Backbone, images: Path, device: str) -> dict[str, Any]:
    """Error of the network with its own head, on test images of its source."""
    dataset = load_unsplit(images, backbone.input)
    found = evaluate(backbone.network.to(device), dataset, "test", backbone.input, device)
    return {
        "classes": len(dataset.classes),
        "top1_error": found.top1_error,
        "images": len(found.indices),
    }


def _source_images(network: SourceNetwork, context: StudyContext) -> Path:
    """The images of a network's source: the official set, or the classes of CIFAR-100 that `pocket`
    was trained on, as files.

    Raises:
        DataError: they are not at hand.
    """
    if network.source_set:
        return Path(context.official(network.source_set))
    if network.file.model != "pocket":
        raise DataError(f"{network.title}: the images of its source are not at hand.")
    fault = context.missing_set(HELD_OUT)
    if fault or context.data is None:
        raise DataError(fault or f"{HELD_OUT}: is needed. Give its folder: --data DIR.")
    classes = set(context.backbone(network.file).source_labels)
    folder = (context.root / "targets" / "unpacked" / "cifar100-source").absolute()
    with locked(context.root / "targets.lock"):
        if not (folder / ".complete").exists():
            unpack_cifar(context.data / "cifar100", folder, classes.__contains__)
            (folder / ".complete").touch()
    return folder
