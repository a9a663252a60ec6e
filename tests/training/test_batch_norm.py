import pytest
import torch
from torch import nn

from kintune.runs.hyperparameters import bn_momentum_for
from kintune.training import fine_tune, load_model_folder
from kintune.training.batch_norm import set_bn_momentum, train_mode
from kintune.training.start import starting_network


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(), nn.BatchNorm2d(4))


@pytest.mark.parametrize("kept", [0.0, 0.9, 0.95, 0.99])
def test_the_share_kept_is_kept(network, kept):
    set_bn_momentum(network, kept)
    batch = torch.randn(8, 3, 2, 2) + 5
    statistics = network[1].running_mean
    statistics.fill_(1.0)

    network.train()(batch)

    seen = network[0](batch).mean(dim=(0, 2, 3))
    torch.testing.assert_close(statistics, kept + (1 - kept) * seen.detach())


def test_none_leaves_the_networks_own(network):
    network[1].momentum = 0.37

    set_bn_momentum(network, None)

    assert network[1].momentum == 0.37


def test_the_rule_changes_the_default_from_a_hundred_steps_on():
    assert [bn_momentum_for(steps) for steps in (1, 100, 200, 10_000)] == [0.9, 0.9, 0.95, 0.999]


def test_frozen_statistics_stay_while_everything_else_trains(network, make_config):
    train_mode(network, make_config(freeze_bn_stats=True))
    assert [module.training for module in network] == [True, False, True, False]

    train_mode(network, make_config())
    assert all(module.training for module in network)


@pytest.mark.parametrize("freeze", [True, False])
def test_a_run_moves_its_statistics_unless_they_are_frozen(
    backbone, dataset, make_config, tmp_path, freeze
):
    config = make_config(freeze_bn_stats=freeze, epochs=1)

    fine_tune(backbone, dataset, config, tmp_path)

    before = starting_network(backbone, 3, config, "cpu").state_dict()
    after = load_model_folder(tmp_path / "model").network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    statistics = {name for name in before if "running_" in name}
    assert statistics
    assert moved.isdisjoint(statistics) if freeze else statistics <= moved
    assert "fc.weight" in moved


def test_the_momentum_of_a_configuration_reaches_the_network(
    backbone, dataset, make_config, tmp_path
):
    statistics = {}
    for kept in (0.0, 0.99):
        fine_tune(backbone, dataset, make_config(bn_momentum=kept, epochs=1), tmp_path / str(kept))
        network = load_model_folder(tmp_path / str(kept) / "model").network
        statistics[kept] = torch.cat(
            [value for name, value in network.state_dict().items() if "running_mean" in name]
        )

    start = starting_network(backbone, 3, make_config(), "cpu").state_dict()
    began = torch.cat([value for name, value in start.items() if "running_mean" in name])
    assert (statistics[0.99] - began).norm() < 0.1 * (statistics[0.0] - began).norm()
