"""Weights into a network: loaded whole or refused, named by their content."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from kintune.backbones.weights_file import WeightsFile
from kintune.base.errors import ModelError

WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts that torch.compile, FSDP and activation checkpointing put into the names of tensors."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NOT_PLAIN = "not a plain tensor in the file (quantized, sparse, expanded or without values)"
SHOWN_MISMATCHES = 3


@dataclass(frozen=True)
class _Wanted:
    """Names of a network's tensors."""

    tensors: dict[str, Tensor]
    head: set[str]

    @property
    def optional(self) -> set[str]:
        """Batch counters, which decide nothing here."""
        return {name for name in self.tensors if name.endswith("num_batches_tracked")}

    @property
    def body(self) -> set[str]:
        """Without these nothing can be done."""
        return self.tensors.keys() - self.head - self.optional


def _wanted(network: nn.Module, head_name: str) -> _Wanted:
    tensors = network.state_dict()
    return _Wanted(tensors, {name for name in tensors if name.startswith(f"{head_name}.")})


def with_names_of(network: nn.Module, file: WeightsFile, head_name: str) -> WeightsFile:
    """The file's tensors under the names that they have in a network.

    Training code puts prefixes before names: `module.`, `model.`, `_orig_mod.`, `backbone.` and
    chains of them. The prefix under which the file holds the whole network, its head aside, is
    taken off, and tensors elsewhere in the file are left out; a note says so.

    Raises:
        ModelError: the file holds the network under several prefixes, and none or several of them
            name averaged weights (EMA).
    """
    wanted = _wanted(network, head_name)
    tensors = _unwrapped(file.tensors, wanted.tensors)
    found: dict[str, set[str]] = {}
    for name in tensors:
        parts = name.split(".")
        for at in range(len(parts)):
            ending = ".".join(parts[at:])
            if ending in wanted.tensors:
                found.setdefault("".join(f"{part}." for part in parts[:at]), set()).add(ending)
    whole = [prefix for prefix, names in found.items() if wanted.body <= names]
    if not whole:  # to be refused; under the best prefix the differences are readable
        prefix = max(found, key=lambda p: (len(found[p]), -len(p)), default="")
        return replace(file, tensors=_under(prefix, tensors))
    prefix = _chosen(file, whole)
    notes = file.notes
    if len(whole) > 1:
        others = ", ".join(_quoted(other) for other in whole if other != prefix)
        notes += (f"Weights with the prefix {_quoted(prefix)} taken; the file also has {others}.",)
    elif prefix:
        notes += (f"Prefix {prefix} taken off the names of the tensors.",)
    outside = sorted(name for name in tensors if not name.startswith(prefix))
    if outside and len(whole) == 1:
        notes += (f"Ignored {len(outside)} tensors of other modules, e.g. {outside[0]}.",)
    return replace(file, tensors=_under(prefix, tensors), notes=notes)


def load_weights(network: nn.Module, file: WeightsFile, head_name: str) -> bool:
    """Copy a file's tensors into a network of the same architecture.

    Everything must fit, but two things may be missing: batch counters, which decide nothing here,
    and the whole head. Floating-point tensors take the network's own precision.

    Args:
        network: is changed in place.
        file: its tensors named as in the network, see `with_names_of`.
        head_name: dotted path of the head.

    Returns:
        Whether the head was in the file.

    Raises:
        ModelError: weights of another architecture, shape or kind, with the first tensors that
            differ, or values that are not finite.
    """
    wanted = _wanted(network, head_name)
    has_head = any(name in file.tensors for name in wanted.head)
    needed = wanted.body | (wanted.head if has_head else set())
    missing = needed - file.tensors.keys()
    unexpected = file.tensors.keys() - wanted.tensors.keys()
    differing = {
        name: difference
        for name, tensor in wanted.tensors.items()
        if name in file.tensors
        and name not in wanted.optional
        and (difference := _difference(file.tensors[name], tensor))
    }
    if missing or unexpected or differing:
        raise ModelError(_misfit(file, differing, missing, unexpected))
    counters = {
        name
        for name in wanted.optional & file.tensors.keys()
        if file.tensors[name].shape == wanted.tensors[name].shape
    }
    loaded = {name: file.tensors[name].to(wanted.tensors[name].dtype) for name in needed | counters}
    for name, tensor in sorted(loaded.items()):
        bad = tensor.numel() - int(tensor.isfinite().sum())
        if bad:
            raise ModelError(
                f"{file.path}: {bad} of the {tensor.numel()} values of {name} are NaN or infinite. "
                "Such weights cannot be used: the training that wrote them diverged, or the file "
                "is damaged. Pass others."
            )
    network.load_state_dict(loaded, strict=False)
    return has_head


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor holds a value of its own for each of its elements."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return False
    return tensor.untyped_storage().nbytes() >= tensor.nbytes


