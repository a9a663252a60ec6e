"""The training loss over the plane through a start and two ends of training, for Figure 2."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from kintune.backbones import normalized
from kintune.data.transforms import center_crops
from kintune.executors.local import run_guarded
from kintune.runs import device_kind
from kintune.training.start import starting_network
from kintune.training.steps import labels_of
from kintune_paper.context import StudyContext, StudyTask

IMAGES = 240
"""Training images of which the loss is the mean, evenly spread."""
STEPS = 17
"""Points of the plane in each direction."""
MARGIN = 0.6
"""How far the plane reaches beyond the three points, in units of the first way."""


def loss_plane(tasks: Sequence[StudyTask], files: Sequence[Path], device: str) -> dict[str, Any]:
    """Mean cross-entropy at points of the plane through θ₀ and the ends θ₁, θ₂ of two runs.

    Coordinates: the first axis runs from θ₀ to θ₁, the second is at right angles to it in the
    plane; both in units of |θ₁ - θ₀|. Batch normalization uses the statistics of the images
    themselves at every point, for the running ones of a mixture of weights mean nothing. No
    augmentation.

    Args:
        tasks: two runs from the same start.
        files: of their weights (`kept_weights`).
        device: where the network runs.

    Returns:
        `x`, `y`: coordinates; `loss`: a row a y; `start`, `ends`: points of the three networks.
    """
    backbone, dataset, config = tasks[0].backbone, tasks[0].dataset, tasks[0].config
    network = starting_network(backbone, len(dataset.classes), config, device)
    start = _parameters(network.state_dict(), network)
    ends = [_parameters(load_file(file), network) for file in files]
    first, second = (end - start for end in ends)
    unit = first.norm()
    across = second - first * (second @ first) / unit**2
    basis = (first / unit, across / across.norm())
    points = [[float(way @ axis / unit) for axis in basis] for way in (first * 0, first, second)]
    x, y = (_coordinates([point[axis] for point in points]) for axis in (0, 1))
    images, labels = _images(tasks[0], device)
    loss = [
        [_loss(network, start + unit * (a * basis[0] + b * basis[1]), images, labels) for a in x]
        for b in y
    ]
    return {"x": x, "y": y, "loss": loss, "start": points[0], "ends": points[1:]}


def _coordinates(values: Sequence[float]) -> list[float]:
    """Evenly around the points."""
    low, high = min(values) - MARGIN, max(values) + MARGIN
    return [round(float(value), 4) for value in np.linspace(low, high, STEPS)]


def kept_weights(task: StudyTask, context: StudyContext) -> Path | None:
    """The file of a finished run's weights; None where they were not kept."""
    folders = (context.root / task.config.id, _again(task, context))
    files = (folder / "model" / "model.safetensors" for folder in folders)
    return next((file for file in files if file.exists()), None)


def train_again(task: StudyTask, context: StudyContext) -> None:
    """Train a recorded run once more for its weights, in a folder of its own; its record stays as
    it is. Replicas all call this."""
    config = task.config.replace(device=device_kind(context.device))
    run_guarded(task.backbone, task.dataset, config, _again(task, context), device=context.device)


def _again(task: StudyTask, context: StudyContext) -> Path:
    return context.root / "weights" / task.config.id


def _parameters(state: Mapping[str, Tensor], network: nn.Module) -> Tensor:
    """All parameters as one vector, float64."""
    parts = [
        state[name].detach().double().flatten().cpu() for name, _ in network.named_parameters()
    ]
    return torch.cat(parts)


def _images(task: StudyTask, device: str) -> tuple[Tensor, Tensor]:
    rows = task.dataset.splits["train"]
    chosen = rows[np.linspace(0, len(rows) - 1, min(IMAGES, len(rows))).astype(int)]
    crops = center_crops(task.dataset.images, chosen, task.backbone.input.image_size)
    labels = labels_of(task.dataset, chosen).to(device)
    return normalized(crops.to(device), task.backbone.input), labels


@torch.no_grad()
def _loss(network: nn.Module, vector: Tensor, images: Tensor, labels: Tensor) -> float:
    """The mean loss with these parameters; running statistics are left as they are."""
    place = 0
    for _, parameter in network.named_parameters():
        values = vector[place : place + parameter.numel()]
        parameter.copy_(values.reshape(parameter.shape).to(parameter))
        place += parameter.numel()
    held = {name: value.clone() for name, value in network.named_buffers()}
    network.train()
    loss = F.cross_entropy(network(images), labels).item()
    for name, value in network.named_buffers():
        value.copy_(held[name])
    return round(loss, 5)
