"""Pretrained networks: timm, torchvision, own files, and the embedded `pocket`."""

from kintune.backbones.architectures import build_network
from kintune.backbones.backbone import (
    POCKET_WEIGHTS,
    Backbone,
    load_backbone,
    randomly_initialised,
    with_new_head,
)
from kintune.backbones.facts import BackboneOverrides
from kintune.backbones.heads import penultimate_features

__all__ = [
    "POCKET_WEIGHTS",
    "Backbone",
    "BackboneOverrides",
    "build_network",
    "load_backbone",
    "penultimate_features",
    "randomly_initialised",
    "with_new_head",
]
