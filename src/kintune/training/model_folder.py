"""A fine-tuned network on disk: all that `predict` needs, and a backbone for the next fine-tuning.

    model.safetensors   the weights, under the names that `timm.create_model` gives them
    model.json          architecture, classes, input statistics, versions

`timm.create_model(architecture, num_classes=..., **model_kwargs)` followed by a strict
`load_state_dict` takes the weights. No time, host or path is in either file: equal runs give equal
bytes.
"""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from torch import nn

from kintune.backbones import Backbone, WeightsFacts, load_backbone, sidecar_facts
from kintune.base.errors import ModelError
from kintune.base.files import write_atomically
from kintune.data import ImageDataset, Split
from kintune.runs import write_json
from kintune.runs.inputs import InputSpec
from kintune.training.evaluate import Evaluation, evaluate
from kintune.training.run_folder import versions

WEIGHTS = "model.safetensors"
SIDECAR = "model.json"
KEPT_IN = ("best", "model")
"""Subfolders in which `tune` and `finetune` leave their model."""
REQUIRED = ("architecture", "labels", "mean", "std", "input_size", "crop_pct", "interpolation")
"""Facts that predictions depend on: nothing of it is taken from the architecture's defaults."""


@dataclass(frozen=True, kw_only=True)
class FineTunedModel:
    """A network in evaluation mode, the classes of its outputs and what its images must be."""

    network: nn.Module
    classes: tuple[str, ...]
    input: InputSpec
    architecture: str


def write_model_folder(
    folder: Path, network: nn.Module, backbone: Backbone, classes: tuple[str, ...]
) -> None:
    """Write `model.safetensors`, then `model.json`.

    Raises:
        OptionError: the folder cannot be written.
    """
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    spec = backbone.input
    sidecar = WeightsFacts(
        architecture=backbone.name,
        model_kwargs=backbone.model_kwargs,
        num_classes=len(classes),
        labels=classes,
        mean=spec.mean,
        std=spec.std,
        input_size=(3, spec.image_size, spec.image_size),
        interpolation=spec.interpolation,
        crop_pct=spec.crop_pct,
        source=f"{len(classes)} classes, fine-tuned from {backbone.domain}",
        versions=versions(),
    )
    write_atomically(folder / WEIGHTS, save(weights))
    write_json(folder / SIDECAR, sidecar.model_dump(mode="json", exclude_none=True))


def load_model_folder(path: Path) -> FineTunedModel:
    """Load what `write_model_folder` wrote, through the checks of `load_backbone`.

    Args:
        path: the model folder, the output folder that holds it, or the file of its weights.

    Raises:
        ModelError: a file is missing or cannot be used.
    """
    weights = _weights_file(path)
    sidecar = weights.with_suffix(".json")
    facts = sidecar_facts(weights)
    if facts is None or not weights.is_file():
        raise _no_model_folder(path, sidecar if facts is None else weights)
    missing = [name for name in REQUIRED if getattr(facts, name) is None]
    if missing or facts.architecture is None:
        raise ModelError(f"{sidecar}: not a model's description. It lacks {', '.join(missing)}.")
    backbone = load_backbone(facts.architecture, weights=weights)
    if backbone.num_source_classes is None:
        raise ModelError(f"{weights}: holds no head, so it cannot classify. Pass a whole model.")
    return FineTunedModel(
        network=backbone.network,
        classes=backbone.source_labels,
        input=backbone.input,
        architecture=backbone.name,
    )


def _weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    inside = [path, *(path / name for name in KEPT_IN)]
    folder = next((each for each in inside if (each / WEIGHTS).exists()), path)
    return folder / WEIGHTS


def _no_model_folder(path: Path, missing: Path) -> ModelError:
    return ModelError(
        f"{path}: not a model folder ({missing.name} cannot be read). It must hold {WEIGHTS} and "
        f"{SIDECAR}, as `kintune finetune` and `kintune tune` write them."
    )


def evaluate_model_folder(
    folder: Path, dataset: ImageDataset, split: Split, device: str = "cpu"
) -> Evaluation:
    """Evaluate a fine-tuned model on a split of a data set with the same classes.

    Raises:
        ModelError: it is no model folder, or its classes are not the data set's.
    """
    model = load_model_folder(folder)
    if model.classes != dataset.classes:
        raise ModelError(
            f"{folder}: its {len(model.classes)} classes are not the {len(dataset.classes)} of "
            f"{dataset.source}. Evaluate on images with the classes it was trained on."
        )
    return evaluate(model.network.to(device), dataset, split, model.input, device)
