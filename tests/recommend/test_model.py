import numpy as np
import pytest

from kintune.recommend.model import (
    Deviations,
    RecipeModel,
    RecipePoint,
    RecipeReference,
    RecipeRun,
    RecipeTask,
    grid_of_rates,
)


def task(target="photos", network="n", **changes):
    facts = {"probe_top1_error": 0.2, "images": 300, "classes": 10, "rank": 0.5, "steps": 120}
    return RecipeTask(**(facts | changes), network=network, target=target)


def reference(runs, **changes):
    return RecipeReference(
        task=task(**changes),
        network_name="net",
        source="ImageNet-1k",
        relative_distance=0.7,
        batch_size=32,
        epochs=12,
        image_size=96,
        origin="test",
        runs=tuple(
            RecipeRun(mode=mode, effective_lr=rate, top1_error=error, images=4000)
            for mode, rate, error in runs
        ),
    )


def error_at(model, where, point, observed=()):
    return float(1 / (1 + np.exp(-model.posterior(where, [point], observed).mean[0])))


def test_rates_grow_with_the_batch_and_shrink_with_very_few_steps():
    usual = grid_of_rates(task())
    assert grid_of_rates(task(batch_size=128)) == pytest.approx(2 * usual)
    assert grid_of_rates(task(steps=400)) == pytest.approx(usual)
    assert grid_of_rates(task(steps=4)) == pytest.approx(0.1 * usual)


def test_without_evidence_every_recipe_is_as_good_as_the_probe():
    model = RecipeModel([], Deviations())
    for point in (RecipePoint("head"), RecipePoint("frozen", 0.1), RecipePoint("batch", 0.1)):
        assert error_at(model, task(), point) == pytest.approx(0.2, abs=0.005)


def test_the_posterior_is_that_of_a_gaussian_process():
    """By conditioning the joint normal distribution of all points, written out."""
    found = [reference([("frozen", 0.03, 0.1), ("batch", 0.3, 0.3), ("head", None, 0.2)])]
    model = RecipeModel(found, Deviations())
    asked = [RecipePoint("frozen", 0.1), RecipePoint("batch", 0.1), RecipePoint("head")]
    posterior = model.posterior(task("drawings"), asked)
    # A tiny noise turns prior draws of the same kernel into the joint covariance.
    joint = RecipeModel([], Deviations())
    pairs = [(found[0].task, run.point) for run in found[0].runs]
    pairs += [(task("drawings"), point) for point in asked]
    covariance = np.array([[_covariance(joint, a, b) for b in pairs] for a in pairs])
    errors = np.array([run.top1_error for run in found[0].runs])
    shares = (errors * 4000 + 0.5) / 4001
    noise = Deviations().noise ** 2 + 1 / (4000 * shares * (1 - shares))
    mean = np.array([_mean(joint, each) for each in pairs])
    gain = covariance[3:, :3] @ np.linalg.inv(covariance[:3, :3] + np.diag(noise))
    expected = mean[3:] + gain @ (np.log(shares / (1 - shares)) - mean[:3])
    np.testing.assert_allclose(posterior.mean, expected, atol=1e-8)
    rest = covariance[3:, 3:] - gain @ covariance[:3, 3:]
    np.testing.assert_allclose(posterior.covariance, rest, atol=1e-8)


def _covariance(model, one, other):
    """Prior covariance of two points, by polarization of variances of joint posteriors."""
    if one[0] == other[0]:
        return model.posterior(one[0], [one[1], other[1]]).covariance[0, 1]
    # Points of two tasks never meet in one call: ask the kernel itself.
    from kintune.recommend.model import _points

    return float(model._kernel(_points([one]), _points([other]))[0, 0])


def _mean(model, pair):
    return model.posterior(pair[0], [pair[1]]).mean[0]


def test_a_run_of_the_task_moves_its_mode_most_and_the_other_a_little():
    model = RecipeModel([], Deviations())
    run = RecipeRun(mode="frozen", effective_lr=0.1, top1_error=0.05, images=400)
    before = [error_at(model, task(), RecipePoint(mode, 0.1)) for mode in ("frozen", "batch")]
    after = [error_at(model, task(), RecipePoint(mode, 0.1), [run]) for mode in ("frozen", "batch")]
    assert after[0] < 0.1 < after[1] < before[1]
    assert before[0] > 0.18


def test_a_new_network_on_small_images_wants_what_networks_on_small_images_want():
    def measured(network, size_ratio, batch_error):
        runs = [("frozen", 0.1, 0.1), ("batch", 0.1, batch_error)]
        return reference(runs, network=network, size_ratio=size_ratio)

    found = [measured("small", 0.4, 0.2), measured("own size", 1.0, 0.05)]
    model = RecipeModel(found, Deviations())

    def gain(size_ratio):
        """Expected error with frozen statistics minus that with the statistics of each batch."""
        where = task("new", "new", size_ratio=size_ratio)
        frozen, batch = (error_at(model, where, RecipePoint(m, 0.1)) for m in ("frozen", "batch"))
        return frozen - batch

    assert gain(0.4) < gain(1.0)
    head = [
        error_at(model, task("new", "new", size_ratio=s), RecipePoint("head")) for s in (0.4, 1)
    ]
    assert head[0] == pytest.approx(head[1])


def test_the_same_images_at_another_size_are_another_task():
    model, point = RecipeModel([], Deviations()), RecipePoint("frozen", 0.1)
    here = task("photos", size_ratio=1.0), point

    def shared(target, size_ratio):
        return _covariance(model, here, (task(target, size_ratio=size_ratio), point))

    assert shared("photos", 0.9) == pytest.approx(shared("drawings", 0.9))
    d = Deviations()
    effects = d.mode_level**2 + d.task_level**2 + d.setting_level**2
    # What is left is the feature of the size itself, whose value is 0 at 1.
    assert shared("photos", 1.0) - shared("photos", 0.9) == pytest.approx(effects)


