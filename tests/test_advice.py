import pytest

from kintune.advice import explanation, reasons
from kintune.hyperparameters import Hyperparameters, RateRange
from kintune.search import History, Observation, Point, SearchSpace
from kintune.search.bracket import Bracket

KNOWN = {"birds": 0.6, "clothes": 0.75, "letters": 0.95}
RATES = RateRange(low=0.01, best=0.1, high=1.0)


@pytest.mark.parametrize(
    ("distance", "words"),
    [
        (
            0.5,
            (
                "near to ImageNet-1k",
                "farther than 0 of the 3",
                "closest in distance are birds and clothes",
            ),
        ),
        (0.72, ("at a middling distance", "farther than 1 of the 3", "clothes and birds")),
        (0.99, ("far from ImageNet-1k", "farther than 3 of the 3", "letters and clothes")),
    ],
)
def test_the_place_among_the_references_is_said(make_similarity, distance, words):
    text = explanation(
        make_similarity(distance=distance), KNOWN, RATES, momentum=0.9, confidence="low"
    )
    assert all(each in text for each in words)


def test_rates_are_said_with_the_momentum_they_go_with(make_similarity):
    text = explanation(make_similarity(), KNOWN, RATES, momentum=0.9, confidence="medium")
    assert "effective learning rate of 0.1, that is lr 0.01 with momentum 0.9" in text
    assert "between 0.01 and 1; confidence: medium" in text
    assert "0.1, that is lr 0.1 with momentum 0." in explanation(
        make_similarity(), KNOWN, RATES, momentum=0.0, confidence="low"
    )


def test_the_two_runs_that_are_named_are_those_that_a_search_would_try(make_similarity):
    text = explanation(make_similarity(), KNOWN, RATES, momentum=0.9, confidence="low")
    assert "on which side it lies: 0.022 and 0.46." in text
    space = SearchSpace(base=Hyperparameters(lr=0.01, batch_size=8, epochs=2), prior=RATES)
    history = History(seed=0).told(Observation(point=Point(effective_lr=0.1), error=0.5))
    tried = Bracket().ask(space, history).point.effective_lr
    assert any(tried == pytest.approx(rate, rel=1e-3) for rate in RATES.beside)


def settings(**changes):
    return Hyperparameters(lr=0.01, momentum=0.9, batch_size=32, epochs=10).replace(**changes)


def test_near_and_far_targets_hear_what_the_paper_found_of_l2_sp():
    near = reasons(settings(), rank=0.2, steps=100, steps_per_epoch=10)["regularizer"]
    far = reasons(settings(), rank=0.8, steps=100, steps_per_epoch=10)["regularizer"]
    assert "worth a run" in near
    assert "worth a run" not in far


def test_what_the_decay_takes_away_is_counted():
    """1 - (1 - 0.01 * 1e-4)^900 is 0.09 percent; at 0.01 and 3,000 steps a quarter."""
    little = reasons(settings(), rank=0.2, steps=900, steps_per_epoch=15)["weight_decay"]
    assert "0.09 % of" in little
    assert "end alike" in little
    much = reasons(settings(weight_decay=0.01), rank=0.2, steps=3000, steps_per_epoch=15)
    assert "26 % of" in much["weight_decay"]
    assert "worth a search" in much["weight_decay"]


def test_nothing_is_said_of_a_decay_that_there_is_not():
    found = reasons(settings(regularizer="none"), rank=0.2, steps=900, steps_per_epoch=15)
    assert set(found) == {"momentum", "augmentation", "head_start", "bn_momentum"}
    assert "weight_decay" not in reasons(
        settings(weight_decay=0.0), rank=0.2, steps=900, steps_per_epoch=15
    )


def test_the_start_of_the_head_follows_the_rate_or_what_was_asked():
    def why(**changes):
        found = settings(momentum=0.0, **changes)
        return reasons(found, rank=0.2, steps=900, steps_per_epoch=15)["head_start"]

    assert "measured 3 to 5 points better" in why(lr=0.01, head_start="probe")
    assert "quickly learnt" in why(lr=0.1, head_start="random")
    assert "with pretrained weights probe was better" in why(lr=0.01, head_start="random")
    assert "with pretrained weights random was better" in why(lr=0.1, head_start="probe")


def test_the_rule_for_batch_statistics_follows_the_steps_of_an_epoch():
    found = reasons(settings(), rank=0.2, steps=900, steps_per_epoch=500)["bn_momentum"]
    assert "500 steps an epoch" in found
    assert "keeps 0.98 of" in found


def test_a_long_training_is_told_of_the_other_augmentation():
    def reason(steps, **flags):
        found = reasons(settings(**flags), rank=0.2, steps=steps, steps_per_epoch=15)
        return found.get("augmentation", "")

    assert "unfinished" in reason(400, augmentation="flip")
    assert "unfinished" in reason(400, augmentation="random_resized_crop")
    assert "flip or random_resized_crop" in reason(2000, augmentation="flip")
    assert "random_resized_crop or flip" in reason(2000, augmentation="random_resized_crop")
    assert reason(2000, augmentation="none") == ""
