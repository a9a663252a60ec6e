import pytest

from kintune.recommend.advice import Expected, explanation, reasons
from kintune.runs.hyperparameters import Hyperparameters, RateRange

RATES = RateRange(low=0.01, best=0.1, high=1.0)
RECIPES = [
    Expected("frozen", 0.041, (0.03, 0.06)),
    Expected("head", 0.062, (0.04, 0.08)),
    Expected("batch", 0.12, (0.06, 0.2)),
]


def text_of(similarity, recipes=RECIPES, momentum=0.9, **more):
    return explanation(similarity, recipes, RATES, momentum=momentum, confidence="medium", **more)


@pytest.mark.parametrize(
    ("distance", "words"),
    [(0.5, "near to ImageNet-1k"), (0.82, "at a middle distance from"), (1.1, "far from ImageNet")],
)
def test_how_far_the_images_are_is_said(make_similarity, distance, words):
    assert words in text_of(make_similarity(distance=distance))
    assert "Your images are" not in text_of(None)


def test_what_each_recipe_is_expected_to_reach_is_said(make_similarity):
    text = text_of(make_similarity())
    assert "fine-tuned with frozen batch statistics about 4.1 % (3 % to 6 %), frozen head" in text
    assert "statistics of each batch about 12 % (6 % to 20 %)" in text
    assert "Advice: fine-tune with frozen batch statistics at a learning rate" in text
    assert len(text.splitlines()) == 3
    plain = text_of(make_similarity(), RECIPES[:2], has_batch_norm=False)
    assert "batch statistics" not in plain


def test_where_the_head_is_expected_to_win_that_is_said(make_similarity):
    text = text_of(make_similarity(), [RECIPES[1], RECIPES[2]])
    assert "keep the frozen head; fine-tuning is not expected to beat it" in text
    assert "use a learning rate of 0.01 with the statistics of each batch and momentum 0.9" in text


def test_rates_are_said_with_the_momentum_they_go_with(make_similarity):
    text = text_of(make_similarity())
    assert "a learning rate of 0.01 with momentum 0.9 (effective rate 0.1; " in text
    assert "between 0.01 and 1). Confidence: medium." in text
    assert "rate of 0.1 with momentum 0 (" in text_of(make_similarity(), momentum=0.0)


def settings(**changes):
    return Hyperparameters.as_in_paper(lr=0.01, momentum=0.9, batch_size=32, epochs=10).replace(
        **changes
    )


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
    assert set(found) == {"momentum", "augmentation", "bn_momentum"}
    assert "weight_decay" not in reasons(
        settings(weight_decay=0.0), rank=0.2, steps=900, steps_per_epoch=15
    )


def test_what_goes_with_the_recipe_has_a_reason():
    def why(**changes):
        return reasons(settings(**changes), rank=0.2, steps=900, steps_per_epoch=15)

    assert "Kumar et al. 2022" in why(head_start="probe")["head_start"]
    assert "long gradients" in why(clip_grad_norm=1.0)["clip_grad_norm"]
    assert "bn_momentum" not in why(freeze_bn_stats=True)


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
