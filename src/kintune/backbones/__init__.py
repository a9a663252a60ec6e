"""Pretrained networks: timm, torchvision, own files, and the embedded `pocket`."""

from kintune.backbones.architectures import build_network
from kintune.backbones.backbone import (
    POCKET_WEIGHTS,
    Backbone,
    load_backbone,
    named_architecture,
    randomly_initialized,
    with_new_head,
)
from kintune.backbones.facts import BackboneOverrides, WeightsFacts, sidecar_facts
from kintune.backbones.heads import head_rows, normalized, penultimate_features
from kintune.backbones.mean_features import MeanFeature, mean_feature
from kintune.backbones.trust import trust_ratio, trust_ratios
from kintune.backbones.weights import tensors_sha256
from kintune.backbones.weights_file import absolute_model, is_weights_path

__all__ = [
    "POCKET_WEIGHTS",
    "Backbone",
    "BackboneOverrides",
    "MeanFeature",
    "WeightsFacts",
    "absolute_model",
    "build_network",
    "head_rows",
    "is_weights_path",
    "load_backbone",
    "mean_feature",
    "named_architecture",
    "normalized",
    "penultimate_features",
    "randomly_initialized",
    "sidecar_facts",
    "tensors_sha256",
    "trust_ratio",
    "trust_ratios",
    "with_new_head",
]
