"""timm: any of its convolutional networks, with its published weights. The only import of timm."""

from functools import cache
from pathlib import Path
from typing import Any

import timm
from timm.data import ImageNetInfo  # pyright: ignore[reportPrivateImportUsage] - public in its docs
from timm.models import get_pretrained_cfg
from torch import nn
from typing_extensions import override

from kintune.backbones.downloads import hub_commit, hub_weights, url_weights
from kintune.backbones.facts import WeightsFacts
from kintune.backbones.loaders import Loader
from kintune.base.errors import ModelError


class TimmLoader(Loader):
    """Names are timm's, with or without the tag of the weights: `resnet50`, `resnet50.a1_in1k`."""

    label = "timm"

    @override
    def names(self) -> list[str]:
        return list(_names())

    @override
    def build(self, name: str, model_kwargs: dict[str, Any], num_classes: int | None) -> nn.Module:
        classes = {} if num_classes is None else {"num_classes": num_classes}
        return timm.create_model(name, pretrained=False, **classes, **model_kwargs)

    @override
    def pretrained(
        self, name: str, model_kwargs: dict[str, Any], revision: str | None
    ) -> nn.Module:
        # The file is fetched here, because timm would try for 46 s where there is no network.
        overlay = {"file": str(_published_weights(name, revision)), "custom_load": False}
        return timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay=overlay, **model_kwargs
        )

    @override
    def origin(self, name: str, revision: str | None) -> str:
        commit = hub_commit(_published_weights(name, revision))
        return f"{_config(name).hf_hub_id} at commit {commit}" if commit else ""

    @override
    def defaults(self, name: str) -> WeightsFacts:
        config = _config(name)
        imagenet = "in1k" in (config.tag or "") and config.num_classes == 1000
        return WeightsFacts(
            mean=config.mean,
            std=config.std,
            input_size=config.input_size,
            crop_pct=config.crop_pct,
            interpolation=config.interpolation,
            labels=_imagenet_labels() if imagenet else None,
            source="ImageNet-1k" if imagenet else None,
        )


@cache
def _names() -> tuple[str, ...]:
    return (*timm.list_models(), *timm.list_pretrained())


def _published_weights(name: str, revision: str | None) -> Path:
    config = _config(name)
    if config.hf_hub_id:
        return hub_weights(config.hf_hub_id, config.hf_hub_filename, revision)
    if config.url and revision is None:
        return url_weights(config.url)
    raise ModelError(f"--model {name}: timm has no weights for it. Pass --weights FILE.")


def _config(name: str) -> Any:
    return get_pretrained_cfg(name)


def _imagenet_labels() -> tuple[str, ...]:
    info = ImageNetInfo("imagenet-1k")
    return tuple(info.index_to_description(index) for index in range(info.num_classes()))
