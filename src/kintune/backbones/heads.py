"""Both ends of a network: what goes in, and the head, the linear map from features to logits."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from kintune.base.errors import ModelError, is_out_of_memory, one_line
from kintune.runs.inputs import InputSpec

HEAD_STD = 0.01
ATTENTION_PROJECTIONS = {"to_qkv", "q", "qk", "kv", "query", "q_proj", "in_proj"}


def find_head(network: nn.Module, model: str, image_size: int) -> str:
    """Dotted path of the layer that gives the logits: a linear layer, or a 1x1 convolution of the
    pooled features, which is the same map.

    Raises:
        ModelError: a transformer, a network with two heads, or one that ends otherwise.
    """
    refuse_uncovered(network, model)
    outputs: dict[str, Tensor] = {}

    def remember(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            outputs[name] = output

        return hook

    hooks = [
        module.register_forward_hook(remember(name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
        or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))
    ]
    try:
        logits = _probe(network, model, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    for name, output in reversed(outputs.items()):
        if output.numel() == logits.numel() and torch.equal(output.flatten(), logits.flatten()):
            return name
    raise ModelError(
        f"{model}: its output does not come straight from a linear layer, so it has no head that "
        "can be replaced. Choose a network that ends in one, e.g. resnet50 or mobilenetv2_100."
    )


def penultimate_features(
    network: nn.Module, head_name: str, batch: Tensor
) -> tuple[Tensor, Tensor]:
    """Input and output of the head for a batch of images (b, 3, s, s).

    Returns:
        Features (b, d) and logits (b, K), in the network's mode and precision.
    """
    seen: list[Tensor] = []

    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])

    handle = network.get_submodule(head_name).register_forward_pre_hook(hook)
    try:
        logits = network(batch)
    finally:
        handle.remove()
    return seen[0].flatten(1), logits


def normalized(images: Tensor, spec: InputSpec) -> Tensor:
    """RGB minus mean, over standard deviation; channels last.

    Args:
        images: float32 (b, 3, s, s) in [0, 1], or uint8.
        spec: mean and standard deviation of each channel.

    Returns:
        float32 (b, 3, s, s).
    """
    if images.dtype == torch.uint8:
        images = images.float().div_(255)
    width = images.shape[3]
    # A line of pixels with its channels together is one long vector; a channel alone has gaps.
    lines = images.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).flatten(2)
    mean, std = (images.new_tensor(value).repeat(width) for value in (spec.mean, spec.std))
    return (lines - mean).div_(std).unflatten(2, (width, 3)).permute(0, 3, 1, 2)


def head_rows(network: nn.Module, head_name: str) -> Tensor:
    """The head's weight as a matrix (K, d)."""
    return _weight(network.get_submodule(head_name)).detach().flatten(1)


def replaced_head(network: nn.Module, head_name: str, num_classes: int, seed: int) -> nn.Module:
    """A copy of a network with a new head: weights from N(0, 0.01^2), bias 0.

    The weights are drawn from a generator of their own, so they depend on `seed` and shape alone.
    """
    network = copy.deepcopy(network)
    width = head_rows(network, head_name).shape[1]
    is_linear = isinstance(network.get_submodule(head_name), nn.Linear)
    # torch.nn.utils.skip_init would not draw what is overwritten, but imports a second of torch.
    with torch.random.fork_rng(devices=[]):
        head = nn.Linear(width, num_classes) if is_linear else nn.Conv2d(width, num_classes, 1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        weight = _weight(head)
        weight.copy_(torch.randn(weight.shape, generator=generator) * HEAD_STD)
    network.set_submodule(head_name, head.train(network.training))
    return network


def _weight(head: nn.Module) -> Tensor:
    return head.get_parameter("weight")


def refuse_uncovered(network: nn.Module, model: str) -> None:
    """Make sure that the network is of a kind that Kintune fine-tunes.

    Raises:
        ModelError: a transformer, or a network with two heads.
    """
    if getattr(network, "aux_logits", False):
        raise ModelError(
            f"{model}: has a second head for training, which is not covered. Pass --model-kwargs "
            "aux_logits=false, or choose another network, e.g. resnet50."
        )
    for module in network.modules():
        children = {name for name, _ in module.named_children()}
        if (
            isinstance(module, nn.MultiheadAttention)
            or children & ATTENTION_PROJECTIONS
            or any(name.startswith("qkv") for name in children)
        ):
            raise ModelError(
                f"{model}: transformers and AdamW are not covered yet "
                f"(found {type(module).__name__}). Choose a convolutional network, e.g. resnet50."
            )


def require_finite_outputs(network: nn.Module, name: str, image_size: int) -> None:
    """Make sure that the weights give numbers: a negative variance or too large values do not.

    Args:
        network: with its weights.
        name: what to call the weights in the message.
        image_size: side of the image that is tried, pixels.

    Raises:
        ModelError: an output is NaN or infinite.
    """
    if not _probe(network, name, image_size).isfinite().all():
        raise ModelError(
            f"{name}: with these weights the network's outputs are NaN or infinite. The file is "
            "damaged, or the training that wrote it diverged. Pass others."
        )


def _probe(network: nn.Module, model: str, image_size: int) -> Tensor:
    require_three_channels(network, model)
    noise = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    training = network.training
    try:
        with torch.inference_mode():
            output = network.eval()(noise)
    except Exception as error:  # noqa: BLE001 - architectures fail on sizes and arguments in any way
        if is_out_of_memory(error):
            raise too_large(model, image_size) from None
        raise ModelError(
            f"{model}: does not take images of {image_size} px ({one_line(error)}). Give another "
            "size by --image-size, or other --model-kwargs where you gave some."
        ) from None
    finally:
        network.train(training)
    if not isinstance(output, Tensor) or output.ndim != 2:
        raise ModelError(f"{model}: its output is no table of logits (images, classes).")
    return output


def too_large(model: str, image_size: int) -> ModelError:
    """Return the error to raise where memory does not suffice for one image."""
    return ModelError(
        f"{model}: one image of {image_size} px does not fit into memory. Give a smaller size by "
        "--image-size."
    )


def require_three_channels(network: nn.Module, model: str) -> None:
    """Make sure that a network takes RGB images.

    Raises:
        ModelError: its first convolution has another number of input channels.
    """
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    if first is not None and first.in_channels != 3:
        raise ModelError(
            f"{model}: takes images of {first.in_channels} channels, and Kintune gives every "
            "network three (RGB; gray images are given as three equal ones). Use a network of "
            "three input channels: omit in_chans from --model-kwargs."
        )