def test_far_targets_want_larger_rates_where_the_references_say_so():
    rates = (0.01, 0.03, 0.1, 0.3)

    def curve(best, rank, number):
        errors = [0.1 + 0.15 * abs(np.log10(rate / best)) for rate in rates]
        runs = [("frozen", rate, error) for rate, error in zip(rates, errors, strict=True)]
        return reference(runs, target=f"{rank} {number}", rank=rank)

    found = [curve(0.02, 0.0, number) for number in range(4)]
    found += [curve(0.2, 1.0, number) for number in range(4)]
    model = RecipeModel(found, Deviations())
    grid = grid_of_rates(task())
    best = {}
    for rank in (0.0, 1.0):
        where = task("new", rank=rank)
        draws = model.posterior(where, [RecipePoint("frozen", float(r)) for r in grid]).draws()
        best[rank] = grid[draws.mean(0).argmin()]
    assert best[0.0] < 0.06 < best[1.0]


def test_a_network_of_the_references_is_known_better_than_another():
    found = [
        reference([("frozen", 0.1, 0.1), ("batch", 0.1, 0.2)], target=f"set {i}") for i in range(3)
    ]
    model = RecipeModel(found, Deviations())
    point = [RecipePoint("frozen", 0.1)]
    own, other = (model.posterior(task("new", network), point) for network in ("n", "m"))
    assert own.covariance[0, 0] < other.covariance[0, 0]


def test_a_broken_training_bounds_the_rates_and_bends_no_curve():
    usual = [("frozen", 0.03, 0.15), ("frozen", 0.1, 0.1)]
    model = RecipeModel([reference([*usual, ("frozen", 1.0, 0.9)])], Deviations())
    point = RecipePoint("frozen", 0.3)
    without = RecipeModel([reference(usual)], Deviations())
    assert error_at(model, task("new"), point) == error_at(without, task("new"), point)
    for network in ("n", "unknown"):
        stable = [
            model.is_stable(task("new", network), RecipePoint("frozen", r)) for r in (0.3, 0.4)
        ]
        assert stable == [True, False]
    assert model.is_stable(task("new"), RecipePoint("batch", 1.0))
    run = RecipeRun(mode="frozen", effective_lr=0.3, top1_error=0.9, images=400)
    assert not model.is_stable(task("new"), point, [run])


def test_a_rate_that_broke_another_network_bounds_none_of_a_known_one():
    found = [reference([("frozen", 0.1, 0.1)]), reference([("frozen", 0.3, 0.9)], network="other")]
    point = RecipePoint("frozen", 0.3)
    model = RecipeModel(found, Deviations())
    assert model.is_stable(task("new"), point)
    assert not model.is_stable(task("new", "unknown"), point)


def test_influences_sum_to_one_and_the_same_network_weighs_more():
    found = [
        reference([("frozen", 0.1, 0.1)], target="a"),
        reference([("frozen", 0.1, 0.1)], target="a", network="m"),
    ]
    shares = RecipeModel(found, Deviations()).influences(task("new"), RecipePoint("frozen", 0.1))
    assert sum(shares) == pytest.approx(1)
    assert shares[0] > shares[1]


def test_rates_grow_with_the_root_of_the_batch_size():
    np.testing.assert_allclose(grid_of_rates(task(batch_size=128)), 2 * grid_of_rates(task()))


def test_the_likelihood_prefers_the_deviations_that_made_the_data():
    generator = np.random.default_rng(0)
    found = [
        reference(
            [("frozen", rate, float(1 / (1 + np.exp(1.5 + level)))) for rate in (0.03, 0.1, 0.3)],
            target=f"set {index}",
        )
        for index, level in enumerate(generator.normal(size=12))
    ]
    quiet, loud = (
        RecipeModel(found, Deviations(task_level=level)).log_likelihood() for level in (0.05, 1.0)
    )
    assert loud > quiet


def test_a_probe_tested_on_few_images_a_class_is_not_taken_at_its_word():
    few = [reference([("head", None, 0.3)], images=100, classes=50, probe_top1_error=0.5)]
    many = [reference([("head", None, 0.3)], target="b", probe_top1_error=0.3)]
    model = RecipeModel([*few, *many] * 3, Deviations())
    heads = [
        error_at(
            model,
            task(target="new", images=images, classes=50, probe_top1_error=0.5),
            RecipePoint("head"),
        )
        for images in (100, 2000)
    ]
    assert heads[0] < 0.42 < heads[1]


def test_longer_trainings_want_no_larger_rates():
    runs = [("frozen", 0.1, 0.1), ("frozen", 1.0, 0.2)]
    short = reference([("frozen", 0.1, 0.2), ("frozen", 1.0, 0.1)], target="short", steps=110)
    model = RecipeModel([reference(runs, steps=400), short], Deviations())
    errors = [
        [
            error_at(model, task(target="new", steps=steps), RecipePoint("frozen", rate))
            for rate in (0.1, 1.0)
        ]
        for steps in (400, 4000)
    ]
    assert errors[1][1] / errors[1][0] == pytest.approx(errors[0][1] / errors[0][0], rel=0.05)


def test_references_of_older_files_have_their_classes_beside_the_task():
    now = reference([("head", None, 0.3)]).to_json()
    older = now | {"task": {k: v for k, v in now["task"].items() if k != "classes"}, "classes": 7}
    assert RecipeReference.model_validate(older).task.classes == 7
