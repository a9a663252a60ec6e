"""Which setting of a search is selected, and what is said of it."""

import numpy as np
import pytest

from kintune.options.results import SettingResult
from kintune.runs import RunResult
from kintune.runs.hyperparameters import Hyperparameters, RateRange
from kintune.search import Choices, SearchSpace
from kintune.search.choosing import choose, compared, lowest_seed
from kintune.training import Evaluation

BASE = Hyperparameters.as_in_paper(lr=0.03, momentum=0, batch_size=10, epochs=1)


@pytest.fixture
def space():
    """Where 0.03 is recommended; errors are of 100 images."""
    prior = RateRange(low=0.01, best=0.03, high=0.1)
    choices = Choices(batch_size=(10, 20))
    return SearchSpace(base=BASE, prior=prior, choices=choices, validation_images=100)


def setting(rate: float, error: float | None, *others: float, **changes) -> SettingResult:
    def run(value: float | None, seed: int) -> RunResult:
        return RunResult(
            id=f"{rate} {changes} {seed}",
            hyperparameters=BASE.replace(lr=rate, **changes),
            effective_lr=rate,
            status="diverged" if value is None else "complete",
            validation_top1_error=value,
            seed=seed,
            seconds=1,
        )

    errors = [error, *others]
    mean = None if error is None else sum(errors) / len(errors)
    repeats = tuple(run(value, seed) for seed, value in enumerate(others, start=1))
    first = run(error, 0)
    return SettingResult(**first.to_json(), repeats=repeats, mean_validation_top1_error=mean)


def test_the_mean_over_seeds_decides_and_the_lowest_seed_is_kept():
    settings = [setting(0.1, 0.1, 0.5), setting(0.2, 0.25, 0.2), setting(0.3, None)]
    choice = choose(settings)
    assert choice.setting.effective_lr == 0.2
    assert lowest_seed(choice.setting).seed == 1
    assert choice.notes == ()


def test_ties_go_to_the_smaller_rate_and_are_said():
    choice = choose([setting(0.3, 0.2), setting(0.1, 0.2), setting(0.2, 0.3)])
    assert choice.setting.effective_lr == 0.1
    [note] = choice.notes
    assert "Effective rate 0.3 (20.0%) gave the same validation error as 0.1 (20.0%)" in note
    assert note.endswith("which is selected, the smallest.")
    assert choose([setting(0.3, None)]).setting is None


def test_what_chance_may_explain_stays_with_the_recommendation_and_is_said(space):
    choice = choose([setting(0.03, 0.22), setting(0.06, 0.2), setting(0.1, 0.21)], space)
    assert choice.setting.effective_lr == 0.03
    [note] = choice.notes
    assert "0.03 (22.0%) is selected" in note
    assert "0.06 (20.0%), 0.1 (21.0%) did better" in note
    assert "5.7 points on the same 100 validation images" in note


def test_a_clear_difference_is_followed_without_a_word(space):
    choice = choose([setting(0.03, 0.4), setting(0.06, 0.2)], space)
    assert choice.setting.effective_lr == 0.06
    assert choice.notes == ()


def test_seeds_share_their_images_and_so_make_no_more_of_them(space):
    thrice = [setting(0.03, *[0.24] * 3), setting(0.06, *[0.2] * 3)]
    assert choose(thrice, space).setting.effective_lr == 0.03


def test_the_usual_default_has_to_be_clearly_better_too(space):
    usual = setting(0.1, 0.19, head_start="random")
    assert choose([setting(0.03, 0.2, head_start="probe"), usual], space).setting is not usual
    assert choose([setting(0.03, 0.3, head_start="probe"), usual], space).setting is usual


def test_a_tie_with_the_lowest_is_not_said_of_what_is_kept(space):
    choice = choose([setting(0.03, 0.22), setting(0.06, 0.2), setting(0.1, 0.2)], space)
    assert choice.setting.effective_lr == 0.03
    [note] = choice.notes
    assert "0.06 (20.0%), 0.1 (20.0%) did better" in note


def test_augmentations_are_compared_at_the_rates_that_they_keep(space):
    """A second rate must not win for an augmentation what its first did not."""
    flip = setting(0.03, 0.2, augmentation="flip")
    crops = [setting(0.03, 0.21, augmentation="none"), setting(0.1, 0.19, augmentation="none")]
    choice = choose([flip, *crops], space)
    assert choice.setting is flip
    [note] = choice.notes
    assert "0.1 (19.0% with no augmentation) did better may be chance" in note


