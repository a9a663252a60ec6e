import pytest

from kintune.search import Choices, explain_outcomes, search

from .conftest import SPACE, failed, finished


@pytest.fixture
def outcomes(make_plan, runner):
    """Outcomes in words of runs with these errors, or statuses, in this order."""

    def explain(*ends, space=SPACE):
        ends = iter(ends)

        def outcome(config):
            end = next(ends)
            if isinstance(end, float):
                return finished(config, end)
            return failed(config).replace(status=end)

        runner.outcome = outcome
        found = search(make_plan(runs=3, space=space), runner)
        return explain_outcomes(found.trials, 100)

    return explain


def test_errors_beyond_noise_are_better_or_worse_and_name_the_side(outcomes):
    first, second, third = outcomes(0.5, 0.2, 0.6)
    assert "to compare with: 50.0%" in first
    assert second.startswith("The lowest so far: 20.0% against 50.0%")
    assert third.startswith("Worse: 60.0% against 20.0%")
    assert "lies below" in third or "lies above" in third


def test_errors_within_noise_are_said_to_be_alike(outcomes):
    _, second, _ = outcomes(0.2, 0.24, 0.5)
    assert "errors are alike from 0.1 to" in second


def test_a_lost_run_says_where_the_best_does_not_lie(outcomes):
    _, diverged, stopped = outcomes(0.2, "diverged", "stopped")
    assert diverged.startswith("Diverged: the best rate lies below")
    assert stopped.startswith("Stopped as lost: the best rate lies")


def test_a_failed_run_says_nothing_about_the_rate(outcomes):
    assert "says nothing" in outcomes(0.2, "failed", 0.3)[1]


AUGMENTED = SPACE.replace(choices=Choices(augmentation=("flip", "none")))


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (0.2, "The lowest so far: 20.0% against 50.0% with flip augmentation."),
        (0.52, "Not told apart from the best: 52.0% against 50.0% with flip augmentation."),
        (0.9, "Worse: 90.0% against 50.0% with flip augmentation."),
        ("stopped", "Stopped as lost against 50.0% with flip augmentation."),
        ("diverged", "Diverged, against 50.0% at 0.1 with flip augmentation."),
    ],
)
def test_another_augmentation_says_nothing_about_the_rate(outcomes, end, sentence):
    assert outcomes(0.5, end, 0.5, space=AUGMENTED)[1] == sentence
