"""The network and the optimizer with which a run begins, and the conditions it runs under."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypedDict

import torch
from pydantic import JsonValue
from torch import nn

from kintune.backbones import Backbone, randomly_initialized, with_new_head
from kintune.base.errors import OptionError
from kintune.data import ImageDataset
from kintune.runs import RunConfig, device_kind
from kintune.runs.hyperparameters import Hyperparameters
from kintune.runs.inputs import InputSpec
from kintune.training.batch_norm import set_bn_momentum
from kintune.training.checkpoint import TrainingState
from kintune.training.head_start import start_head
from kintune.training.optimizers import NesterovSGD
from kintune.training.regularizers import regularizer_for
from kintune.training.replicas import replicas
from kintune.training.steps import MIN_IMAGES, batch_bounds


class Start(TypedDict):
    """The fields of a `RunConfig` that network and images decide."""

    model: str
    model_kwargs: dict[str, JsonValue]
    weights_sha256: str
    input: InputSpec
    data_sha256: str


def start_of(backbone: Backbone, dataset: ImageDataset) -> Start:
    """Part of a configuration about the network and the images that a run starts with.

    Example: `RunConfig(**start_of(backbone, dataset), hyperparameters=settings, seed=1)`.
    """
    return Start(
        model=backbone.name,
        model_kwargs=backbone.model_kwargs,
        weights_sha256=backbone.weights_sha256,
        input=backbone.input,
        data_sha256=dataset.content_hash,
    )


def check_start(backbone: Backbone, dataset: ImageDataset, config: RunConfig, device: str) -> None:
    """Make sure that the configuration was made for this network and these images.

    Raises:
        OptionError: it was not, its parts exclude each other, or the device is not there.
    """
    if config.data_sha256 != dataset.content_hash:
        raise OptionError(
            f"{dataset.source}: the images are not those of the configuration (content hash "
            f"{dataset.content_hash[:12]}, configured {config.data_sha256[:12]}). Pass the images "
            "it was made with, or make a new configuration."
        )
    if config.initialization == "pretrained" and config.weights_sha256 != backbone.weights_sha256:
        raise OptionError(
            f"{backbone.name}: the weights are not those of the configuration (SHA-256 "
            f"{backbone.weights_sha256[:12]}, configured {config.weights_sha256[:12]}). Pass the "
            "weights it was made with, or make a new configuration."
        )
    if config.input != backbone.input:
        raise OptionError(
            f"{backbone.name}: takes {backbone.input!r}, and the configuration says "
            f"{config.input!r}. Load the network with the input of the configuration."
        )
    if config.initialization == "random" and config.hyperparameters.regularizer == "l2-sp":
        raise OptionError(
            "--regularizer l2-sp pulls towards pretrained weights, and this run starts from random "
            "ones. Use --regularizer l2."
        )
    if config.initialization == "random" and config.hyperparameters.head_start == "probe":
        raise OptionError(
            "--head-start probe fits the head to pretrained features, and this run starts from "
            "random weights. Use --head-start random."
        )
    _check_length(dataset, config.hyperparameters)
    _check_devices(config, device)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise OptionError(f"--device {device}: this machine has no CUDA device. Use --device cpu.")


def _check_length(dataset: ImageDataset, settings: Hyperparameters) -> None:
    images = len(dataset.splits["train"])
    steps_per_epoch = len(batch_bounds(images, settings.batch_size, replicas().count))
    epochs = math.ceil((settings.iterations or 0) / steps_per_epoch)
    if settings.iterations is not None and epochs != settings.epochs:
        raise OptionError(
            f"--iterations {settings.iterations}: that is {epochs} passes over {images} images in "
            f"batches of {settings.batch_size}, and the configuration says {settings.epochs} "
            f"epochs. Leave one of the two away, or configure epochs={epochs}."
        )


def _check_devices(config: RunConfig, device: str) -> None:
    if config.device != device_kind(device):
        raise OptionError(
            f"--device {device}: the configuration is of a run on {config.device}. Use --device "
            f"{config.device}, or make a new configuration."
        )
    found = replicas().count
    if config.devices != found:
        raise OptionError(
            f"the configuration is of {config.devices} devices, and {found} train here. Start it "
            f"with torchrun --nproc-per-node {config.devices} -m kintune ..."
        )
    if config.hyperparameters.batch_size < MIN_IMAGES * found > MIN_IMAGES:
        raise OptionError(
            f"--batch-size {config.hyperparameters.batch_size}: {found} devices need at least "
            f"{MIN_IMAGES} images each, {MIN_IMAGES * found} in all."
        )


def starting_network(
    backbone: Backbone, num_classes: int, config: RunConfig, device: str
) -> nn.Module:
    """The network with its new head on the device, channels last; gradients for what is trained."""
    make = with_new_head if config.initialization == "pretrained" else randomly_initialized
    network = make(backbone, num_classes, config.seed)
    if config.trainable == "head":
        network.requires_grad_(requires_grad=False)
        network.get_submodule(backbone.head_name).requires_grad_(requires_grad=True)
    set_bn_momentum(network, config.hyperparameters.bn_momentum)
    return network.to(device).to(memory_format=torch.channels_last)


def starting_optimizer(network: nn.Module, head_name: str, config: RunConfig) -> NesterovSGD:
    """The update over the trained parameters, with decay on all of them unless some are exempt."""
    settings = config.hyperparameters
    return NesterovSGD(
        parameter_groups(network, head_name, settings),
        settings.lr,
        settings.momentum,
        regularizer=regularizer_for(settings, network, head_name),
        convention=settings.convention,
    )


def parameter_groups(
    network: nn.Module, head_name: str, settings: Hyperparameters
) -> list[dict[str, Any]]:
    """The trained parameters by how they are treated: `lr_factor` of the rate, `decays` or not."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            in_head = name.startswith(f"{head_name}.")
            factor = settings.head_lr_factor if in_head else 1.0
            # Weights have at least two dimensions; biases and scales of normalization have one.
            decays = parameter.ndim > 1 or not settings.exempt_bias_and_norm
            groups.setdefault((factor, decays), []).append(parameter)
    return [
        {"params": params, "lr": settings.lr * factor, "lr_factor": factor, "decays": decays}
        for (factor, decays), params in groups.items()
    ]


def starting_state(
    backbone: Backbone, dataset: ImageDataset, config: RunConfig, device: str
) -> TrainingState:
    """Network and optimizer before the first step; the time that the head took counts."""
    began = time.monotonic()
    network = starting_network(backbone, len(dataset.classes), config, device)
    if config.hyperparameters.head_start == "probe":
        start_head(network, backbone, dataset, config)
    return TrainingState(
        network=network,
        optimizer=starting_optimizer(network, backbone.head_name, config),
        loss_sum=torch.zeros((), dtype=torch.float64, device=device),
        micro_batch_size=config.micro_batch_size,
        seconds=time.monotonic() - began,
    )


@contextmanager
def run_conditions(config: RunConfig, device: str) -> Iterator[None]:
    """A random state of the run's own; that of the process is restored afterwards."""
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(config.seed)
        yield
