"""torchvision: `torchvision:NAME`, with its current published weights."""

from typing import Any

from torch import nn
from torchvision import models
from typing_extensions import override

from kintune.backbones.downloads import url_weights
from kintune.backbones.facts import WeightsFacts
from kintune.backbones.loaders import Loader
from kintune.backbones.weights_file import read_weights
from kintune.base.errors import ModelError


class TorchvisionLoader(Loader):
    """Names are those of torchvision's image classifiers: `torchvision:resnet18`."""

    label = "torchvision"
    prefix = "torchvision:"

    @override
    def names(self) -> list[str]:
        return models.list_models(module=models)

    @override
    def build(self, name: str, model_kwargs: dict[str, Any], num_classes: int | None) -> nn.Module:
        classes = {} if num_classes is None else {"num_classes": num_classes}
        return models.get_model(name, weights=None, **classes, **model_kwargs)

    @override
    def pretrained(
        self, name: str, model_kwargs: dict[str, Any], revision: str | None
    ) -> nn.Module:
        if revision is not None:
            raise ModelError(
                f"--model torchvision:{name}@{revision}: torchvision's weights have a checksum in "
                "their name and no revisions. Omit @ and what follows."
            )
        weights = _published_weights(name)
        # torchvision unpickles what it finds in its cache: refuse here what is not plain tensors.
        read_weights(url_weights(weights.url))
        return models.get_model(name, weights=weights, progress=False, **model_kwargs)

    @override
    def defaults(self, name: str) -> WeightsFacts:
        weights = _published_weights(name)
        transform = weights.transforms()
        crop = transform.crop_size[0]
        return WeightsFacts(
            mean=tuple(transform.mean),
            std=tuple(transform.std),
            input_size=(3, crop, crop),
            crop_pct=crop / transform.resize_size[0],
            interpolation=transform.interpolation.value,
            labels=tuple(weights.meta["categories"]),
            source="ImageNet-1k",
        )


def _published_weights(name: str) -> Any:
    weights: Any = models.get_model_weights(name)
    return weights.DEFAULT
