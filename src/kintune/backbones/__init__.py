"""Pretrained networks: timm, torchvision, own files, and the embedded `pocket`."""

from kintune.backbones.architectures import build_network
from kintune.backbones.backbone import (
    POCKET_WEIGHTS,
    Backbone,
    load_backbone,
    randomly_initialised,
    weights_architecture,
    with_new_head,
)
from kintune.backbones.endings import MeanFeature, mean_feature
from kintune.backbones.facts import BackboneOverrides
from kintune.backbones.heads import head_rows, normalised, penultimate_features
from kintune.backbones.trust import trust_ratio, trust_ratios

__all__ = [
    "POCKET_WEIGHTS",
    "Backbone",
    "BackboneOverrides",
    "MeanFeature",
    "build_network",
    "head_rows",
    "load_backbone",
    "mean_feature",
    "normalised",
    "penultimate_features",
    "randomly_initialised",
    "trust_ratio",
    "trust_ratios",
    "weights_architecture",
    "with_new_head",
]
