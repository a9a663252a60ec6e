"""Real pretrained networks: what is loaded, and what is known of a source without its images."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from kintune.backbones import Backbone, BackboneOverrides, load_backbone
from kintune.similarity.prototypes import head_prototypes

pytestmark = pytest.mark.real


def imagenet_network(models: Path, image_size: int) -> Backbone:
    return load_backbone(
        "mobilenetv2_100",
        weights=models / "mobilenetv2_100.in1k.safetensors",
        overrides=BackboneOverrides(image_size=image_size),
    )


def imagenet_features(models: Path, image_size: int) -> np.ndarray:
    """One image a class, float64 (1000, 1280)."""
    path = models / "mobilenetv2_100.in1k.class_features.safetensors"
    return load_file(path)[f"features_{image_size}px"].astype(np.float64)


@pytest.mark.parametrize(
    ("name", "classes", "domain", "first"),
    [
        ("in1k", 1000, "ImageNet-1k", "tench, Tinca tinca"),
        ("inat_birds", 964, "iNaturalist birds", "Haemorhous cassinii (Cassin's Finch)"),
        ("inat_insects", 1021, "iNaturalist insects", None),
    ],
)
def test_the_sidecar_is_enough(real_models, name, classes, domain, first):
    backbone = load_backbone(
        "mobilenetv2_100", weights=real_models / f"mobilenetv2_100.{name}.safetensors"
    )
    assert backbone.num_source_classes == classes
    assert backbone.domain == domain
    assert backbone.model_kwargs == {"pad_type": "same"}
    assert backbone.input.mean == backbone.input.std == (0.5, 0.5, 0.5)
    assert len(backbone.source_labels) == classes
    assert first is None or backbone.source_labels[0] == first
    assert not any("Warning" in note for note in backbone.notes)


def test_mean_feature_from_the_last_normalization(real_models):
    """The file's statistics were measured at 96 px; at that size the mean feature is found."""
    made = head_prototypes(imagenet_network(real_models, 96))
    measured = imagenet_features(real_models, 96).mean(axis=0)
    assert made.center is not None
    assert np.corrcoef(made.center, measured)[0, 1] > 0.9  # 0.933
    error = np.linalg.norm(made.center - measured) / np.linalg.norm(measured)
    assert error < 0.1  # 0.076


@pytest.mark.parametrize(
    ("image_size", "least_cosine", "least_found"),
    [(96, 0.2, 0.35), (224, 0.3, 0.8)],  # 0.24 and 0.43; 0.37 and 0.87
)
def test_head_rows_point_to_the_classes(real_models, image_size, least_cosine, least_found):
    """Against one image a class: its own row is among 1,000 the nearest direction."""
    made = head_prototypes(imagenet_network(real_models, image_size))
    assert made.center is not None
    directions = unit(made.means - made.center)
    features = imagenet_features(real_models, image_size)
    images = unit(features - features.mean(axis=0))
    cosines = directions @ images.T
    assert np.median(np.diag(cosines)) > least_cosine
    assert (cosines.argmax(axis=0) == np.arange(1000)).mean() > least_found


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
