"""The instrument on real networks and images: the order that a person knows must come out."""

import pytest

from kintune.backbones import BackboneOverrides, load_backbone
from kintune.datasets import load_dataset
from kintune.task import Task, measure

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(600)]

NETWORKS = ("in1k", "inat_birds", "inat_insects")


@pytest.fixture(scope="module")
def measured(real_models, real_data):
    found = {}
    for network in NETWORKS:
        backbone = load_backbone(
            "mobilenetv2_100",
            weights=real_models / f"mobilenetv2_100.{network}.safetensors",
            overrides=BackboneOverrides(image_size=96),
        )
        for name in ("birds", "insects", "fsdd-spectrograms"):
            dataset = load_dataset(real_data / name, backbone.input)
            task = Task(backbone=backbone, dataset=dataset, device="cpu")
            found[network, name] = measure(task, None)
    return found


@pytest.mark.parametrize(("network", "own"), [("inat_birds", "birds"), ("inat_insects", "insects")])
def test_a_set_and_the_network_of_its_kind_are_nearest_to_each_other(measured, network, own):
    value = measured[network, own].interval[1]
    same_network = [m for (net, name), m in measured.items() if net == network and name != own]
    other_network = [
        m for (net, name), m in measured.items() if name == own and net not in (network, "in1k")
    ]
    assert all(value < m.relative_distance for m in same_network + other_network)


def test_spectrograms_are_farthest_from_imagenet(measured):
    from_imagenet = {name: m for (net, name), m in measured.items() if net == "in1k"}
    far = from_imagenet.pop("fsdd-spectrograms")
    assert all(near.interval[1] < far.interval[0] for near in from_imagenet.values())
