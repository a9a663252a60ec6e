"""The engine `recipes`: other recipes and rates by what the recipe model expects."""

from itertools import pairwise

import pytest

from kintune.recommend.model import RecipeTask
from kintune.recommend.references import load_recipe_references
from kintune.runs.hyperparameters import Hyperparameters, RateRange
from kintune.search import Choices, History, Observation, SearchSpace
from kintune.search.recipes import Recipes

PRIOR = RateRange(low=0.02, best=0.06, high=0.2)


@pytest.fixture
def space():
    return SearchSpace(
        base=Hyperparameters.as_in_paper(lr=0.006, batch_size=32, epochs=12, freeze_bn_stats=True),
        prior=PRIOR,
        choices=Choices(freeze_bn_stats=(True, False)),
        validation_images=400,
        task=RecipeTask(
            network=load_recipe_references()[0].task.network,
            target="new",
            probe_top1_error=0.2,
            images=320,
            classes=10,
            rank=0.5,
            steps=120,
        ),
    )


def after(space, *errors):
    history = History(seed=0)
    for error in errors:
        point = Recipes().ask(space, history).point
        history = history.told(Observation(point=point, error=error))
    return history


def test_it_begins_with_the_recommendation(space):
    first = Recipes().ask(space, History(seed=0))
    assert first.point.variant == 0
    assert first.point.effective_lr == PRIOR.best
    other = Recipes().ask(space.replace(prior=None), History(seed=0))
    assert other.reason == "the least expected error"


def test_a_recipe_that_disappoints_is_left_for_another(space):
    """Errors far above what was expected of the first recipe, at several rates."""
    history = after(space, 0.5, 0.5, 0.5)
    assert {point.variant for point in history.points} == {0, 1}


def test_another_augmentation_is_tried_where_the_first_disappoints(space):
    choices = Choices(augmentation=("flip", "random_resized_crop"))
    history = after(space.replace(choices=choices), 0.35, 0.35, 0.35)
    assert {point.variant for point in history.points} == {0, 1}


def test_after_a_broken_training_the_rates_of_its_recipe_are_well_below_it(space):
    history = after(space, 0.9, 0.9, 0.9, 0.9)
    by_variant = [[p.log_rate for p in history.points if p.variant == v] for v in (0, 1)]
    for rates in by_variant:
        assert all(later <= earlier - 0.45 for earlier, later in pairwise(rates))


def test_a_recipe_that_does_well_is_refined(space):
    history = after(space, 0.04)
    gain = Recipes().ask(space, history).gain
    assert gain is not None
    worse = Recipes().ask(space, after(space, 0.15)).gain
    assert worse is not None
    assert gain < worse


def test_without_a_known_task_it_is_bracket(space):
    unknown = space.replace(task=None)
    assert "best guess" in Recipes().ask(unknown, History(seed=0)).reason