def storage_notes(file: WeightsFile) -> tuple[str, ...]:
    """That a file stores its weights in another precision than they are used in."""
    kinds = Counter(str(t.dtype).removeprefix("torch.") for t in file.tensors.values())
    others = [kind for kind in kinds if kind in ("float16", "bfloat16", "float64")]
    return tuple(f"Weights stored as {kind} are used as float32." for kind in others)


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 of a network's tensors: the same weights in another file format, precision of storage
    or memory layout have the same hash. Batch counters are left out.
    """
    state = network.state_dict()
    return tensors_sha256({n: t for n, t in state.items() if not n.endswith("num_batches_tracked")})


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors in the order of their names: names, dtypes, shapes and values, in whatever
    memory layout."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        values = tensor.detach().cpu().reshape(-1)
        digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _unwrapped(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names without those of wrappers, where that leaves all different."""
    names = [
        name
        if name in wanted
        else ".".join(part for part in name.split(".") if part not in WRAPPERS)
        for name in tensors
    ]
    if len(set(names)) < len(names):
        return dict(tensors)
    return dict(zip(names, tensors.values(), strict=True))


def _chosen(file: WeightsFile, prefixes: list[str]) -> str:
    averaged = [prefix for prefix in prefixes if "ema" in re.split(r"[._]", prefix.lower())]
    if len(prefixes) == 1 or len(averaged) == 1:
        return (averaged or prefixes)[0]
    raise ModelError(
        f"{file.path}: holds the network {len(prefixes)} times, with the prefixes "
        f"{', '.join(_quoted(prefix) for prefix in prefixes)}. Save the one that is meant with "
        "safetensors.torch.save_file and pass that."
    )


def _quoted(prefix: str) -> str:
    return f"'{prefix}'"


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _difference(found: Tensor, wanted: Tensor) -> str:
    """Reason that keeps a tensor of the file from being used; empty where nothing does."""
    if found.shape != wanted.shape:
        return f"{list(found.shape)} in the file, {list(wanted.shape)} in the network"
    if not is_plain(found):
        return NOT_PLAIN
    if found.dtype != wanted.dtype and not (found.dtype in FLOATS and wanted.dtype in FLOATS):
        kinds = (str(t.dtype).removeprefix("torch.") for t in (found, wanted))
        return "{} in the file, {} in the network".format(*kinds)
    return ""


def _misfit(
    file: WeightsFile, differing: Mapping[str, str], missing: set[str], unexpected: set[str]
) -> str:
    lines = [f"{file.path}: these are weights of another network."]
    lines += [f"  {name}: {differing[name]}" for name in list(differing)[:SHOWN_MISMATCHES]]
    lines.append(f"  {len(differing)} tensors of another shape or kind;")
    for what, names in (("missing from", missing), ("unexpected in", unexpected)):
        examples = ", ".join(sorted(names)[:SHOWN_MISMATCHES])
        lines.append(f"  {len(names)} {what} the file{f', e.g. {examples}' if names else ''};")
    lines += [f"  {note}" for note in file.notes]
    lines.append("Pass the --model and --model-kwargs that the weights were made with.")
    return "\n".join(lines)
