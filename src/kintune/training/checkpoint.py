"""What a stopped run goes on from: one file, replaced whole, loadable without unpickling.

`checkpoint.safetensors` holds the network, the velocities and the sum of the epoch's losses as
tensors, and the position as JSON in its header. Random numbers need no state: each step's follow
from the seed and its number.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from kintune.errors import OptionError
from kintune.records import Record
from kintune.runs import write_atomically
from kintune.training.optimizers import NesterovSGD
from kintune.training.replicas import replicas

NAME = "checkpoint.safetensors"


class Position(Record):
    """Where in training a run stands."""

    epoch: int
    step: int
    seconds: float
    micro_batch_size: int | None = None


@dataclass
class TrainingState:
    """All that changes while a run trains."""

    network: nn.Module
    optimizer: NesterovSGD
    loss_sum: Tensor
    """Sum of the present epoch's losses over its images so far: float64, a scalar; of this
    replica's share of them."""
    micro_batch_size: int | None = None
    """Most images that go through the network at once; None for the whole share of a batch."""
    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Steps done of the present epoch."""
    seconds: float = 0.0
    """Wall-clock time spent on the start and the steps so far, pauses left out."""


def save_checkpoint(folder: Path, state: TrainingState) -> None:
    """Replace the folder's checkpoint, flushed to disk; the first replica writes it for all.

    Raises:
        OptionError: it cannot be written; the checkpoint before it is kept.
    """
    here = replicas()
    tensors = {"loss_sum": here.total(state.loss_sum)}
    if not here.is_first:
        return
    for name, value in state.network.state_dict().items():
        tensors[f"network.{name}"] = value
    for name, parameter in _trained(state.network):
        tensors[f"velocity.{name}"] = state.optimizer.velocity(parameter)
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    position = Position(
        epoch=state.epoch,
        step=state.step,
        seconds=state.seconds,
        micro_batch_size=state.micro_batch_size,
    )
    write_atomically(folder / NAME, save(plain, {"position": position.model_dump_json()}))


def load_checkpoint(folder: Path, state: TrainingState) -> None:
    """Put the state where the checkpoint left it.

    Without a checkpoint nothing changes.

    Raises:
        OptionError: the file is damaged or is of another network.
    """
    path = folder / NAME
    if not path.exists():
        return
    try:
        with safe_open(path, framework="pt") as file:
            position = Position.model_validate_json(file.metadata()["position"])
            tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
        _restore(state, tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise OptionError(
            f"{path}: this checkpoint cannot be used ({error}). Delete it to train from the "
            "beginning."
        ) from error
    state.epoch, state.step, state.seconds = position.epoch, position.step, position.seconds
    sizes = [size for size in (state.micro_batch_size, position.micro_batch_size) if size]
    state.micro_batch_size = min(sizes, default=None)


def remove_checkpoint(folder: Path) -> None:
    """Forget where a finished run stood."""
    (folder / NAME).unlink(missing_ok=True)


@torch.no_grad()
def _restore(state: TrainingState, tensors: dict[str, Tensor]) -> None:
    weights = {
        name.removeprefix("network."): value
        for name, value in tensors.items()
        if name.startswith("network.")
    }
    state.network.load_state_dict(weights)
    for name, parameter in _trained(state.network):
        state.optimizer.velocity(parameter).copy_(tensors[f"velocity.{name}"])
    if replicas().is_first:  # the sum is over all of them
        state.loss_sum.copy_(tensors["loss_sum"])


def _trained(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in network.named_parameters() if p.requires_grad]
