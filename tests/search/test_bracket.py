import math
from itertools import pairwise

import pytest

from kintune.runs.hyperparameters import Hyperparameters, RateRange
from kintune.search import Choices, History, Observation, Point, SearchSpace
from kintune.search.bracket import Bracket

RATES = RateRange(low=0.02, best=0.1, high=0.5)
BASE = Hyperparameters.as_in_paper(lr=0.01, batch_size=32, epochs=2)
SPACE = SearchSpace(base=BASE, prior=RATES, validation_images=1000)


def observed(rate, error, **facts):
    return Observation(point=Point(effective_lr=rate), error=error, **facts)


def run_search(error_at, runs, space=SPACE):
    history = History()
    for _ in range(runs):
        point = Bracket().ask(space, history).point
        error = error_at(point.effective_lr)
        history = history.told(Observation(point=point, error=error, is_lost=error == 1.0))
    return history


def proposed(*finished, space=SPACE):
    return Bracket().ask(space, History(finished=finished)).point.effective_lr


def test_it_starts_at_the_best_guess():
    assert proposed() == 0.1


@pytest.mark.parametrize("best", [0.003, 0.03, 0.1, 0.4, 2.0])
def test_it_finds_the_minimum_of_a_u_shaped_curve(best):
    history = run_search(lambda rate: min(1.0, 0.1 + 0.1 * math.log10(rate / best) ** 2), 8)
    assert history.best.error == pytest.approx(0.1, abs=0.002)


@pytest.mark.parametrize(("too_fast", "is_lower"), [(True, True), (False, False)])
def test_it_goes_down_first_where_the_guess_was_too_fast(too_fast, is_lower):
    assert (proposed(observed(0.1, 0.5, too_fast=too_fast)) < 0.1) == is_lower


def test_it_goes_to_the_side_with_more_room():
    narrow_above = SearchSpace(base=BASE, prior=RateRange(low=0.01, best=0.1, high=0.2))
    assert proposed(observed(0.1, 0.5), space=narrow_above) < 0.1


def test_it_walks_outward_in_longer_steps_while_the_edge_is_best():
    rates = [o.point.log_rate for o in run_search(lambda rate: 0.9 - rate / 100, 4).finished]
    steps = [b - a for a, b in pairwise(rates)]
    assert all(step > 0 for step in steps)
    assert steps == sorted(steps)


def test_it_flees_divergence_downwards():
    finished = run_search(lambda rate: 1.0 if rate >= 0.05 else 0.2, 4).finished
    assert min(o.point.effective_lr for o in finished) < 0.05


def test_between_worse_neighbors_it_stays_between_them():
    finished = [observed(0.03, 0.3), observed(0.1, 0.1), observed(0.4, 0.3)]
    assert 0.03 < proposed(*finished) < 0.4


def test_how_badly_a_run_diverges_says_nothing_about_the_minimum():
    low = proposed(observed(0.03, 0.14), observed(0.1, 0.1), observed(0.4, 0.5))
    high = proposed(observed(0.03, 0.14), observed(0.1, 0.1), observed(0.4, 1.0))
    assert low == high


def test_it_says_when_another_run_is_not_worth_it():
    history = run_search(lambda rate: min(1.0, 0.05 + 0.2 * math.log10(rate / 0.1) ** 2), 3)
    assert Bracket().ask(SPACE, history).is_worth_it
    history = run_search(lambda rate: min(1.0, 0.05 + 0.2 * math.log10(rate / 0.1) ** 2), 10)
    assert not Bracket().ask(SPACE, history).is_worth_it


def test_variants_are_tried_once_the_rate_is_bracketed_and_carried_with_the_batch_size():
    space = SPACE.replace(choices=Choices(batch_size=(32, 64)))
    finished = [observed(0.03, 0.3), observed(0.1, 0.1), observed(0.4, 0.3)]
    point = Bracket().ask(space, History(finished=tuple(finished))).point
    assert point == Point(effective_lr=0.2, variant=1)


