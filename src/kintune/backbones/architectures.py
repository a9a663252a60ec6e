"""The name of a model -> its architecture."""

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kintune.backbones.heads import refuse_uncovered, require_three_channels, too_large
from kintune.backbones.loaders import Loader, PocketLoader
from kintune.base.errors import ModelError, is_out_of_memory, one_line

# What load_backbone decides by itself, or what would load other files than --weights.
RESERVED_KWARGS = {
    *("num_classes", "pretrained", "weights", "progress", "checkpoint_path"),
    *("cache_dir", "pretrained_cfg", "pretrained_cfg_overlay", "features_only"),
}


def find_loader(model: str) -> tuple[Loader, str]:
    """The loader of a model, and the model's name there.

    Raises:
        ModelError: an unknown name, with near matches.
    """
    loader = _loader(model)
    name = model.removeprefix(loader.prefix)
    names = loader.names()
    if name in names:
        return loader, name
    near = [loader.prefix + match for match in difflib.get_close_matches(name, names, 5, 0.5)]
    raise ModelError(
        f"--model {model}: {loader.label} knows no network of this name. "
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
    loader, name = find_loader(model)
    _check_kwargs(model, model_kwargs)
    try:
        return loader.build(name, model_kwargs, num_classes)
    except Exception as error:  # noqa: BLE001 - architectures fail on arguments in any way
        raise _unbuildable(model, model_kwargs, error) from None


def require_trainable(model: str, model_kwargs: dict[str, Any], image_size: int) -> None:
    """Make sure that arguments which act in training alone, such as `drop_rate`, can be used.

    Raises:
        ModelError: the network cannot be built with them, or a forward pass in training mode fails.
    """
    network = build_network(model, model_kwargs).train()
    refuse_uncovered(network, model)
    require_three_channels(network, model)
    try:
        with torch.no_grad():
            network(torch.randn(2, 3, image_size, image_size))
    except Exception as error:  # noqa: BLE001 - architectures fail on arguments in any way
        if is_out_of_memory(error):
            raise too_large(model, image_size) from None
        given = ", ".join(f"{key}={value}" for key, value in model_kwargs.items())
        raise ModelError(
            f"--model {model} with --model-kwargs {given}: cannot be trained on images of "
            f"{image_size} px ({_reason(error)}). Give other arguments or another --image-size."
        ) from None


def other_model_of(model: str, tensors: Mapping[str, Tensor]) -> str | None:
    """A network of a like name, of timm or torchvision, whose tensors these are.

    The two name the tensors of one architecture differently, and files rarely say whose they are.
    """
    shapes = _shapes(tensors)
    for candidate in _like_names(model):
        loader, name = find_loader(candidate)
        try:
            with torch.device("meta"):
                network = loader.build(name, {}, None)
        except Exception:  # noqa: BLE001 - a candidate that cannot be built is none
            continue
        if _shapes(network.state_dict()) == shapes:
            return candidate
    return None


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Shapes by name, without the number of outputs and without batch counters."""
    return {name: tensor.shape[1:] for name, tensor in tensors.items() if tensor.ndim}


def _like_names(model: str) -> list[str]:
    def plain(name: str) -> str:
        return "".join(filter(str.isalnum, name.partition(".")[0].lower()))

    found: list[str] = []
    for loader in (_loader("torchvision:"), _loader("")):
        names = {plain(name): loader.prefix + name for name in reversed(loader.names())}
        wanted = plain(model.rpartition(":")[2])
        found += [names[match] for match in difflib.get_close_matches(wanted, names, 4, 0.7)]
    return [name for name in found if name != model]


def split_revision(model: str) -> tuple[str, str | None]:
    """Name and revision of `NAME@REVISION`; None where there is no revision.

    >>> split_revision("resnet50.a1_in1k@767268603ca0"), split_revision("pocket")
    (('resnet50.a1_in1k', '767268603ca0'), ('pocket', None))
    """
    name, at, revision = model.partition("@")
    return name, revision if at else None


def build_pretrained(
    model: str, model_kwargs: dict[str, Any], revision: str | None = None
) -> nn.Module:
    """An architecture with its published weights, of the newest revision unless one is named.

    Raises:
        ModelError: an unknown model or argument, no such weights, no network, or a kind that is not
            covered, which is told before anything is downloaded.
    """
    loader, name = find_loader(model)
    refuse_uncovered(build_network(model, model_kwargs), model)
    try:
        return loader.pretrained(name, model_kwargs, revision)
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 - architectures fail on arguments in any way
        raise _unbuildable(model, model_kwargs, error) from None


def _loader(model: str) -> Loader:
    # timm takes five seconds to import: only who needs it waits.
    if model == "pocket":
        return PocketLoader()
    if model.startswith("torchvision:"):
        from kintune.backbones.torchvision_loader import TorchvisionLoader

        return TorchvisionLoader()
    from kintune.backbones.timm_loader import TimmLoader

    return TimmLoader()


def _check_kwargs(model: str, model_kwargs: dict[str, Any]) -> None:
    reserved = sorted(RESERVED_KWARGS & model_kwargs.keys())
    if reserved:
        raise ModelError(
            f"--model-kwargs of {model}: {', '.join(reserved)} cannot be given here; "
            "weights come by --weights, and the head's rows from them."
        )


def _unbuildable(model: str, model_kwargs: dict[str, Any], error: Exception) -> ModelError:
    guilty = _guilty_kwargs(model, model_kwargs)
    if not guilty:
        return ModelError(f"--model {model}: cannot be built ({_reason(error)}).")
    given = ", ".join(f"{key}={guilty[key]}" for key in guilty)
    return ModelError(
        f"--model {model} with --model-kwargs {given}: cannot be built ({_reason(error)}). "
        "Give only arguments that the architecture takes, with values of their kind."
    )


def _guilty_kwargs(model: str, model_kwargs: dict[str, Any]) -> dict[str, Any]:
    """The argument without which the network can be built; all where there is no such one."""
    loader, name = find_loader(model)
    for key, value in model_kwargs.items():
        others = {other: model_kwargs[other] for other in model_kwargs if other != key}
        try:
            loader.build(name, others, None)
        except Exception:  # noqa: BLE001 - whatever it is, this key is not the one
            continue
        return {key: value}
    return model_kwargs


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}" if str(error) else one_line(error)
