"""Weights on disk: read without unpickling, loaded whole or refused, named by their content."""

import hashlib
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from kintune.errors import ModelError

NESTED_UNDER = ("state_dict", "model", "model_state_dict")
SHOWN_MISMATCHES = 3


@dataclass(frozen=True)
class WeightsFile:
    """The tensors of one file, by their names in the network."""

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of a safetensors header; empty for other formats."""


def read_weights(path: Path) -> WeightsFile:
    """Read a `.safetensors` file, or a checkpoint that `torch.load(weights_only=True)` takes.

    Tensors nested under `state_dict` or `model` are found there; the prefix `module.` that data
    parallel training leaves is taken off.

    Raises:
        ModelError: there is no such file, it holds no weights, or reading it would run code.
    """
    if not path.is_file():
        raise ModelError(
            f"{path}: no such file. --weights takes a .safetensors file or a checkpoint (.pth)."
        )
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return WeightsFile(path, _state_dict(path, _read_checkpoint(path)))


def load_weights(network: nn.Module, file: WeightsFile, head_name: str) -> bool:
    """Copy a file's tensors into a network of the same architecture.

    Everything must fit, but two things may be missing: batch counters, which decide nothing here,
    and the whole head.

    Returns:
        Whether the head was in the file.

    Raises:
        ModelError: weights of another architecture or shape, with the first tensors that differ.
    """
    wanted = network.state_dict()
    head = {name for name in wanted if name.startswith(f"{head_name}.")}
    has_head = any(name in file.tensors for name in head)
    optional = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = wanted.keys() - file.tensors.keys() - optional - (set() if has_head else head)
    unexpected = file.tensors.keys() - wanted.keys()
    differing = [
        name
        for name, tensor in wanted.items()
        if name in file.tensors and file.tensors[name].shape != tensor.shape
    ]
    if missing or unexpected or differing:
        raise ModelError(_misfit(file, wanted, differing, missing, unexpected))
    network.load_state_dict(dict(file.tensors), strict=False)
    return has_head


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 of a network's tensors in the order of their names: the same weights in another file
    format, precision of storage or memory layout have the same hash. Batch counters are left out.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()


def _read_safetensors(path: Path) -> WeightsFile:
    try:
        with safe_open(path, framework="pt") as file:
            names: list[str] = file.keys()  # the handle itself cannot be iterated
            tensors = {name: file.get_tensor(name) for name in names}
            return WeightsFile(path, _without_prefix(tensors), file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a whole safetensors file ({error}).") from None


def _read_checkpoint(path: Path) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's remarks on other pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"{path}: holds more than tensors (or is no checkpoint). Reading it would mean "
            "unpickling, which can run any code, so it is refused. Where you trust the file, save "
            "its state_dict with safetensors.torch.save_file and pass that."
        ) from None
    except Exception as error:  # torch's reader fails on other bytes in any way
        raise ModelError(f"{path}: cannot be read as a checkpoint ({error}).") from error


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    for key in NESTED_UNDER:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"{path}: holds no dictionary of tensors, but {type(content).__name__}.")
    strange = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if strange:
        raise ModelError(
            f"{path}: these entries are no tensors: {', '.join(strange[:5])}. Expected a "
            f"state_dict, or one under {' or '.join(NESTED_UNDER)}."
        )
    return _without_prefix(dict(content))


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _misfit(
    file: WeightsFile,
    wanted: Mapping[str, Tensor],
    differing: list[str],
    missing: set[str],
    unexpected: set[str],
) -> str:
    lines = [f"{file.path}: these are weights of another network."]
    for name in differing[:SHOWN_MISMATCHES]:
        lines.append(
            f"  {name}: {list(file.tensors[name].shape)} in the file, "
            f"{list(wanted[name].shape)} in the network"
        )
    lines.append(f"  {len(differing)} tensors of another shape;")
    for what, names in (("missing from", missing), ("unexpected in", unexpected)):
        examples = ", ".join(sorted(names)[:SHOWN_MISMATCHES])
        lines.append(f"  {len(names)} {what} the file{f', e.g. {examples}' if names else ''};")
    lines.append("Pass the --model and --model-kwargs that the weights were made with.")
    return "\n".join(lines)