def test_a_tie_of_two_augmentations_names_them_and_keeps_the_first(space):
    flip, none = (setting(0.03, 0.2, augmentation=name) for name in ("flip", "none"))
    for first, second in ((flip, none), (none, flip)):
        choice = choose([first, second], space)
        assert choice.setting is first
        [note] = choice.notes
        name = "flip" if first is flip else "no"
        assert f"as 0.03 (20.0% with {name} augmentation), which is selected." in note


def test_other_batch_sizes_are_compared_by_their_errors(space):
    choice = choose([setting(0.03, 0.21), setting(0.06, 0.2, batch_size=20)], space)
    assert choice.setting.hyperparameters.batch_size == 20


def test_with_another_batch_size_the_recommendation_is_in_proportion_to_it(space):
    rates = {0.03: 0.2, 0.07: 0.21, 0.2: 0.22}
    choice = choose([setting(r, error, batch_size=20) for r, error in rates.items()], space)
    assert choice.setting.effective_lr == 0.07


def test_a_tie_with_another_momentum_goes_to_the_smaller_rate_and_is_said(space):
    choice = choose(
        [setting(0.03, 0.2), setting(0.04, 0.2, momentum=0.5, weight_decay=2e-4)], space
    )
    assert choice.setting.effective_lr == 0.03
    [note] = choice.notes
    assert "0.04 (20.0% with momentum 0.5) gave the same validation error" in note


def frozen_head(error, mistakes=None):
    head = setting(0.1, error, epochs=0, head_start="probe")
    return head.replace(validation_mistakes=mistakes, validation_images=100)


def test_nothing_worse_than_the_frozen_head_is_kept(space):
    runs = [setting(0.03, 0.22), setting(0.06, 0.2)]
    head = frozen_head(0.19)
    choice = choose(runs, space, head)
    assert choice.setting is head
    assert "No fine-tuned network was as good" in choice.notes[0]
    assert choose(runs, space, frozen_head(0.2)).setting.effective_lr == 0.06
    assert choose(runs, space, frozen_head(0.25)).setting.effective_lr == 0.03


def test_the_frozen_head_is_kept_where_every_run_diverged(space):
    head = frozen_head(0.5)
    assert choose([setting(0.03, None)], space, head).setting is head


def test_few_images_on_which_two_runs_differ_are_enough(space):
    """4 points apart: chance where the errors are unrelated, not where one run is right wherever
    the other is."""
    near, best = setting(0.03, 0.22), setting(0.06, 0.18)
    assert choose([near, best], space).setting.effective_lr == 0.03
    near = near.replace(validation_mistakes=tuple(range(22)))
    best = best.replace(validation_mistakes=tuple(range(18)))
    assert choose([near, best], space).setting.effective_lr == 0.06


def evaluation(mistakes, images=200):
    labels = np.zeros(images, dtype=np.int64)
    predictions = labels.copy()
    predictions[list(mistakes)] = 1
    return Evaluation(
        top1_error=len(mistakes) / images,
        average_class_error=len(mistakes) / images,
        loss=0.1,
        predictions=predictions,
        confidences=np.ones(images, dtype=np.float32),
        indices=np.arange(images),
        mistakes=tuple(mistakes),
    )


@pytest.mark.parametrize(
    ("selected", "head", "is_head", "words"),
    [
        (range(10), range(40), False, "Fine-tuning helped: the selected model errs on 5.0%"),
        (range(10), range(12), False, "Fine-tuning made no clear difference"),
        (range(40), range(10), False, "Fine-tuning did worse than the frozen features"),
        (range(10), range(10), True, "Fine-tuning did not help: the head on the frozen features"),
    ],
)
def test_the_verdict_says_whether_fine_tuning_helped(selected, head, is_head, words):
    verdict = compared(evaluation(selected), evaluation(head), "test", is_head=is_head)
    assert words in verdict.sentence
    assert verdict.interval[0] < verdict.gain < verdict.interval[1]
    assert verdict.gain == pytest.approx((len(head) - len(selected)) / 200)
