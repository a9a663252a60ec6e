"""The network and the optimiser with which a run begins, and the conditions it runs under."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from kintune.backbones import Backbone, randomly_initialised, with_new_head
from kintune.datasets import ImageDataset
from kintune.errors import OptionError
from kintune.runs import RunConfig
from kintune.training.checkpoint import TrainingState
from kintune.training.optimizers import NesterovSGD
from kintune.training.regularizers import regularizer_for


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
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise OptionError(f"--device {device}: this machine has no CUDA device. Use --device cpu.")


def starting_network(
    backbone: Backbone, num_classes: int, config: RunConfig, device: str
) -> nn.Module:
    """The network with its new head on the device, channels last; gradients for what is trained."""
    make = with_new_head if config.initialization == "pretrained" else randomly_initialised
    network = make(backbone, num_classes, config.seed)
    if config.trainable == "head":
        network.requires_grad_(requires_grad=False)
        network.get_submodule(backbone.head_name).requires_grad_(requires_grad=True)
    return network.to(device).to(memory_format=torch.channels_last)


def starting_optimizer(network: nn.Module, head_name: str, config: RunConfig) -> NesterovSGD:
    """Equations (1) and (2) over the trained parameters, decay on all of them as in the paper."""
    settings = config.hyperparameters
    return NesterovSGD(
        [parameter for parameter in network.parameters() if parameter.requires_grad],
        settings.lr,
        settings.momentum,
        regularizer=regularizer_for(
            settings.regularizer, settings.weight_decay, network, head_name
        ),
    )


def starting_state(
    backbone: Backbone, num_classes: int, config: RunConfig, device: str
) -> TrainingState:
    """Network and optimiser before the first step."""
    network = starting_network(backbone, num_classes, config, device)
    return TrainingState(
        network=network,
        optimizer=starting_optimizer(network, backbone.head_name, config),
        loss_sum=torch.zeros((), dtype=torch.float64, device=device),
    )


@contextmanager
def run_conditions(config: RunConfig, device: str) -> Iterator[None]:
    """The configured CPU threads and a random state of the run's own; both restored afterwards."""
    threads = torch.get_num_threads()
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices):
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
