"""What a stopped run goes on from: one file, replaced whole, loadable without unpickling.

`checkpoint.safetensors` holds the network, the velocities, torch's random state and the sum of the
epoch's losses as tensors, and the position as JSON in its header.
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

NAME = "checkpoint.safetensors"


class Position(Record):
    """Where in training a run stands."""

    epoch: int
    step: int
    seconds: float


@dataclass
class TrainingState:
    """All that changes while a run trains."""

    network: nn.Module
    optimizer: NesterovSGD
    loss_sum: Tensor
    """Sum of the present epoch's losses over its images so far: float64, a scalar."""
    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Steps done of the present epoch."""
    seconds: float = 0.0
    """Wall-clock time spent on the steps so far, pauses left out."""


def save_checkpoint(folder: Path, state: TrainingState) -> None:
    """Replace the folder's checkpoint, flushed to disk.

    Raises:
        OptionError: it cannot be written; the checkpoint before it is kept.
    """
    tensors = {"random.cpu": torch.get_rng_state(), "loss_sum": state.loss_sum}
    if state.loss_sum.is_cuda:
        tensors["random.cuda"] = torch.cuda.get_rng_state(state.loss_sum.device)
    for name, value in state.network.state_dict().items():
        tensors[f"network.{name}"] = value
    for name, parameter in _trained(state.network):
        tensors[f"velocity.{name}"] = state.optimizer.velocity(parameter)
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    position = Position(epoch=state.epoch, step=state.step, seconds=state.seconds)
    write_atomically(folder / NAME, save(plain, {"position": position.model_dump_json()}))


def load_checkpoint(folder: Path, state: TrainingState) -> None:
    """Put the state and torch's random state where the checkpoint left them.

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
    state.loss_sum.copy_(tensors["loss_sum"])
    torch.set_rng_state(tensors["random.cpu"])
    if state.loss_sum.is_cuda:
        torch.cuda.set_rng_state(tensors["random.cuda"], state.loss_sum.device)


def _trained(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in network.named_parameters() if p.requires_grad]
