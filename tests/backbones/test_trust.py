import pytest
import torch
from torch import nn

from kintune.backbones import load_backbone, trust_ratio, trust_ratios
from kintune.backbones.backbone import Backbone
from kintune.base.errors import ModelError
from kintune.runs.inputs import InputSpec


def backbone_of(*layers: nn.Module, width: int) -> Backbone:
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))
    return Backbone(
        name="small",
        model_kwargs={},
        network=network.eval(),
        head_name=str(len(network) - 1),
        num_features=width,
        input=InputSpec(image_size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        pretraining_size=16,
        domain="noise",
        num_source_classes=3,
        source_labels=(),
        weights_sha256="",
        notes=(),
    )


def two_layers() -> tuple[nn.Conv2d, nn.Conv2d, Backbone]:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 8, 3, bias=False)
    layers = (first, nn.BatchNorm2d(8), nn.ReLU(), second, nn.BatchNorm2d(8), nn.ReLU())
    return first, second, backbone_of(*layers, width=8)


def scale(layer: nn.Conv2d, by: float) -> None:
    with torch.no_grad():
        layer.weight.mul_(by)


def test_a_layer_before_normalization_bears_the_square_of_its_size():
    first, second, backbone = two_layers()
    before = trust_ratio(backbone)
    scale(first, 3)
    scale(second, 3)
    # But for the epsilon of the normalization.
    assert trust_ratio(backbone) == pytest.approx(9 * before, rel=0.02)


def test_the_fastest_layer_decides():
    first, second, backbone = two_layers()
    scale(first, 100)
    before = trust_ratio(backbone)
    scale(second, 0.5)
    assert trust_ratio(backbone) == pytest.approx(before / 4, rel=0.02)
    scale(first, 10)
    assert trust_ratio(backbone) == pytest.approx(before / 4, rel=0.02)


def test_features_count_in_units_of_their_length():
    """Without normalization: features twice as long bear steps twice as long, and a layer twice as
    large turns half as far."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 8, 1, bias=False)
    ratio = trust_ratio(backbone_of(layer, width=8))
    scale(layer, 2)
    assert trust_ratio(backbone_of(layer, width=8)) == pytest.approx(4 * ratio, rel=0.01)


def test_it_is_the_same_each_time_and_leaves_the_network_as_it_is():
    backbone = load_backbone("pocket")
    before = {name: value.clone() for name, value in backbone.network.state_dict().items()}
    torch.manual_seed(1)
    first = trust_ratio(backbone)
    torch.manual_seed(2)
    assert trust_ratio(backbone) == first
    assert first == pytest.approx(16.4, rel=0.05)
    after = backbone.network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not backbone.network.training
    assert all(parameter.grad is None for parameter in backbone.network.parameters())


class DroppingNorm(nn.BatchNorm2d):
    """As timm's, which hold an activation and what drops it."""

    def __init__(self, width: int, share: float) -> None:
        super().__init__(width)
        self.drop = nn.Dropout(share)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.drop(super().forward(input))


def test_nothing_is_dropped_while_it_is_measured():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 8, 3)
    plain, dropping = DroppingNorm(8, 0.0), DroppingNorm(8, 0.5)
    expected = trust_ratio(backbone_of(layer, plain, nn.ReLU(), width=8))
    found = trust_ratio(backbone_of(layer, dropping, nn.Dropout(0.5), nn.ReLU(), width=8))
    assert found == expected


def test_layers_that_nothing_depends_on_are_passed_over():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 8, 3)
    network = backbone_of(layer, nn.Identity(), width=8)
    expected = trust_ratio(network)
    network.network.get_submodule("1").add_module("unused", nn.Conv2d(3, 8, 1))
    assert trust_ratio(network) == expected


def test_a_network_of_which_nothing_can_be_measured_is_refused():
    for layer in (nn.Identity(), nn.Conv2d(3, 3, 1)):
        if isinstance(layer, nn.Conv2d):
            scale(layer, 0)
        with pytest.raises(ModelError, match=r"small: nothing can be recommended for it"):
            trust_ratio(backbone_of(layer, width=3))


def test_layers_are_measured_by_name_and_the_head_is_not():
    first, _, backbone = two_layers()
    before = trust_ratios(backbone)
    assert set(before) == {"0", "3"}
    scale(first, 2)
    after = trust_ratios(backbone)
    assert after["0"] == pytest.approx(4 * before["0"], rel=0.02)
    assert after["3"] == pytest.approx(before["3"], rel=0.02)
