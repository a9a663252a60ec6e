import pytest

from kintune.errors import KintuneError
from kintune.experiments.baselines.methods import METHODS
from kintune.experiments.baselines.rate_range import RangeTest
from kintune.experiments.baselines.work import PlannedBaseline, planned, run_baseline
from kintune.experiments.reference_study import Point, curve_runs
from kintune.files import locked
from kintune.runs import write_json

TARGET = "grays"


def plan(method, budget="short", seed=0):
    return PlannedBaseline("pocket", TARGET, budget, method, seed)


def test_the_short_budget_comes_first_and_further_seeds_last(archives):
    found = list(planned(archives, ("bit", "usual"), seeds=2))
    assert [(each.budget, each.method, each.seed) for each in found] == [
        (budget, method, seed)
        for seed in (0, 1)
        for budget in ("short", "long", "whole")
        for method in ("bit", "usual")
    ]
    assert {each.target for each in found if each.budget == "whole"} == {f"{TARGET}-whole"}


def test_every_method_is_run_once_and_nothing_twice(context, archives):
    pytest.importorskip("dog", reason="dog-optimizer is not installed")
    pytest.importorskip("prodigyopt", reason="prodigyopt is not installed")
    for each in [each for each in planned(archives) if each.budget == "short"]:
        run = run_baseline(each, context, archives)
        assert (run.method, run.status, run.steps) == (each.method, "complete", 1)
        assert run.versions["torch"]
        assert run.seconds > 0
        assert run_baseline(each, context, archives) is None
    assert {each.budget for each in planned(archives)} == {"long", "whole"}
    kept = archives.baselines.read("pocket", TARGET)
    assert {run.method for run in kept} == set(METHODS) - {"usual"}
    named = {run.method: run.optimizer for run in kept}
    assert named["prodigy"].startswith("prodigyopt 1.")
    assert named["dog"].startswith("dog-optimizer 1.")
    assert named["range-test"] == ""


def test_the_usual_rate_is_a_run_of_the_study(context, archives):
    run = run_baseline(plan("usual"), context, archives)
    (point,) = curve_runs(archives.study.read("pocket", TARGET), "pocket", "short")
    assert point == Point(-4)
    assert archives.baselines.read("pocket", TARGET) == ()
    assert run.config.hyperparameters.lr == pytest.approx(0.01)
    assert run_baseline(plan("usual"), context, archives) is None


def test_a_killed_run_goes_on_at_the_rate_that_its_range_test_found(context, archives, start):
    test = RangeTest(lr=0.0123, lrs=(0.0123,) * 7, losses=(1.0,), seconds=5.0)
    _, _, config = start
    path = context.root / "range-tests" / f"{config.id}.json"
    path.parent.mkdir(parents=True)
    write_json(path, test.to_json())
    run = run_baseline(plan("range-test", "long"), context, archives)
    assert run.config.hyperparameters == config.hyperparameters.replace(lr=0.0123)
    assert (run.steps, run.extra_steps) == (2, 7)
    assert run.seconds > 5
    (read,) = archives.baselines.read("pocket", TARGET)
    assert read == run


def test_what_another_process_runs_is_left_to_it(context, archives, start):
    _, _, config = start
    claim = context.root / "claims" / f"bit-{config.id}"
    with locked(claim):
        assert run_baseline(plan("bit", "long"), context, archives) is None
    assert run_baseline(plan("bit", "long"), context, archives) is not None


def test_runs_of_other_images_are_refused(context, archives):
    run = run_baseline(plan("bit"), context, archives)
    other = run.config.replace(data_sha256="0" * 64)
    archives.baselines.path("pocket", TARGET).unlink()
    archives.baselines.add("pocket", TARGET, run.replace(config=other))
    with pytest.raises(KintuneError, match="made with other images"):
        run_baseline(plan("bit-scaled"), context, archives)
