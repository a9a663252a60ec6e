import pytest
from tests.experiments.conftest import run_record

from kintune.experiment import RecordFile, RunArchive
from kintune.experiments.reference_study import (
    DECAY,
    EDGE,
    HIGHEST,
    LOWEST,
    NEAR,
    ORDER,
    OTHER_DECAYS,
    SEEDS,
    STAGES,
    PlannedRun,
    Point,
    best_quarter,
    converged,
    curve_runs,
    due,
    means,
    pending,
    quarter_of,
    rate,
    settings,
)
from kintune.experiments.study_sources import SOURCES
from kintune.runs import write_json


def u_shaped(best, curvature=0.02):
    """Errors that depend on the rate alone, least at a quarter decade."""
    return lambda point: min(1.0, 0.1 + curvature * (point.quarter - best) ** 2)


def run_through(error, source="pocket", stages=STAGES):
    """All runs that the protocol asks for, with their errors, and the order of the stages."""
    errors, order = {}, []
    while points := due(errors, source, stages):
        for stage, point in points:
            assert point not in errors
            errors[point] = error(point)
            order.append(stage)
    return errors, order


def record(point, budget="long", error=0.2, **changes):
    used = settings("pocket", budget, point).replace(**changes)
    return run_record(used, point.seed, error)


@pytest.mark.parametrize("quarter", range(LOWEST, HIGHEST + 1))
def test_a_grid_point_is_found_again_from_the_rate_of_its_run(quarter):
    assert quarter_of(settings("pocket", "long", Point(quarter)).effective_lr) == quarter
    assert rate(quarter) == pytest.approx(10 ** (quarter / 4), rel=5e-3)


@pytest.mark.parametrize("source", ["pocket", "in1k"])
@pytest.mark.parametrize("best", [-13, -9, -4, 0, 3])
def test_wherever_the_best_rate_lies_the_curve_ends_around_it(source, best):
    errors, _ = run_through(u_shaped(best), source)
    at = means(errors)
    assert best_quarter(errors) == best
    assert {best - 1, best, best + 1} <= at.keys()
    for end, limit in ((min(at), LOWEST), (max(at), HIGHEST)):
        assert at[end] > min(at.values()) + EDGE or abs(end - limit) <= 1


def test_a_flat_curve_is_followed_to_the_limits_and_no_further():
    errors, _ = run_through(lambda _: 0.5, stages=STAGES[:1])
    assert (min(means(errors)), max(means(errors))) == (LOWEST, HIGHEST)
    assert best_quarter(errors) == LOWEST


def test_points_near_the_best_and_no_others_get_all_seeds():
    errors, _ = run_through(u_shaped(-4, curvature=0.004))
    seeds = {}
    for point in errors:
        if point.decay == DECAY:
            seeds.setdefault(point.quarter, set()).add(point.seed)
    for quarter, error in means(errors).items():
        assert seeds[quarter] == (set(SEEDS) if error <= 0.1 + NEAR else {0})


def test_the_curve_follows_the_mean_when_later_seeds_move_the_best():
    """One lucky run at 1.0: the other seeds say that the best rate is lower."""
    truth = u_shaped(-4, curvature=0.005)

    def error(point):
        return 0.09 if point == Point(0) else truth(point)

    errors, order = run_through(error)
    assert best_quarter(errors) == -4
    assert {-5, -3} <= means(errors).keys()
    assert "curve" in order[order.index("seeds") :]


def test_other_decays_are_tried_at_the_best_rate_and_beside_it_last():
    errors, order = run_through(u_shaped(-4))
    assert {p for p in errors if p.decay != DECAY} == {
        Point(quarter, decay) for quarter in (-5, -4, -3) for decay in OTHER_DECAYS
    }
    assert set(order[-6:]) == {"decays"}


def test_a_diverged_run_bounds_the_curve():
    errors, _ = run_through(lambda p: 1.0 if p.quarter > -6 else 0.3 - 0.01 * (p.quarter + 10))
    assert best_quarter(errors) == -6
    assert max(means(errors)) == 0


def test_every_stage_of_the_order_comes_after_those_it_builds_on():
    assert len(set(ORDER)) == len(ORDER)
    for index, (source, budget, stage) in enumerate(ORDER):
        for before in STAGES[: STAGES.index(stage)]:
            assert (source, budget, before) in ORDER[:index]
    assert {(source, budget) for source, budget, _ in ORDER} == {
        (source, budget) for source, plan in SOURCES.items() for budget in plan.epochs
    }


def test_an_empty_archive_asks_for_the_first_rates_of_every_curve_once(tmp_path):
    planned = list(pending(RunArchive(tmp_path)))
    assert len(set(planned)) == len(planned)
    assert planned[0] == PlannedRun("pocket", "cifar100-held-out", "short", "curve", Point(-10))
    assert len(planned) == sum(
        len(s.first) * len(s.targets_of(budget)) for s in SOURCES.values() for budget in s.epochs
    )


def test_whole_sets_are_targets_of_their_own_where_there_is_more_than_the_bounded_subset():
    pocket = SOURCES["pocket"]
    assert len(pocket.targets_of("whole")) == len(pocket.targets) - 2
    assert "birds-whole" in pocket.targets_of("whole")
    assert {"cifar100-held-out-whole", "insects-whole"}.isdisjoint(pocket.targets_of("whole"))
    assert not set(pocket.targets_of("whole")) & set(pocket.targets_of("long"))
    assert "whole" not in SOURCES["scratch"].epochs


def test_only_the_runs_of_the_protocol_make_a_curve():
    kept = record(Point(-4, seed=2), error=0.2)
    others = [
        record(Point(-2), budget="short"),
        record(Point(-6), batch_size=64),
        record(Point(-6), augmentation="random_resized_crop"),
        record(Point(-6), lr=0.00123),
    ]
    assert curve_runs([*others, kept], "pocket", "long") == {Point(-4, seed=2): kept}


def test_runs_of_other_studies_are_not_run_again(tmp_path):
    here, beside = RunArchive(tmp_path / "here"), RunArchive(tmp_path / "beside")
    other = record(Point(-4), budget="short", lr=0.01)  # the study's is 0.1 (1 - 0.9)
    path = beside.path("pocket", "birds")
    path.parent.mkdir()
    file = RecordFile(
        source="pocket", target="birds", classes=2, counts={"train": 480}, runs=(other,)
    )
    write_json(path, file.to_json())
    birds = [
        run.point.quarter
        for run in pending(here, beside)
        if (run.source, run.target, run.budget) == ("pocket", "birds", "short")
    ]
    assert birds == [-10, -8, -6, -2, 0]


@pytest.mark.parametrize(
    ("tail", "expected"),
    [([0.5, 0.499], True), ([0.5, 0.45], False), ([0.004, 0.001], True), ([0.4, 0.46], False)],
)
def test_converged_looks_at_what_the_loss_does_after_the_last_decay(tail, expected):
    losses = [2.0] * 50 + [tail[0]] * 5 + [tail[1]] * 5
    assert converged(losses) is expected


def test_a_run_that_diverged_early_has_not_converged():
    assert not converged([2.3])