def test_the_better_variant_is_refined():
    space = SPACE.replace(choices=Choices(momentum=(0.9, 0.0)))
    other = Observation(point=Point(effective_lr=0.1, variant=1), error=0.05)
    finished = (observed(0.03, 0.3), observed(0.1, 0.1), observed(0.4, 0.3), other)
    assert Bracket().ask(space, History(finished=finished)).point.variant == 1


AUGMENTED = SPACE.replace(choices=Choices(augmentation=("flip", "none"), momentum=(0.9, 0.0)))


def variant(augmentation, momentum):
    return next(
        index
        for index, each in enumerate(AUGMENTED.variants)
        if (each.augmentation, each.momentum) == (augmentation, momentum)
    )


def test_another_augmentation_is_tried_second_at_the_same_rate():
    proposal = Bracket().ask(AUGMENTED, History(finished=(observed(0.1, 0.3),)))
    assert proposal.point == Point(effective_lr=0.1, variant=variant("none", 0.9))
    assert proposal.reason == "the same with no augmentation"


def test_the_better_augmentation_is_searched_on_and_the_other_left():
    worse = Observation(point=Point(effective_lr=0.1, variant=variant("none", 0.9)), error=0.4)
    better = worse.replace(error=0.2)
    for second, expected in ((worse, variant("flip", 0.9)), (better, variant("none", 0.9))):
        history = History(finished=(observed(0.1, 0.3), second))
        point = Bracket().ask(AUGMENTED, history).point
        assert (point.variant, point.effective_lr == 0.1) == (expected, False)


def test_a_second_worker_begins_with_the_other_augmentation():
    history = History(pending=(Point(effective_lr=0.1),))
    assert Bracket().ask(AUGMENTED, history).point.variant == variant("none", 0.9)
    history = history.asked(Point(effective_lr=0.1, variant=variant("none", 0.9)))
    assert Bracket().ask(AUGMENTED, history).point.variant == variant("flip", 0.9)


def test_a_lost_first_run_is_fled_before_augmentations_are_compared():
    lost = observed(0.1, 1.0, is_lost=True, too_fast=True)
    point = Bracket().ask(AUGMENTED, History(finished=(lost,))).point
    assert (point.variant, point.effective_lr < 0.1) == (0, True)
    history = History(finished=(lost, observed(0.02, 0.3)))
    point = Bracket().ask(AUGMENTED, history).point
    assert point == Point(effective_lr=0.02, variant=variant("none", 0.9))


def test_without_a_recommendation_rates_come_before_augmentations():
    space = AUGMENTED.replace(prior=None)
    assert Bracket().ask(space, History(finished=(observed(0.03, 0.3),))).point.variant == 0


def test_an_augmentation_lost_at_a_rate_too_fast_for_both_is_tried_again():
    lost = [
        Observation(point=Point(effective_lr=0.1, variant=v), error=1.0, is_lost=True)
        for v in (variant("flip", 0.9), variant("none", 0.9))
    ]
    history = History(finished=(*lost, observed(0.03, 0.3)))
    point = Bracket().ask(AUGMENTED, history).point
    assert point == Point(effective_lr=0.03, variant=variant("none", 0.9))


def test_an_augmentation_lost_where_the_other_was_not_is_left():
    lost = Observation(point=Point(effective_lr=0.1, variant=1), error=0.9, is_lost=True)
    space = SPACE.replace(choices=Choices(augmentation=("flip", "none")))
    history = History(finished=(observed(0.1, 0.3), lost))
    assert Bracket().ask(space, history).point.variant == 0


def test_of_three_workers_the_third_begins_beside_the_best_guess():
    points = (Point(effective_lr=0.1), Point(effective_lr=0.1, variant=variant("none", 0.9)))
    point = Bracket().ask(AUGMENTED, History(pending=points)).point
    assert (point.variant, point.effective_lr != 0.1) == (0, True)
