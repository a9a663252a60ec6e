import pytest
import torch

from kintune.experiments.baselines.methods import OPTIMIZERS, OwnOptimizer, settings_of
from kintune.experiments.baselines.training import train_with
from kintune.training import NesterovSGD, evaluate_model_folder, fine_tune, read_metrics


def own(make):
    return OwnOptimizer(make=make, package="torch", module="torch", call="")


def test_with_the_engine_s_update_it_trains_as_the_engine(start, tmp_path):
    backbone, dataset, config = start
    result = fine_tune(backbone, dataset, config, tmp_path)
    tested = evaluate_model_folder(tmp_path / "model", dataset, "test")
    update = own(lambda params, s: NesterovSGD(params, s.lr, s.momentum, s.weight_decay))
    trained = train_with(update, backbone, dataset, config)
    assert trained.train_losses == tuple(row.train_loss for row in read_metrics(tmp_path))
    assert trained.last.validation == result.validation_top1_error
    assert trained.last.test == tested.top1_error
    assert trained.averaged is None


def test_a_run_that_diverges_says_so_and_has_no_errors(start):
    backbone, dataset, config = start
    trained = train_with(own(lambda params, _: torch.optim.SGD(params)), backbone, dataset, config)
    assert trained.reason is None
    used = config.hyperparameters.replace(lr=1e30)
    wild = config.replace(hyperparameters=used)
    trained = train_with(own(lambda params, _: torch.optim.SGD(params)), backbone, dataset, wild)
    assert trained.reason == "the training loss was not finite in step 2"
    assert trained.last is None


@pytest.mark.parametrize("method", ["dog", "ldog"])
def test_the_average_of_the_weights_is_scored_beside_the_last(start, method):
    pytest.importorskip("dog", reason="dog-optimizer is not installed")
    backbone, dataset, config = start
    used = settings_of(method, config.hyperparameters)
    config = config.replace(hyperparameters=used)
    trained = train_with(OPTIMIZERS[method], backbone, dataset, config)
    assert trained.last is not None
    assert trained.averaged is not None
    assert len(trained.train_losses) == 2
