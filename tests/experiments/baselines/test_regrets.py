import math
from dataclasses import replace
from pathlib import Path

import pytest
from tests.experiments.conftest import run_record

from kintune.experiments.baselines.records import BaselineArchive, BaselineRun
from kintune.experiments.baselines.regrets import Regret, compared, regrets
from kintune.experiments.rate_models import Guess
from kintune.experiments.recommenders import Case, Outcome
from kintune.experiments.reference_study import Point, settings
from kintune.experiments.study_cases import StudyCurve

COUNTS = {"train": 480, "val": 480, "test": 1000}


def study_run(quarter, test_error):
    point = Point(quarter)
    used = settings("pocket", "long", point)
    return run_record(used, point.seed, test_error, test_top1_error=test_error)


@pytest.fixture
def curve():
    """Least at 0.0316; the usual rate is half a decade above."""
    errors = {q: 1 / (1 + math.exp(1.5 - 0.1 * (q + 6) ** 2)) for q in range(-10, 1)}
    return StudyCurve(
        source="pocket",
        target="birds",
        budget="long",
        steps=900,
        runs=tuple(study_run(*each) for each in errors.items()),
        counts=COUNTS,
    )


@pytest.fixture
def outcome(curve):
    case = Case(
        target="birds",
        network="pocket",
        budget="long",
        inputs={},
        log_rate=-1.5,
        noise=0.1,
        final_regret=curve.test.regret,
    )
    return Outcome(case, Guess(-1.5, 0.3), None)


def prodigy(test_error, seed=0, budget="long"):
    return BaselineRun(
        method="prodigy",
        budget=budget,
        config=run_record(settings("pocket", "long", Point(-4)), seed).config,
        status="complete",
        test_top1_error=test_error,
        steps=900,
        seconds=1.0,
        versions={},
        processor="",
    )


def test_a_regret_is_the_test_error_above_the_least_of_the_curve(curve, outcome, archives):
    for seed, error in enumerate((0.30, 0.34)):
        archives.baselines.add("pocket", "birds", prodigy(error, seed))
    archives.baselines.add("pocket", "birds", prodigy(0.9, budget="short"))
    (found,) = regrets("prodigy", [outcome], [curve], archives.baselines)
    assert found.regret == pytest.approx(0.32 - curve.test.lowest_error)
    assert found.recommended == pytest.approx(0, abs=0.003)


def test_the_usual_rate_is_read_from_the_study(curve, outcome, archives):
    (found,) = regrets("usual", [outcome], [curve], archives.baselines)
    error = 1 / (1 + math.exp(1.5 - 0.1 * 4))
    assert found.regret == pytest.approx(error - curve.test.lowest_error)


def test_what_was_not_run_is_not_compared(curve, outcome, archives):
    assert compared(regrets("dog", [outcome], [curve], archives.baselines)) is None


def test_a_run_that_diverged_counts_as_an_error_of_1(curve, outcome, archives):
    run = prodigy(0.5).replace(status="diverged", test_top1_error=None)
    archives.baselines.add("pocket", "birds", run)
    (found,) = regrets("prodigy", [outcome], [curve], archives.baselines)
    assert found.regret == pytest.approx(1 - curve.test.lowest_error)


def test_a_comparison_is_of_the_same_curves():
    found = [
        Regret(str(index), 0.03 + 0.001 * (index % 3), 0.01, str(index)) for index in range(12)
    ]
    row = compared(found)
    assert row.curves == 12
    assert row.regret == pytest.approx(0.031)
    assert row.recommended == pytest.approx(0.01)
    low, high = row.gain
    assert 0.02 <= low < 0.021 < high <= 0.022
    assert row.interval == pytest.approx((low + 0.01, high + 0.01))


def test_a_whole_set_is_found_by_its_case(curve, outcome):
    """A case is named by its set, a curve by its target."""
    whole = replace(curve, target="birds-whole", budget="whole", steps=1520)
    case = replace(outcome.case, budget="whole")
    asked = Outcome(case, outcome.guess, None)
    like = settings("pocket", "whole", Point(-4))
    runs = (run_record(like, 0, 0.2, test_top1_error=0.2), *whole.runs)
    (found,) = regrets(
        "usual", [asked], [curve, replace(whole, runs=runs)], BaselineArchive(Path())
    )
    assert found.curve == "pocket birds whole"
    assert found.target == "birds"
