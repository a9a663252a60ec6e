"""The name of a model -> its architecture."""

import difflib
from typing import Any

from torch import nn

from kintune.backbones.doors import Door, PocketDoor
from kintune.backbones.heads import refuse_uncovered
from kintune.errors import ModelError

# What load_backbone decides by itself, or what would load other files than --weights.
RESERVED_KWARGS = {
    *("num_classes", "pretrained", "weights", "progress", "checkpoint_path"),
    *("cache_dir", "pretrained_cfg", "pretrained_cfg_overlay", "features_only"),
}


def find_door(model: str) -> tuple[Door, str]:
    """The door of a model, and the model's name there.

    Raises:
        ModelError: an unknown name, with near matches.
    """
    door = _door(model)
    name = model.removeprefix(door.prefix)
    names = door.names()
    if name in names:
        return door, name
    near = [door.prefix + match for match in difflib.get_close_matches(name, names, 5, 0.5)]
    raise ModelError(
        f"--model {model}: {door.label} knows no network of this name. "
        + (f"Near matches: {', '.join(near)}. " if near else "")
        + "Allowed are pocket, any timm name and torchvision:NAME."
    )


def build_network(
    model: str, model_kwargs: dict[str, Any], num_classes: int | None = None
) -> nn.Module:
    """An architecture with random weights, drawn from torch's global generator.

    Args:
        model: e.g. `mobilenetv2_100`, `torchvision:resnet18`, `pocket`.
        model_kwargs: arguments of the architecture, e.g. `{"pad_type": "same"}`.
        num_classes: rows of the head; None takes the architecture's default.

    Raises:
        ModelError: an unknown model or argument.
    """
    door, name = find_door(model)
    _check_kwargs(model, model_kwargs)
    try:
        return door.build(name, model_kwargs, num_classes)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise _unbuildable(model, model_kwargs, error) from None


def build_pretrained(model: str, model_kwargs: dict[str, Any]) -> nn.Module:
    """An architecture with its published weights.

    Raises:
        ModelError: an unknown model or argument, no such weights, no network, or a kind that is not
            covered, which is told before anything is downloaded.
    """
    door, name = find_door(model)
    refuse_uncovered(build_network(model, model_kwargs), model)
    try:
        return door.pretrained(name, model_kwargs)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise _unbuildable(model, model_kwargs, error) from None


def _door(model: str) -> Door:
    # timm takes five seconds to import: only who needs it waits.
    if model == "pocket":
        return PocketDoor()
    if model.startswith("torchvision:"):
        from kintune.backbones.torchvision_door import TorchvisionDoor

        return TorchvisionDoor()
    from kintune.backbones.timm_door import TimmDoor

    return TimmDoor()


def _check_kwargs(model: str, model_kwargs: dict[str, Any]) -> None:
    reserved = sorted(RESERVED_KWARGS & model_kwargs.keys())
    if reserved:
        raise ModelError(
            f"--model-kwargs of {model}: {', '.join(reserved)} cannot be given here; "
            "weights come by --weights, and the head's rows from them."
        )


def _unbuildable(model: str, model_kwargs: dict[str, Any], error: Exception) -> ModelError:
    given = ", ".join(f"{key}={value}" for key, value in model_kwargs.items()) or "none"
    return ModelError(
        f"--model {model} with --model-kwargs {given}: cannot be built ({error}). "
        "Give only arguments that the architecture takes."
    )
