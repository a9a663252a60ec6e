import pytest

from kintune.executors import LearningCurve, StopRule
from kintune.training import EpochMetrics


def row(epoch, error):
    return EpochMetrics(
        epoch=epoch,
        lr=1,
        train_loss=1,
        validation_top1_error=error,
        weight_norm=1,
        seconds=1,
    )


def rule(*curves, epochs=10, images=400):
    return StopRule(
        curves=tuple(LearningCurve(errors=errors) for errors in curves),
        epochs=epochs,
        validation_images=images,
    )


GOOD = {5: 0.3, 6: 0.15, 8: 0.12, 10: 0.1}


def test_a_run_far_above_all_hope_is_stopped_with_the_numbers():
    reason = rule(GOOD)([row(5, 0.9), row(6, 0.8)])
    assert reason is not None
    assert "80.0%" in reason
    assert "10.0%" in reason


@pytest.mark.parametrize("epoch", [1, 5])
def test_nothing_is_stopped_before_the_rate_fell(epoch):
    assert rule({1: 0.3, **GOOD})([row(epoch, 0.9)]) is None


@pytest.mark.parametrize("error", [0.1, 0.15, 0.25])
def test_a_run_that_may_still_win_goes_on(error):
    assert rule(GOOD)([row(6, error)]) is None


def test_a_run_is_credited_with_the_steepest_fall_seen():
    steep = {6: 0.6, 10: 0.12}
    assert rule(GOOD)([row(6, 0.5)]) is not None
    assert rule(GOOD, steep)([row(6, 0.5)]) is None


def test_noise_of_few_validation_images_is_allowed_for():
    assert rule(GOOD, images=400)([row(8, 0.35)]) is not None
    assert rule(GOOD, images=20)([row(8, 0.35)]) is None


def test_without_a_finished_run_or_an_error_nothing_is_lost():
    assert rule()([row(9, 0.9)]) is None
    assert rule(GOOD)([row(8, None)]) is None
    assert rule(GOOD)([row(7, 0.9)]) is None, "nobody was measured after epoch 7"


def test_it_goes_to_a_worker_and_back():
    there = StopRule.model_validate_json(rule(GOOD).model_dump_json())
    assert there([row(6, 0.8)]) == rule(GOOD)([row(6, 0.8)])
