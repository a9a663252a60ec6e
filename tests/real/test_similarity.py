"""The instrument on real networks and images: the order that a person knows must come out."""

import pytest

from kintune.backbones import BackboneOverrides, load_backbone
from kintune.data import load_dataset
from kintune.options import SimilarityOptions
from kintune.similarity import Similarity, rank_sources
from kintune.similarity.candidates import measure_candidates
from kintune.similarity.task import Task, measure
from studies.similarity.sets import SERIES, SERIES_FROM, write_series

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
    assert all(value < m.relative_distance for m in same_network)
    candidates = [m for (_, name), m in measured.items() if name == own]
    ranking = rank_sources(candidates)
    assert ranking.ranked[0] == measured[network, own]
    assert ranking.warnings == ()  # no order inside the noise


def test_spectrograms_are_farthest_from_imagenet(measured):
    from_imagenet = {name: m for (net, name), m in measured.items() if net == "in1k"}
    far = from_imagenet.pop("fsdd-spectrograms")
    assert all(near.interval[1] < far.interval[0] for near in from_imagenet.values())


def test_a_graded_series_comes_out_in_its_order_from_imagenet(real_models, real_data, tmp_path):
    values = []
    for step in SERIES:
        write_series(real_data / SERIES_FROM / "train", step, tmp_path / step)
        options = SimilarityOptions(
            data=str(tmp_path / step),
            model=str(real_models / "mobilenetv2_100.in1k.safetensors"),
            image_size=96,
        )
        measured = measure_candidates(options)
        assert isinstance(measured, Similarity)
        values.append(measured.relative_distance)
    assert values == sorted(values)
