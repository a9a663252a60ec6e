"""A fine-tuned network on disk: all that `predict` needs, and a backbone for the next fine-tuning.

    model.safetensors   the weights, under the names that `timm.create_model` gives them
    model.json          architecture, classes, input statistics, versions

`timm.create_model(architecture, num_classes=..., **model_kwargs)` followed by a strict
`load_state_dict` takes the weights. No time, host or path is in either file: equal runs give equal
bytes.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from kintune.backbones import Backbone, build_network
from kintune.datasets import ImageDataset, Split
from kintune.errors import ModelError
from kintune.inputs import InputSpec, Interpolation, Triple
from kintune.records import Record, faults
from kintune.runs import write_atomically, write_json
from kintune.training.evaluate import Evaluation, evaluate
from kintune.training.run_folder import versions

WEIGHTS = "model.safetensors"
SIDECAR = "model.json"


class Sidecar(Record):
    """`model.json`, in the format of the file beside a backbone's weights."""

    model_config = ConfigDict(protected_namespaces=())

    architecture: str
    model_kwargs: dict[str, JsonValue]
    num_classes: int
    labels: tuple[str, ...]
    mean: Triple
    std: Triple
    input_size: tuple[int, int, int]
    interpolation: Interpolation
    crop_pct: float = Field(gt=0, le=1)
    source: str
    versions: dict[str, str]

    @property
    def input(self) -> InputSpec:
        """What the network expects of its images."""
        return InputSpec(
            image_size=self.input_size[1],
            mean=self.mean,
            std=self.std,
            crop_pct=self.crop_pct,
            interpolation=self.interpolation,
        )


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
    sidecar = Sidecar(
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
    write_json(folder / SIDECAR, sidecar.to_json())


def load_model_folder(folder: Path) -> FineTunedModel:
    """Load what `write_model_folder` wrote.

    Raises:
        ModelError: a file is missing or is not of this kind.
    """
    try:
        sidecar = Sidecar.model_validate_json((folder / SIDECAR).read_bytes())
        weights = load_file(folder / WEIGHTS)
    except OSError as error:
        raise ModelError(
            f"{folder}: not a model folder ({error.filename or WEIGHTS} cannot be read). It must "
            f"hold {WEIGHTS} and {SIDECAR}, as `kintune finetune` and `kintune tune` write them."
        ) from None
    except ValidationError as error:
        raise ModelError(
            f"{folder / SIDECAR}: not a model's description. {faults(error)}"
        ) from None
    except SafetensorError as error:
        raise ModelError(f"{folder / WEIGHTS}: not a safetensors file ({error}).") from None
    network = build_network(sidecar.architecture, sidecar.model_kwargs, sidecar.num_classes)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(
            f"{folder / WEIGHTS}: weights of another network than {SIDECAR} describes ({error})."
        ) from None
    return FineTunedModel(
        network=network.eval(),
        classes=sidecar.labels,
        input=sidecar.input,
        architecture=sidecar.architecture,
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
