"""Weights on disk, read without unpickling."""

import pickle
import re
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kintune.base.errors import ModelError, one_line

WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
EMA_KEYS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "params_ema")
"""Averaged weights go first, as in timm: they are the ones that a training script evaluates."""
WEIGHTS_KEYS = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module"),
    *("weights", "params"),
)
MAX_NESTING = 4


class _Ignored:
    """Stands for an object beside the weights. It takes any content and does nothing with it."""

    def __new__(cls, *_arguments: object) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _IgnoredDict:
    """Stands for a kind of dictionary beside the weights: read as a plain one."""

    def __new__(cls, *_arguments: object) -> Any:
        return {}


class _IgnoredList:
    """Stands for a kind of list beside the weights: read as a plain one."""

    def __new__(cls, *_arguments: object) -> Any:
        return []


# What training scripts save beside weights. Each name is read as one of the placeholders above,
# which run nothing: the class that the file names is never imported. Any other name is refused.
ALLOWED_GLOBALS: list[Any] = [
    (_Ignored, "argparse.Namespace"),
    (_Ignored, "datetime.datetime"),
    (_Ignored, "datetime.timedelta"),
    (_Ignored, "numpy.dtype"),
    (_Ignored, "numpy.ndarray"),
    *((_Ignored, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_Ignored, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *(
        (_Ignored, f"{module}.{kind}")
        for module in ("pathlib", "pathlib._local")
        for kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
    ),
    *(
        (_Ignored, f"{module}.{kind}")
        for module in ("builtins", "__builtin__")
        for kind in ("bool", "dict", "float", "frozenset", "int", "list", "range", "slice", "str")
    ),
    (_Ignored, "types.SimpleNamespace"),
    (_Ignored, "mmengine.logging.history_buffer.HistoryBuffer"),
    *(
        (_Ignored, f"omegaconf.{kind}")
        for kind in ("dictconfig.DictConfig", "listconfig.ListConfig", "nodes.AnyNode")
    ),
    *((_Ignored, f"omegaconf.base.{kind}") for kind in ("ContainerMetadata", "Metadata")),
    (_Ignored, "typing.Any"),
    (_IgnoredList, "collections.deque"),
    (_IgnoredDict, "collections.defaultdict"),
    (_IgnoredDict, "lightning.fabric.utilities.data.AttributeDict"),
    (_IgnoredDict, "lightning_fabric.utilities.data.AttributeDict"),
    (_IgnoredDict, "pytorch_lightning.utilities.parsing.AttributeDict"),
]


@dataclass(frozen=True)
class WeightsFile:
    """The tensors of one file, by their names there."""

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    """Metadata of a safetensors header; empty for other formats."""
    notes: tuple[str, ...] = ()
    """Which of several things in the file was taken."""


def is_weights_path(model: str) -> bool:
    """Whether a `--model` is a file of weights and not the name of an architecture."""
    return Path(model).suffix in WEIGHTS_SUFFIXES or ("/" in model and Path(model).is_file())


def absolute_model(model: str) -> str:
    """A `--model` that means the same from any folder: a file of weights by its absolute path."""
    return str(Path(model).absolute()) if is_weights_path(model) else model


def read_weights(path: Path) -> WeightsFile:
    """Read a safetensors file, or a checkpoint that `torch.load(weights_only=True)` takes.

    The format is told by the content. Tensors nested in a checkpoint are found under the keys of
    `EMA_KEYS`, else `WEIGHTS_KEYS`, or where there is one dictionary of tensors.

    Raises:
        ModelError: there is no such file, it holds no weights, or reading it would run code.
    """
    start = _start_of_file(path)
    if start[8:9] == b"{" or (path.suffix == ".safetensors" and not start.startswith(b"PK")):
        return _read_safetensors(path)
    tensors, notes = _state_dict(path, _read_checkpoint(path))
    return WeightsFile(path, tensors, notes=notes)


def _start_of_file(path: Path) -> bytes:
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
        start = b""
        if is_file:
            with path.open("rb") as file:
                start = file.read(20)
    except FileNotFoundError:
        raise ModelError(
            f"{path}: no such file. Expected a .safetensors file or a checkpoint (.pth)."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({one_line(error)}).") from None
    if not is_file:
        raise ModelError(
            f"{path}: not a file. Expected a .safetensors file or a checkpoint (.pth)."
        )
    if not start:
        raise ModelError(f"{path}: the file is empty. Copy or download it again.")
    if start.startswith(b"version https://git-"):
        raise ModelError(
            f"{path}: a Git LFS pointer, not the weights. Fetch them with git lfs pull."
        )
    return start


def _read_safetensors(path: Path) -> WeightsFile:
    try:
        with safe_open(path, framework="pt") as file:
            names: list[str] = file.keys()  # the handle itself cannot be iterated
            tensors = {name: file.get_tensor(name) for name in names}
            metadata = file.metadata() or {}
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        kind = "not a whole safetensors file" if isinstance(error, SafetensorError) else "unusable"
        raise ModelError(
            f"{path}: {kind} ({one_line(error)}). Copy or download it again."
        ) from None
    if not tensors:
        raise ModelError(f"{path}: holds no tensors.")
    return WeightsFile(path, tensors, metadata)


def _read_checkpoint(path: Path) -> Any:
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # torch's remarks on other pickle protocols
            torch.serialization.safe_globals(ALLOWED_GLOBALS),
            path.open("rb") as file,  # torch takes the format of a path from its suffix
        ):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = (
            f"holds objects of {found[1]}" if found else "is no checkpoint or holds other objects"
        )
        raise ModelError(
            f"{path}: {what}. Reading these would mean unpickling, which can run any code, so it "
            "is refused. If you trust the file, save its state_dict with "
            "safetensors.torch.save_file and pass that."
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # torch's reader fails on other bytes in any way
        if "TorchScript" in str(error):
            raise ModelError(
                f"{path}: a TorchScript archive, which holds code. Save the state_dict() of the "
                "module with safetensors.torch.save_file and pass that."
            ) from None
        raise ModelError(
            f"{path}: cannot be read as a checkpoint ({one_line(error)}). Expected a .safetensors "
            "file or a state_dict that torch.save wrote."
        ) from error


def _state_dict(path: Path, content: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of a checkpoint, and what was said on the way to them."""
    notes: list[str] = []
    trail: list[str] = []
    while isinstance(content, Mapping) and len(trail) < MAX_NESTING:
        entries = cast("Mapping[Any, Any]", content)
        held = [key for key in entries if isinstance(key, str) and _leads_on(key, entries[key])]
        if not held:
            break
        key = _preferred(path, held)
        others = [other for other in held if other != key and _is_known(other)]
        trail.append(key)
        if others:
            notes.append(
                f"Weights taken from {'.'.join(trail)} of the checkpoint; "
                f"it also holds {', '.join(others)}."
            )
        content = entries[key]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"{path}: holds no dictionary of tensors, but {type(content).__name__}.")
    tensors, others = _split(cast("Mapping[Any, Any]", content))
    if not tensors:
        raise ModelError(
            f"{path}: holds no tensors: {_some(others)}. Expected a state_dict, or one under "
            f"{' or '.join(WEIGHTS_KEYS[:2])}."
        )
    unnamed = [repr(key) for key in tensors if not isinstance(key, str)]
    if unnamed:
        raise ModelError(
            f"{path}: its keys are not the names of tensors: {_some(unnamed)}. Expected a "
            "state_dict, whose keys are names such as conv1.weight."
        )
    if others:
        notes.append(f"Ignored what is no tensor in the checkpoint: {_some(others)}.")
    return cast("dict[str, Tensor]", tensors), tuple(notes)


def _leads_on(key: str, entry: Any) -> bool:
    """Whether an entry holds a network's tensors, directly or, under a known key, further down."""
    if not isinstance(entry, Mapping):
        return False
    values = cast("Mapping[Any, Any]", entry)
    if any(isinstance(value, Tensor) for value in values.values()):
        return True
    return _is_known(key) and any(
        isinstance(inner, str) and _leads_on(inner, value) for inner, value in values.items()
    )


def _is_known(key: str) -> bool:
    return key in EMA_KEYS or key in WEIGHTS_KEYS


def _preferred(path: Path, held: list[str]) -> str:
    known = [key for key in (*EMA_KEYS, *WEIGHTS_KEYS) if key in held]
    if known:
        return known[0]
    if len(held) == 1:
        return held[0]
    raise ModelError(
        f"{path}: holds several dictionaries of tensors: {_some(held)}. Save the one that is meant "
        "with safetensors.torch.save_file and pass that."
    )


def _split(content: Mapping[Any, Any]) -> tuple[dict[Any, Tensor], list[str]]:
    """Entries that are tensors, and the names of the others."""
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    return tensors, [str(key) for key in content if key not in tensors]


def _some(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (
        f" and {len(names) - shown} more" if len(names) > shown else ""
    )
