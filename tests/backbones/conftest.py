import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from kintune.backbones.pocket import PocketNet

CLASSES = 7


@pytest.fixture(scope="session")
def pocket_weights() -> dict[str, torch.Tensor]:
    """A pocket network with random weights and statistics: every tensor matters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = PocketNet(CLASSES)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.normal_(module.bias, 0, 0.3)
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                module.running_mean = torch.randn(module.num_features) / 10
                module.running_var = torch.rand(module.num_features) + 0.5
    return network.state_dict()


@pytest.fixture
def pocket_file(pocket_weights, tmp_path) -> Path:
    """Its weights as a file with nothing beside it."""
    path = tmp_path / "mine.safetensors"
    save_file(pocket_weights, path)
    return path


@pytest.fixture
def describe(pocket_file) -> Callable[..., None]:
    """Writes the sidecar of that file."""

    def write(**facts: Any) -> None:
        pocket_file.with_suffix(".json").write_text(json.dumps(facts))

    return write
