"""The steps that commands share: prepare, measure, describe a run, keep results."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kintune import defaults
from kintune.backbones import (
    Backbone,
    BackboneOverrides,
    load_backbone,
    squared_filter_norm,
)
from kintune.datasets import ImageDataset, load_dataset
from kintune.errors import OptionError
from kintune.features import extract_features
from kintune.hyperparameters import Hyperparameters
from kintune.options import DataOptions, MachineOptions, ModelOptions, TrainingOptions
from kintune.progress import announce
from kintune.prototypes import source_prototypes
from kintune.recommend import TaskFacts
from kintune.records import Record
from kintune.results import BestRun
from kintune.runs import RunConfig, RunResult, write_json
from kintune.similarity import Similarity, domain_similarity
from kintune.training import Evaluation, evaluate_model_folder


class TaskOptions(DataOptions, ModelOptions):
    """What every command that loads images and a network knows."""


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

    def facts(self) -> dict[str, Any]:
        """What was loaded and what was decided, as JSON values."""
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
                "notes": list(model.notes),
            },
        }


def load_task(options: Any, *, pretrained: bool = True) -> Task:
    """The network and the images of a command's options; says on stderr what was used.

    Raises:
        ModelError, DataError, OptionError: what cannot be used.
    """
    device = resolve_device(options.device)
    torch.set_num_threads(getattr(options, "threads", None) or os.cpu_count() or 1)
    backbone = load_backbone(
        options.model,
        weights=options.weights,
        overrides=BackboneOverrides(
            image_size=options.image_size,
            mean=options.mean,
            std=options.std,
            model_kwargs=options.model_kwargs,
        ),
        pretrained=pretrained,
    )
    dataset = load_dataset(
        options.data,
        backbone.input,
        skip_unreadable=options.skip_unreadable,
        val_fraction=options.val_fraction,
        seed=getattr(options, "seed", defaults.SEED),
    )
    for note in (*backbone.notes, *dataset.notes):
        announce(f"- {note}")
    return Task(backbone=backbone, dataset=dataset, device=device)


def resolve_device(device: str) -> str:
    """The device that a flag names.

    Raises:
        OptionError: there is no such device here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise OptionError(
            f"--device {device}: not available here; use cpu"
            + (", cuda" if torch.cuda.is_available() else "")
            + " or auto."
        ) from None
    return device


def measure(task: Task, source: Path | None) -> Similarity:
    """How near the task's training images are to the network's source domain."""
    prototypes = source_prototypes(task.backbone, source=source)
    features = extract_features(task.backbone, task.dataset, "train", device=task.device)
    return domain_similarity(
        prototypes, features, model=task.backbone.name, target=task.dataset.name
    )


def task_facts(task: Task, options: TrainingOptions) -> TaskFacts:
    """Size and budget of a fine-tuning: the options where given, else the defaults."""
    images = len(task.dataset.splits["train"])
    batch_size = options.batch_size or defaults.batch_size_for(images)
    return TaskFacts(
        images=images,
        classes=len(task.dataset.classes),
        batch_size=batch_size,
        epochs=options.epochs or defaults.epochs_for(images, batch_size),
        weights_sha256=task.backbone.weights_sha256,
        squared_filter_norm=squared_filter_norm(task.backbone.network),
    )


def run_config(task: Task, settings: Hyperparameters, options: MachineOptions) -> RunConfig:
    """The configuration of one run of a task."""
    return RunConfig(
        model=task.backbone.name,
        model_kwargs=task.backbone.model_kwargs,
        weights_sha256=task.backbone.weights_sha256,
        input=task.backbone.input,
        data_sha256=task.dataset.content_hash,
        hyperparameters=settings,
        seed=options.seed,
        threads=options.threads or os.cpu_count() or 1,
    )


def evaluate_best(task: Task, best: RunResult, model_folder: Path, folder: Path) -> BestRun:
    """Read the test split for the chosen run, or validation where there is no test split, and keep
    its predictions in `folder`/evaluation.json."""
    split = "test" if len(task.dataset.splits["test"]) else "val"
    evaluation = evaluate_model_folder(model_folder, task.dataset, split, device=task.device)
    write_json(folder / "evaluation.json", _predictions(task.dataset, split, evaluation))
    tested = split == "test"
    return BestRun(
        **best.to_json(),
        test_top1_error=evaluation.top1_error if tested else None,
        test_average_class_error=evaluation.average_class_error if tested else None,
    )


def _predictions(dataset: ImageDataset, split: str, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "split": split,
        "paths": [dataset.paths[index] for index in evaluation.indices],
        "classes": list(dataset.classes),
        "labels": dataset.labels[evaluation.indices].tolist(),
        "predictions": evaluation.predictions.tolist(),
        "confidences": [round(float(value), 6) for value in evaluation.confidences],
        "top1_error": evaluation.top1_error,
        "average_class_error": evaluation.average_class_error,
    }


def require_writable(folder: Path) -> None:
    """Make the output folder, and make sure that files can be written in it.

    Raises:
        OptionError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OptionError(
            f"--output {folder}: cannot be written ({error.strerror}). Choose another folder."
        ) from None


def open_output(folder: Path, identity: Mapping[str, str]) -> None:
    """Make the output folder and mark whose it is.

    Args:
        folder: what `--output` names, or the default.
        identity: what every run in the folder shares, such as the data's hash.

    Raises:
        OptionError: it cannot be written, or holds results of something else (named).
    """
    require_writable(folder)
    marker = folder / "task.json"
    if marker.exists():
        held = TaskIdentity.read(marker).identity
        differences = [
            f"{key} is {held.get(key)} there and {identity.get(key)} here"
            for key in sorted(held.keys() | identity.keys())
            if held.get(key) != identity.get(key)
        ]
        if differences:
            raise OptionError(
                f"--output {folder}: holds results of another task: {'; '.join(differences)}. "
                "Choose another folder."
            )
    else:
        write_json(marker, TaskIdentity(identity=dict(identity)).to_json())


class TaskIdentity(Record):
    """What `task.json` in an output folder holds."""

    identity: dict[str, str]


def task_identity(task: Task) -> dict[str, str]:
    """What all runs of a task share."""
    return {
        "data": task.dataset.content_hash,
        "model": task.backbone.name,
        "weights": task.backbone.weights_sha256,
        "image_size": str(task.backbone.input.image_size),
    }


def keep_model(model_folder: Path, destination: Path) -> None:
    """Copy a model folder; whoever looks sees the old one or the new one whole."""
    fresh = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}."))
    shutil.copytree(model_folder, fresh, dirs_exist_ok=True)
    fresh.chmod(0o755)
    if destination.exists():
        shutil.rmtree(destination)
    fresh.rename(destination)
