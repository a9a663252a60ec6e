import math

import pytest

from kintune.recommend import RateRange
from kintune.search import Bracket, Observation

RATES = RateRange(low=0.02, best=0.1, high=0.5)


def run_search(error_at, runs):
    finished = []
    for _ in range(runs):
        rate = Bracket().propose(RATES, finished)
        finished.append(Observation(rate, error_at(rate)))
    return finished


def test_it_starts_at_the_best_guess():
    assert Bracket().propose(RATES, []) == 0.1


@pytest.mark.parametrize("best", [0.003, 0.03, 0.1, 0.4, 2.0])
def test_it_finds_the_bottom_of_a_valley(best):
    valley = [
        (o.error, o.effective_lr)
        for o in run_search(lambda r: 0.1 + 0.1 * math.log10(r / best) ** 2, 8)
    ]
    assert min(valley)[0] == pytest.approx(0.1, abs=0.002)


@pytest.mark.parametrize("runs", [1, 2, 5, 20])
def test_every_proposal_differs_from_the_finished_ones(runs):
    rates = [o.effective_lr for o in run_search(lambda _: 0.3, runs)]
    assert len({round(rate, 10) for rate in rates}) == runs


@pytest.mark.parametrize(("too_fast", "lower"), [(True, True), (False, False)])
def test_it_goes_down_first_where_the_guess_was_too_fast(too_fast, lower):
    first = Observation(0.1, 0.5, too_fast=too_fast)
    assert (Bracket().propose(RATES, [first]) < 0.1) == lower


def test_at_the_limit_it_refines_where_the_errors_are_low():
    finished = [Observation(3.0, 0.3), Observation(10.0, 0.2)]
    assert 3 < Bracket().propose(RATES, finished) < 10


def test_it_flees_divergence_downwards():
    rates = [o.effective_lr for o in run_search(lambda r: 1.0 if r >= 0.05 else 0.2, 4)]
    assert min(rates) < 0.05


def test_a_proposal_is_a_function_of_the_finished_runs():
    finished = run_search(lambda r: abs(math.log10(r)), 3)
    assert Bracket().propose(RATES, finished) == Bracket().propose(RATES, finished[::-1])
