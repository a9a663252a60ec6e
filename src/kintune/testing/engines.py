"""Tests that every search engine must pass. Give the fixture `engine`."""

import math
from collections.abc import Sequence

import pytest

from kintune.runs.hyperparameters import Hyperparameters, RateRange
from kintune.search import Choices, History, Observation, Point, Proposal, SearchEngine, SearchSpace

PRIOR = RateRange(low=0.02, best=0.1, high=0.5)
BASE = Hyperparameters.as_in_paper(lr=0.01, batch_size=32, epochs=4)
RUNS = 9


def u_shaped(point: Point, lowest: float = 0.05) -> float:
    """An error with its lowest value at 0.2, and no end of training above 2."""
    if point.effective_lr > 2:
        return 1.0
    return min(1.0, lowest + 0.1 * (point.log_rate - math.log10(0.2)) ** 2)


def proposed(engine: SearchEngine, space: SearchSpace, history: History) -> Proposal:
    """The engine's proposal, which a space that is not used up must have."""
    proposal = engine.ask(space, history)
    assert proposal is not None
    return proposal


def told(engine: SearchEngine, space: SearchSpace, runs: int, seed: int = 0) -> History:
    """The history after some runs on a U-shaped curve."""
    history = History(seed=seed)
    for _ in range(runs):
        point = proposed(engine, space, history).point
        error = u_shaped(point)
        history = history.told(Observation(point=point, error=error, is_lost=error == 1.0))
    return history


def settings(space: SearchSpace, points: Sequence[Point]) -> set[str]:
    """Settings of the points, to tell them apart."""
    return {space.at(point).model_dump_json() for point in points}


class EngineSuite:
    """Subclass it, with a fixture `engine`."""

    @pytest.fixture(params=[PRIOR, None], ids=["recommended", "unaided"])
    def space(self, request: pytest.FixtureRequest) -> SearchSpace:
        """With a recommendation and without one."""
        return SearchSpace(base=BASE, prior=request.param, validation_images=200)

    def test_every_proposal_is_another_setting_within_the_bounds(
        self, engine: SearchEngine, space: SearchSpace
    ) -> None:
        points = told(engine, space, RUNS).points
        low, high = space.bounds
        assert all(low <= point.effective_lr <= high for point in points)
        assert len(settings(space, points)) == RUNS

    def test_a_proposal_is_a_function_of_space_and_history(
        self, engine: SearchEngine, space: SearchSpace
    ) -> None:
        for runs in (0, 1, 5):
            history = told(engine, space, runs)
            again = History.model_validate_json(history.model_dump_json())
            assert engine.ask(space, history) == engine.ask(space, again)

    def test_a_rate_has_four_digits(self, engine: SearchEngine, space: SearchSpace) -> None:
        for point in told(engine, space, 5).points:
            assert point.effective_lr == float(f"{point.effective_lr:.4g}")

    def test_it_says_why(self, engine: SearchEngine, space: SearchSpace) -> None:
        for runs in (0, 1, 5):
            assert proposed(engine, space, told(engine, space, runs)).reason

    @pytest.mark.parametrize("finished", [0, 1, 4])
    def test_pending_points_are_not_proposed_again(
        self, engine: SearchEngine, space: SearchSpace, finished: int
    ) -> None:
        history = told(engine, space, finished)
        for _ in range(4):
            history = history.asked(proposed(engine, space, history).point)
        assert len(settings(space, history.points)) == finished + 4

    @pytest.mark.parametrize("error", [1.0, 0.3])
    def test_runs_that_all_ended_alike_do_not_stop_it(
        self, engine: SearchEngine, space: SearchSpace, error: float
    ) -> None:
        history = History()
        for _ in range(5):
            point = proposed(engine, space, history).point
            history = history.told(Observation(point=point, error=error, is_lost=error == 1.0))
        assert len(settings(space, history.points)) == 5

    def test_it_chooses_among_variants(self, engine: SearchEngine, space: SearchSpace) -> None:
        choices = Choices(momentum=(0.9, 0.0), batch_size=(32, 64))
        wider = space.replace(choices=choices)
        points = told(engine, wider, 12).points
        assert len(settings(wider, points)) == 12
        assert len({point.variant for point in points}) > 1

    def test_it_finds_the_minimum(self, engine: SearchEngine, space: SearchSpace) -> None:
        best = told(engine, space, 12).best
        assert best is not None
        assert best.error < 0.05 + 0.1

    def test_a_recommendation_is_where_it_begins(self, engine: SearchEngine) -> None:
        space = SearchSpace(base=BASE, prior=PRIOR, validation_images=200)
        rates = [point.effective_lr for point in told(engine, space, 3).points]
        assert sum(PRIOR.low / 2 <= rate <= PRIOR.high * 2 for rate in rates) >= 2

    def test_nothing_is_proposed_above_the_highest_rate(self, engine: SearchEngine) -> None:
        prior = RateRange(low=0.03, best=0.05678, high=0.05678)
        space = SearchSpace(base=BASE, prior=prior, highest_rate=0.05678, validation_images=200)
        points = told(engine, space, 5).points
        assert max(point.effective_lr for point in points) <= 0.05678
        assert len(settings(space, points)) == 5

    def test_it_ends_when_every_rate_was_proposed(self, engine: SearchEngine) -> None:
        space = NarrowSpace(base=BASE, prior=RateRange(low=0.1, best=0.1001, high=0.1002))
        history = History()
        while (proposal := engine.ask(space, history)) is not None:
            error = u_shaped(proposal.point)
            history = history.told(Observation(point=proposal.point, error=error))
        rates = {point.effective_lr for point in history.points}
        assert len(rates) == len(history.points)
        assert rates == {0.1, 0.1001, 0.1002}

    def test_a_space_of_one_rate_has_one_proposal(self, engine: SearchEngine) -> None:
        space = PointSpace(base=BASE)
        point = proposed(engine, space, History()).point
        assert point.effective_lr == 0.1
        history = History().told(Observation(point=point, error=0.5))
        assert engine.ask(space, history) is None


class NarrowSpace(SearchSpace):
    """Bounds between which lie a handful of rates of four digits."""

    @property
    def bounds(self) -> tuple[float, float]:
        """See `SearchSpace`."""
        return 0.1, 0.1002


class PointSpace(SearchSpace):
    """Bounds that are one rate."""

    @property
    def bounds(self) -> tuple[float, float]:
        """See `SearchSpace`."""
        return 0.1, 0.1
