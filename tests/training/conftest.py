"""A run that takes a second: 30 images of 16 px in three colors, and the pocket network."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintune.backbones import Backbone, BackboneOverrides, load_backbone
from kintune.data import ImageDataset, load_dataset
from kintune.runs import RunConfig
from kintune.runs.hyperparameters import PAPER, Hyperparameters

MakeConfig = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of ten noisy images, told apart by their color."""
    folder = tmp_path_factory.mktemp("colors")
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir()
        for index in range(10):
            pixels = rng.integers(0, 160, (16, 16, 3))
            pixels[..., 2 - channel] += 90
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    """Random weights: what is tested here does not depend on good ones."""
    return load_backbone("pocket", overrides=BackboneOverrides(image_size=16), pretrained=False)


@pytest.fixture(scope="session")
def dataset(image_folder: Path, backbone: Backbone) -> ImageDataset:
    return load_dataset(image_folder, backbone.input)


@pytest.fixture
def make_config(backbone: Backbone, dataset: ImageDataset) -> MakeConfig:
    """A configuration of three steps an epoch; keywords replace fields of either record."""

    def make(**changes: object) -> RunConfig:
        settings = {**PAPER, "lr": 0.01, "batch_size": 8, "epochs": 3}
        settings |= {k: v for k, v in changes.items() if k in Hyperparameters.model_fields}
        others = {k: v for k, v in changes.items() if k in RunConfig.model_fields}
        return RunConfig.model_validate(
            {
                "model": backbone.name,
                "weights_sha256": backbone.weights_sha256,
                "input": backbone.input,
                "data_sha256": dataset.content_hash,
                "hyperparameters": settings,
                **others,
            }
        )

    return make
