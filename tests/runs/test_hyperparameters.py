import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kintune.base.records import content_id
from kintune.runs.hyperparameters import (
    APPENDIX_D_DECAYS,
    APPENDIX_D_LRS,
    Hyperparameters,
    RateRange,
    appendix_d,
    lr_for,
)

rates = st.floats(1e-5, 10)
momenta = st.floats(0, 0.99)


def settings(**changes):
    return Hyperparameters.as_in_paper(**{"lr": 0.01, "batch_size": 32, "epochs": 2, **changes})


@given(rates, momenta, momenta, st.just(0.0) | st.floats(1e-8, 1e-2))
def test_moves_between_momenta_keep_what_is_equivalent_and_come_back(lr, m, other, decay):
    start = settings(lr=lr, momentum=m, weight_decay=decay)
    moved = start.with_momentum(other)
    assert math.isclose(moved.effective_lr, start.effective_lr, rel_tol=1e-12)
    assert math.isclose(moved.decay_per_step, start.decay_per_step, rel_tol=1e-12)
    back = moved.with_momentum(m)
    assert math.isclose(back.lr, start.lr, rel_tol=1e-12)
    assert math.isclose(back.weight_decay, start.weight_decay, rel_tol=1e-12)


def test_the_reporting_coordinate_is_not_kept_when_momentum_moves():
    start = settings(lr=0.01, momentum=0.9, weight_decay=1e-4)
    moved = start.with_momentum(0.0)
    assert start.effective_weight_decay == pytest.approx(0.01)
    assert moved.effective_weight_decay == pytest.approx(0.0001)


def test_effective_rate_at_momentum_nine_tenths_is_tenfold():
    assert settings().effective_lr == pytest.approx(0.1)
    assert lr_for(0.1, 0.0) == 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0},
        {"lr": -1},
        {"lr": math.nan},
        {"momentum": 1},
        {"momentum": -0.1},
        {"weight_decay": -1},
        {"batch_size": 0},
        {"epochs": -1},
        {"epochs": 0, "head_start": "random"},
        {"unknown": 1},
    ],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        settings(**wrong)


def test_settings_that_differ_in_the_last_bits_have_one_identity():
    assert content_id(settings(lr=0.1 * 3).to_json()) == content_id(settings(lr=0.3).to_json())
    assert content_id(settings(lr=0.3).to_json()) != content_id(settings(lr=0.3001).to_json())


@pytest.mark.parametrize("convention", ["paper", "torch"])
@pytest.mark.parametrize("regularizer", ["l2", "l2-sp"])
@pytest.mark.parametrize("new_part_decay", [None, 0.03])
def test_moves_keep_effective_rate_and_both_decays_per_step(
    convention, regularizer, new_part_decay
):
    start = settings(
        lr=0.02, convention=convention, regularizer=regularizer, new_part_decay=new_part_decay
    )

    moved = start.with_momentum(0.5)
    back = moved.with_momentum(0.9)

    for one in (moved, back):
        assert one.effective_lr == pytest.approx(start.effective_lr, rel=1e-12)
        assert one.decay_per_step == pytest.approx(start.decay_per_step, rel=1e-12)
        assert one.decay_lr * one.new_part_coefficient == pytest.approx(
            start.decay_lr * start.new_part_coefficient, rel=1e-12
        )


def test_torchs_decay_stays_when_momentum_moves_and_the_papers_does_not():
    assert settings(convention="torch").with_momentum(0.0).weight_decay == pytest.approx(1e-4)
    assert settings().with_momentum(0.0).weight_decay == pytest.approx(1e-5)


def test_appendix_d_is_a_grid_of_twenty_for_each_regularizer():
    grid = [
        appendix_d(32, regularizer="l2", lr=lr, weight_decay=decay)
        for lr in APPENDIX_D_LRS
        for decay in APPENDIX_D_DECAYS
    ]
    assert len({setting.model_dump_json() for setting in grid}) == 20
    for setting in grid:
        assert (setting.batch_size, setting.iterations, setting.momentum) == (64, 9000, 0.9)
        assert setting.epochs == 282  # of 32 steps
        assert setting.convention == "torch"
        assert setting.new_part_coefficient == setting.weight_decay
    assert (
        appendix_d(32, regularizer="l2-sp", lr=0.01, weight_decay=0.1).new_part_coefficient == 0.01
    )


@pytest.mark.parametrize("rates", [(0.1, 0.1, 0.1), (0.2, 0.1, 0.3), (0.1, 0.4, 0.3), (3, 2, 1)])
def test_a_range_of_rates_is_in_order_and_no_single_point(rates):
    with pytest.raises(ValidationError, match="low < high"):
        RateRange(**dict(zip(("low", "best", "high"), rates, strict=True)))


@pytest.mark.parametrize("settings", [Hyperparameters, Hyperparameters.as_in_paper])
def test_a_file_without_what_is_implied_is_read_as_it_was_written(settings):
    written = settings(lr=0.1, batch_size=8, epochs=2)
    text = written.model_dump_json(exclude_defaults=True)
    assert Hyperparameters.model_validate_json(text) == written
