import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kintune.base.errors import OptionError
from kintune.runs.hyperparameters import Hyperparameters, RateRange
from kintune.search import (
    Choices,
    Grid,
    Point,
    SearchSpace,
    appendix_d_grid,
    distinct,
    paper_grid,
    scratch_grid,
)

BASE = Hyperparameters.as_in_paper(
    lr=0.01, momentum=0.9, weight_decay=1e-4, batch_size=32, epochs=4
)
CHOICES = Choices(momentum=(0.9, 0.0, 0.95), weight_decay=(0.0, 1e-4), batch_size=(32, 64))
SPACE = SearchSpace(base=BASE, choices=CHOICES)


@given(st.floats(1e-5, 50), st.integers(0, len(CHOICES) - 1))
def test_a_point_and_its_setting_are_found_from_each_other(rate, variant):
    point = SPACE.rounded(Point(effective_lr=rate, variant=variant))
    setting = SPACE.at(point)
    assert SPACE.point_of(setting) == point
    assert math.isclose(setting.effective_lr, point.effective_lr, rel_tol=1e-9)


@pytest.mark.parametrize("convention", ["paper", "torch"])
def test_between_momenta_a_point_keeps_rate_and_decay_per_step(convention):
    base = BASE.replace(convention=convention)
    space = SearchSpace(base=base, choices=Choices(momentum=(0.9, 0.0)))
    usual, plain = (space.at(Point(effective_lr=0.2, variant=index)) for index in (0, 1))
    assert plain.momentum == 0
    assert plain.equivalence == usual.equivalence
    assert plain.effective_weight_decay != pytest.approx(usual.effective_weight_decay)


def test_along_the_rate_the_decay_stays():
    decays = {SPACE.at(Point(effective_lr=rate, variant=1)).weight_decay for rate in (0.01, 0.3)}
    assert len(decays) == 1


def test_a_setting_outside_the_space_has_no_point():
    assert SPACE.point_of(BASE.replace(epochs=5)) is None
    assert SPACE.point_of(BASE.replace(momentum=0.5)) is None


def test_repeated_choices_merge():
    space = SearchSpace(base=BASE, choices=Choices(momentum=(0.9, 0.9, 0.0)))
    assert [variant.momentum for variant in space.variants] == [0.9, 0.0]


def test_bounds_are_those_of_the_papers_grid_or_around_the_recommendation():
    rates = paper_grid().effective_lrs
    assert SPACE.bounds == (rates[0], rates[-1])
    prior = RateRange(low=0.01, best=0.1, high=0.5)
    low, high = SearchSpace(base=BASE, prior=prior).bounds
    assert low < prior.low < prior.high < high


def test_the_papers_grids_have_their_sizes():
    grid = paper_grid()
    assert (len(grid.printed), len(grid.settings), len(grid.effective_lrs)) == (144, 120, 17)
    assert len(scratch_grid().settings) == 6
    grid = appendix_d_grid(steps_per_epoch=94)
    assert len(grid.settings) == 20
    assert {setting.epochs for setting in grid.settings} == {96}


def test_equivalent_settings_of_the_papers_grid_merge_on_request():
    merged = paper_grid().merged()
    assert len({setting.equivalence for setting in paper_grid().printed}) == len(merged) < 120
    # lr 0.01 at momentum 0.9 is lr 0.1 at momentum 0 with a tenth of the decay.
    pair = (0.01, 0.9, 0.001), (0.1, 0.0, 0.0001)
    assert sum((s.lr, s.momentum, s.weight_decay) in pair for s in paper_grid().settings) == 2
    assert sum((s.lr, s.momentum, s.weight_decay) in pair for s in merged) == 1


def test_an_experiment_about_momentum_never_merges_equivalents():
    with pytest.raises(OptionError, match="momentum"):
        paper_grid(studies_momentum=True).merged()


def test_settings_that_differ_in_the_last_bits_are_one():
    settings = [BASE.replace(lr=lr) for lr in (0.1 + 0.2, 0.3, 0.3001)]
    assert [s.lr for s in distinct(settings)] == [0.1 + 0.2, 0.3001]
    assert Grid(printed=tuple(settings)).effective_lrs == pytest.approx((3.0, 3.001))


@pytest.mark.parametrize("rate", [0.056784, 0.05678, 0.0567749])
def test_a_rate_is_rounded_to_four_digits_within_the_bounds(rate):
    prior = RateRange(low=0.01, best=0.02, high=0.05)
    space = SearchSpace(base=BASE, prior=prior, highest_rate=0.056784)
    assert space.rounded(Point(effective_lr=rate)).effective_lr in (0.05678, 0.05677)
    above = SearchSpace(base=BASE, prior=prior, highest_rate=0.056776)
    assert above.rounded(Point(effective_lr=0.056776)).effective_lr == 0.05677
    lowest = SearchSpace(base=BASE, prior=RateRange(low=1.2344, best=2, high=3))
    assert lowest.rounded(Point(effective_lr=0.012344)).effective_lr == 0.01235
