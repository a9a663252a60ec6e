"""A network and the images to fine-tune it on: prepared, measured, described as a run."""

import os
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from kintune.backbones import Backbone, BackboneOverrides, load_backbone
from kintune.base.errors import ModelError, OptionError
from kintune.base.progress import announce, detail
from kintune.data import ImageDataset, limit_decoding, load_dataset, sample_dataset
from kintune.options import (
    ComputeOptions,
    FinetuneOptions,
    RecommendOptions,
    TaskOptions,
    TuneOptions,
)
from kintune.similarity import Similarity, domain_similarity
from kintune.similarity.features import extract_features
from kintune.similarity.probe import probe_error
from kintune.similarity.prototypes import SourceSpec, source_prototypes


@dataclass(frozen=True, kw_only=True)
class Task:
    """A network and the images to fine-tune it on, ready."""

    backbone: Backbone
    dataset: ImageDataset
    device: str

    @property
    def name(self) -> str:
        """Folder name for what is written about this task."""
        model = self.backbone.name.replace("/", "-").replace(":", "-")
        return f"{self.dataset.name}-{model}"

    def description(self) -> str:
        """The images and the network, one line each."""
        data, model = self.dataset, self.backbone
        words = {"train": "training", "val": "validation", "test": "test"}
        counts = ", ".join(
            f"{len(rows):,} {words[split]}" for split, rows in data.splits.items() if len(rows)
        )
        source = f"pretrained on {model.domain}" if model.weights_sha256 else "random weights"
        return (
            f"{data.name}: {len(data.classes)} classes; {counts} images\n"
            f"{model.name}: {source}; images at {model.input.image_size} pixels"
        )

    def facts(self) -> dict[str, Any]:
        """Facts about what was loaded and decided, as JSON values."""
        data, model = self.dataset, self.backbone
        return {
            "data": {
                "name": data.name,
                "source": data.source,
                "classes": list(data.classes),
                "counts": {split: len(rows) for split, rows in data.splits.items()},
                "sha256": data.content_hash,
                "skipped": [file.to_json() for file in data.skipped],
                "notes": list(data.notes),
            },
            "model": {
                "name": model.name,
                "domain": model.domain,
                "source_classes": model.num_source_classes,
                "weights_sha256": model.weights_sha256,
                "input": model.input.to_json(),
                "notes": [*model.notes, *model.warnings],
            },
        }


def load_task(
    options: TaskOptions,
    *,
    overrides: BackboneOverrides | None = None,
    pretrained: bool = True,
) -> Task:
    """The network and the images of a command's options; says on stderr what was used.

    With `dry_run` only a sample of the images is decoded.

    Args:
        options: where both are.
        overrides: what is said about the network's input; None leaves it to the options.
        pretrained: False gives random weights where the options name no file.

    Raises:
        ModelError, DataError, OptionError: what cannot be used.
    """
    device = resolve_device(options.device)
    use_processor(options)
    backbone = load_backbone(
        options.model,
        weights=options.weights,
        overrides=overrides
        or BackboneOverrides(
            image_size=options.image_size,
            mean=options.mean,
            std=options.std,
            model_kwargs=options.model_kwargs,
        ),
        pretrained=pretrained,
    )
    is_dry = isinstance(options, FinetuneOptions | TuneOptions) and options.dry_run
    load = sample_dataset if is_dry else partial(load_dataset, verify=options.verify_cache)
    dataset = load(
        options.data,
        backbone.input,
        skip_unreadable=options.skip_unreadable,
        val_fraction=options.val_fraction,
        seed=options.seed,
    )
    task = Task(backbone=backbone, dataset=dataset, device=device)
    announce(task.description())
    for warning in (*backbone.warnings, *dataset.notes):
        announce(f"- {warning}")
    for note in backbone.notes:
        detail(note)
    return task


def resolve_device(device: str) -> str:
    """The device that a flag names.

    Raises:
        OptionError: there is no such device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{os.environ['LOCAL_RANK']}"  # torchrun starts a process for each device
    here = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    here += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if device not in here:
        raise OptionError(f"--device {device}: not available here; use {', '.join(here)} or auto.")
    return device


def use_processor(options: ComputeOptions) -> None:
    """Set the threads and the memory that this process computes and decodes with."""
    torch.set_num_threads(threads(options))
    limit_decoding(threads=threads(options), gigabytes=options.decode_memory)


def threads(options: ComputeOptions) -> int:
    """CPU threads to compute with, by default an equal share for each process of torchrun."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return options.threads or max(1, (os.cpu_count() or 1) // processes)


def source_spec(options: RecommendOptions | TuneOptions) -> SourceSpec:
    """Where the options say that the source's prototypes come from."""
    return SourceSpec(
        path=options.source,
        min_images=options.min_images,
        seed=options.seed,
        skip_unreadable=options.skip_unreadable,
        verify=options.verify_cache,
    )


def measure(task: Task, source: SourceSpec | None = None) -> Similarity:
    """How near the task's training images are to the network's source domain.

    Args:
        task: the network and the images.
        source: where the source's prototypes come from; None leaves it to the network.
    """
    prototypes = source_prototypes(task.backbone, source, device=task.device)
    for note in prototypes.notes:
        announce(f"- {note}")
    features = extract_features(task.backbone, task.dataset, "train", device=task.device)
    return domain_similarity(
        prototypes, features, model=task.backbone.name, target=task.dataset.name
    )


def known_similarity(task: Task, source: SourceSpec | None = None) -> Similarity | None:
    """`measure`, or None, with a note, for a network that does not know its source domain.

    Args:
        task: the network and the images.
        source: where the source's prototypes come from; one that is named has to be usable.
    """
    try:
        return measure(task, source)
    except ModelError as error:
        if source is not None and source.path is not None:
            raise
        announce(f"- No similarity: {error}")
        return None


def probe(task: Task) -> float:
    """Error of a linear probe on the task's training images, left out one at a time, a
    fraction."""
    return probe_error(extract_features(task.backbone, task.dataset, "train", device=task.device))
