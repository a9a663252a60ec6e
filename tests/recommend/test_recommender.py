import pytest

import kintune.recommend
from kintune.base.errors import IncomparableError
from kintune.recommend import TaskFacts
from kintune.recommend.references import (
    load_recipe_references,
    rank_of,
    recipe_quality,
    reference_distances,
)
from kintune.runs.hyperparameters import Hyperparameters
from kintune.similarity import Similarity


def similarity(relative_distance, prototypes_from="head"):
    return Similarity(
        model="m",
        extractor="x",
        source="s",
        target="t",
        distance=None,
        similarity=None,
        relative_distance=relative_distance,
        interval=(relative_distance - 0.02, relative_distance + 0.02),
        prototypes_from=prototypes_from,
        images=1000,
        classes=10,
    )


def facts(epochs=12, images=320, **changes):
    return TaskFacts(images=images, classes=10, batch_size=32, epochs=epochs, **changes)


def recommend(measured, known, probe, batch_statistics=None, **settings):
    size = {"batch_size": known.batch_size, "epochs": known.epochs}
    settings = Hyperparameters(lr=1, **size, **settings)
    return kintune.recommend.recommend(measured, known, probe, settings, batch_statistics)


def known_network():
    return load_recipe_references()[0].task.network


def test_recipes_are_ranked_by_expected_error_and_the_first_is_recommended():
    advice = recommend(similarity(0.7), facts(weights_sha256=known_network()), 0.2)
    errors = [each.expected_top1_error for each in advice.recipes]
    assert errors == sorted(errors)
    assert {each.mode for each in advice.recipes} == {"head", "frozen", "batch"}
    assert sum(each.probability_best for each in advice.recipes) == pytest.approx(1)
    first = next(each for each in advice.recipes if each.mode != "head")
    assert advice.effective_lr == first.effective_lr
    assert advice.freeze_bn_stats is (first.mode == "frozen")
    for each in advice.recipes:
        assert each.interval[0] < each.expected_top1_error < each.interval[1]


def test_on_a_network_of_the_references_frozen_statistics_are_expected_to_win():
    """As they did on every set that was measured."""
    advice = recommend(similarity(0.7), facts(weights_sha256=known_network()), 0.2)
    assert advice.recipes[0].mode == "frozen"
    assert 0.02 < advice.effective_lr.best < 0.3
    assert advice.recipes[0].expected_top1_error < 0.2


def test_lr_follows_the_momentum():
    plain = recommend(similarity(0.7), facts(), 0.2, momentum=0.0)
    usual = recommend(similarity(0.7), facts(), 0.2, momentum=0.9)
    assert usual.effective_lr == plain.effective_lr
    assert plain.lr == pytest.approx(plain.effective_lr.best)
    assert usual.lr == pytest.approx(plain.lr / 10)
    assert usual.hyperparameters.effective_lr == pytest.approx(usual.effective_lr.best)


def test_a_worse_probe_raises_every_expected_error():
    low, high = (recommend(similarity(0.7), facts(), probe) for probe in (0.05, 0.5))
    for mode in ("head", "frozen", "batch"):
        one, other = (
            next(each.expected_top1_error for each in advice.recipes if each.mode == mode)
            for advice in (low, high)
        )
        assert one < other


@pytest.mark.parametrize("statistics", ["frozen", "batch"])
def test_given_batch_statistics_are_kept(statistics):
    advice = recommend(similarity(0.7), facts(), 0.2, batch_statistics=statistics)
    assert {each.mode for each in advice.recipes} == {"head", statistics}
    assert advice.freeze_bn_stats is (statistics == "frozen")


def test_what_else_is_chosen_is_kept():
    advice = recommend(None, facts(), 0.2, warmup_epochs=3, schedule="cosine", clip_grad_norm=None)
    assert (advice.warmup_epochs, advice.schedule, advice.clip_grad_norm) == (3, "cosine", None)


def test_without_batch_normalization_there_is_nothing_to_freeze():
    advice = recommend(similarity(0.7), facts(has_batch_norm=False), 0.2)
    assert {each.mode for each in advice.recipes} == {"head", "frozen"}
    assert not advice.freeze_bn_stats
    assert "batch statistics" not in advice.explanation


def test_without_a_similarity_the_rest_is_recommended_and_that_is_said():
    advice = recommend(None, facts(), 0.2)
    assert advice.effective_lr.low < advice.effective_lr.best < advice.effective_lr.high
    assert any("does without the similarity" in warning for warning in advice.warnings)


def test_clusters_have_no_reference_scale():
    with pytest.raises(IncomparableError, match="no reference scale"):
        recommend(similarity(0.7, "clusters"), facts(), 0.2)


def test_the_rank_is_the_place_among_the_known_targets():
    scale = list(reference_distances("head").values())
    assert rank_of(similarity(scale[0] - 0.1)) == 0
    assert rank_of(similarity(scale[-1] + 0.1)) == 1
    assert 0 < rank_of(similarity((scale[0] + scale[-1]) / 2)) < 1


def test_extrapolation_is_said_and_lowers_the_confidence():
    levels = ["low", "medium", "high"]
    inside = recommend(similarity(0.7), facts(weights_sha256=known_network()), 0.2)
    other = recommend(similarity(0.7), facts(), 0.2)
    assert any("no reference was measured with this network" in each for each in other.warnings)
    assert not any("Extrapolated" in each for each in inside.warnings)
    assert levels.index(other.confidence) <= levels.index(inside.confidence)
    long = facts(epochs=4000, weights_sha256=known_network())
    assert any("steps, where the references have" in w for w in recommend(None, long, 0.2).warnings)


def test_a_budget_that_is_hardly_one_is_told():
    warnings = " ".join(recommend(similarity(0.7), facts(epochs=1, images=64), 0.2).warnings)
    assert "2 steps are hardly a training; give more --epochs." in warnings


def test_few_images_a_class_and_an_uncertain_distance_are_warned_of():
    wide = similarity(0.7).replace(interval=(0.6, 0.8))
    warnings = " ".join(recommend(wide, facts(images=50), 0.2).warnings)
    assert "Only 50 training images for 10 classes" in warnings
    assert "uncertain (0.60 to 0.80)" in warnings


def test_the_evidence_is_what_weighs_most():
    advice = recommend(similarity(0.7), facts(weights_sha256=known_network()), 0.2)
    weights = [row.weight for row in advice.evidence]
    assert weights == sorted(weights, reverse=True)
    assert 0 < sum(weights) <= 1 + 1e-9


def test_only_the_recommended_setting_is_called_so():
    advice = recommend(similarity(0.7), facts(), 0.2)
    setting = advice.hyperparameters
    assert advice.is_tried_by(setting.replace(lr=float(f"{setting.lr:.4g}")))
    assert not advice.is_tried_by(setting.replace(lr=2 * setting.lr))
    assert not advice.is_tried_by(setting.replace(freeze_bn_stats=not setting.freeze_bn_stats))


def test_the_shipped_quality_was_measured_on_the_shipped_references():
    with_a_choice = [each for each in load_recipe_references() if len(each.runs) > 2]
    assert recipe_quality().tasks == len(with_a_choice)
    assert 0.6 < recipe_quality().coverage <= 1
