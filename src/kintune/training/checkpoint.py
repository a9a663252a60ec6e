"""Where a stopped run goes on: one file, replaced whole, loadable without unpickling.

`checkpoint.safetensors` holds the network, the velocities and the sum of the epoch's losses as
tensors, and in its header the position as JSON and a checksum of both. Random numbers need no
state: each step's follow from the seed and its number.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from kintune.backbones import tensors_sha256
from kintune.base.errors import OptionError, one_line
from kintune.base.files import write_atomically
from kintune.base.progress import announce
from kintune.base.records import Record
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
    notes: tuple[str, ...] = ()
    """Events on the way that the result should name."""


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
    text = position.model_dump_json()
    header = {"position": text, "sha256": _checksum(plain, text)}
    write_atomically(folder / NAME, save(plain, header))


def load_checkpoint(folder: Path, state: TrainingState) -> None:
    """Put the state where the checkpoint left it.

    Without a checkpoint nothing changes. A damaged one is removed: that is said on stderr and in
    the state's notes, and the run begins again.

    Raises:
        OptionError: the file cannot be opened or is of another network.
    """
    path = folder / NAME
    if not path.exists():
        return
    try:
        position, tensors = _read(path)
    except _DamagedError as damage:
        note = f"the checkpoint is damaged ({damage}). Training starts from the beginning."
        announce(f"- {path}: {note}")
        state.notes += (f"{NAME}: {note}",)
        if replicas().is_first:
            path.unlink(missing_ok=True)
        return
    try:
        _restore(state, tensors)
    except (KeyError, RuntimeError) as error:
        raise OptionError(
            f"{path}: this checkpoint is of another network ({one_line(error)}). Delete it to "
            "train from the beginning."
        ) from error
    state.epoch, state.step, state.seconds = position.epoch, position.step, position.seconds
    sizes = [size for size in (state.micro_batch_size, position.micro_batch_size) if size]
    state.micro_batch_size = min(sizes, default=None)


class _DamagedError(Exception):
    """The file is not what was written; the text says how that was seen."""


def _read(path: Path) -> tuple[Position, dict[str, Tensor]]:
    """Position and tensors of a checkpoint that is whole."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({one_line(error)}).") from None
    except Exception as error:  # noqa: BLE001 - of whatever kind, the file is not as written
        raise _DamagedError(one_line(error)) from None
    if "position" not in header or "sha256" not in header:
        raise _DamagedError("its header lacks the position or the checksum")
    text = header["position"]
    if header["sha256"] != _checksum(tensors, text):
        raise _DamagedError("its checksum does not fit its content")
    return Position.model_validate_json(text), tensors


def _checksum(tensors: Mapping[str, Tensor], position: str) -> str:
    return hashlib.sha256((tensors_sha256(tensors) + position).encode()).hexdigest()


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
