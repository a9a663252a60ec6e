"""A head that starts as a classifier of the frozen features."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from kintune.backbones import normalized
from kintune.base.errors import OptionError
from kintune.data.transforms import center_crops
from kintune.training import fine_tune, load_model_folder
from kintune.training.batch_norm import measuring_mode
from kintune.training.head_start import (
    PENALTIES,
    _in_their_span,
    cross_validated_penalty,
    first_of_each_class,
    logistic_regression,
)
from kintune.training.start import starting_network, starting_state


def started(backbone, dataset, config):
    return starting_state(backbone, dataset, config, "cpu").network


def training_error(network, backbone, dataset, config):
    """Of the network as training sees it."""
    indices = dataset.splits["train"]
    batch = normalized(center_crops(dataset.images, indices, 16), backbone.input)
    with torch.inference_mode():
        guesses = measuring_mode(copy.deepcopy(network), config)(batch).argmax(dim=1)
    return (guesses.numpy() != dataset.labels[indices]).mean()


def scaled(backbone, factor):
    """With running variances of another scale, as images unlike the source's would have."""
    network = copy.deepcopy(backbone.network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var *= factor
    return replace(backbone, network=network)


def test_the_head_knows_the_classes_before_the_first_step(backbone, dataset, make_config):
    errors = {}
    for start in ("random", "probe"):
        config = make_config(head_start=start)
        errors[start] = training_error(
            started(backbone, dataset, config), backbone, dataset, config
        )
    assert errors["probe"] < 0.1 < 0.3 < errors["random"]


def test_nothing_but_the_head_is_touched(backbone, dataset, make_config):
    config = make_config(head_start="probe")
    before = starting_network(backbone, 3, config, "cpu").state_dict()
    after = started(backbone, dataset, config).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"}


def test_features_are_normalized_as_training_does(backbone, dataset, make_config):
    """Batch statistics do not know the source's; frozen ones are the source's."""
    for frozen in (False, True):
        config = make_config(head_start="probe", freeze_bn_stats=frozen)
        one, other = (
            started(each, dataset, config).get_parameter("fc.weight")
            for each in (backbone, scaled(backbone, 100.0))
        )
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4) is not frozen


def test_where_the_head_alone_learns_features_are_those_of_evaluation(
    backbone, dataset, make_config
):
    config = make_config(head_start="probe", trainable="head")
    one, other = (
        started(each, dataset, config).get_parameter("fc.weight")
        for each in (backbone, scaled(backbone, 100.0))
    )
    assert not torch.allclose(one, other, rtol=1e-3, atol=1e-4)


def test_the_same_configuration_gives_the_same_head(backbone, dataset, make_config):
    config = make_config(head_start="probe")
    one, other = (started(backbone, dataset, config).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_random_weights_have_no_features_to_fit_a_head_to(backbone, dataset, make_config, tmp_path):
    config = make_config(head_start="probe", initialization="random", weights_sha256="")
    with pytest.raises(OptionError, match="--head-start probe"):
        fine_tune(backbone, dataset, config, tmp_path)


def test_a_training_that_hardly_moves_knows_the_classes(backbone, dataset, make_config, tmp_path):
    errors = {}
    for start in ("random", "probe"):
        config = make_config(head_start=start, lr=1e-5, epochs=1)
        fine_tune(backbone, dataset, config, tmp_path / start)
        network = load_model_folder(tmp_path / start / "model").network
        errors[start] = training_error(network, backbone, dataset, config)
    assert errors["probe"] < 0.1 < 0.3 < errors["random"]


def test_every_class_is_among_those_that_are_drawn():
    labels = np.r_[np.zeros(90, int), np.ones(9, int), 2]
    places = first_of_each_class(labels, 12)
    assert np.bincount(labels[places]).tolist() == [6, 5, 1]
    assert list(places) == sorted(places)
    assert np.bincount(labels[first_of_each_class(labels, 1)]).tolist() == [1, 1, 1]


def test_the_fit_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 5)) / 5**0.5
    labels = (features @ generator.normal(size=(5, 3))).argmax(axis=1)
    weight, bias = logistic_regression(torch.from_numpy(features), torch.from_numpy(labels), 3, 0.1)
    expected = LogisticRegression(C=1 / 0.1, tol=1e-8, max_iter=1000).fit(features, labels)
    np.testing.assert_allclose(weight, expected.coef_, atol=0.02)
    np.testing.assert_allclose(bias - bias.mean(), expected.intercept_, atol=0.02)


@pytest.mark.parametrize(("noise", "expected"), [(0.0, min(PENALTIES)), (50.0, max(PENALTIES))])
def test_cross_validation_penalizes_noisy_features_more(noise, expected):
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = np.eye(3)[labels] + noise * generator.normal(size=(90, 3))
    features /= np.linalg.norm(features, axis=1).mean()
    penalty = cross_validated_penalty(torch.from_numpy(features), torch.from_numpy(labels), 3)
    assert penalty == expected


def test_the_fit_in_the_span_of_few_images_is_the_fit():
    generator = np.random.default_rng(0)
    features = torch.from_numpy(generator.normal(size=(20, 50)) / 50**0.5)
    labels = torch.arange(20) % 4
    inside, basis = _in_their_span(features)
    weight, bias = logistic_regression(features, labels, 4, 0.1)
    again, other = logistic_regression(inside, labels, 4, 0.1)
    np.testing.assert_allclose(again @ basis.T, weight, atol=1e-3)
    np.testing.assert_allclose(other, bias, atol=1e-3)
