"""Batch statistics: how fast the running ones move, and freezing them."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] - their only common base

from kintune.runs import RunConfig


def set_bn_momentum(network: nn.Module, kept: float | None) -> None:
    """Keep this share of the running statistics in each step, as the paper counts (appendix C).

    torch's `momentum` is the share replaced, 1 minus it. None changes nothing.
    """
    if kept is not None:
        for module in _batch_norms(network):
            module.momentum = 1 - kept


def train_mode(network: nn.Module, config: RunConfig) -> None:
    """Training mode. Where only the head is trained the body stays in evaluation mode, and where
    statistics are frozen batch normalization does; its scale and shift are trained."""
    network.train(config.trainable == "all")
    if config.hyperparameters.freeze_bn_stats:
        for module in _batch_norms(network):
            module.eval()


def measuring_mode(network: nn.Module, config: RunConfig) -> nn.Module:
    """The network as training will see its features: batches are normalized as in `train_mode`, and
    nothing is left out at random."""
    train_mode(network, config)
    uses_batch = [module for module in _batch_norms(network) if module.training]
    network.eval()
    for module in uses_batch:
        module.train()
    return network


def has_batch_norm(network: nn.Module) -> bool:
    """Whether a network has batch statistics to freeze."""
    return bool(_batch_norms(network))


def _batch_norms(network: nn.Module) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]
