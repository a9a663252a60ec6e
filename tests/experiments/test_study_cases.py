"""Curves and cases from records, and what is known beforehand, on invented numbers."""

import math

import numpy as np
import pytest
from tests.experiments.conftest import run_record

from kintune.experiment import RecordFile, RunArchive
from kintune.experiments.known_facts import (
    FactsFile,
    KnownFacts,
    add_facts,
    read_facts,
)
from kintune.experiments.rate_evidence import rank_between
from kintune.experiments.rate_models import Guess
from kintune.experiments.recommenders import final_regret, folds, regret
from kintune.experiments.reference_study import Point, rate, settings
from kintune.experiments.study_cases import study_cases, study_curves

COUNTS = {"train": 480, "val": 480, "test": 1000}


def error(quarter, best=-4, seed=0):
    odds = -1.5 + 0.1 * (quarter - best) ** 2 + 0.02 * seed
    return 1 / (1 + math.exp(-odds))


def record(point, budget="long", diverged=False, losses=(1.0,) * 60, source="pocket"):
    errors = None if diverged else error(point.quarter, seed=point.seed)
    tested = None if diverged else error(point.quarter, best=-3, seed=point.seed)
    used = settings(source, budget, point)
    return run_record(used, point.seed, errors, test_top1_error=tested, train_losses=losses)


def archive_of(folder, runs, source="pocket", target="birds"):
    file = RecordFile(source=source, target=target, classes=5, counts=COUNTS, runs=tuple(runs))
    (folder / f"{source}-{target}.json").write_text(file.model_dump_json())
    return RunArchive(folder)


FACTS = KnownFacts(
    source="pocket",
    domain="CIFAR-100, 80 classes",
    target="birds",
    relative_distance=0.4,
    prototypes_from="images",
    extractor="",
    units={"least trust ratio": 0.1, "none": 1.0},
    images=480,
    classes=48,
    probe_top1_error=0.5,
)
QUARTERS = range(-10, 1)


def test_validation_decides_and_test_scores(tmp_path):
    (curve,) = study_curves(archive_of(tmp_path, [record(Point(quarter)) for quarter in QUARTERS]))
    assert curve.validation.best_rate == pytest.approx(rate(-4), rel=0.05)
    assert curve.test.best_rate == pytest.approx(rate(-3), rel=0.05)
    (case,) = study_cases([curve], FactsFile(facts=(FACTS,)))
    assert 10**case.log_rate == pytest.approx(rate(-4), rel=0.05)
    guess = Guess(math.log10(rate(-4)), 0.1)
    assert regret(case, guess) < 0.001 < final_regret(case, guess)
    assert case.inputs == pytest.approx(
        {
            "rank": rank_between(0.4, "images"),
            "log_images_seen": math.log10(60 * 480),
            "distance": 0.4,
            "log_trust_ratio": -1,
            "log_images_per_class": 1,
            "probe": 0,
        }
    )


def test_a_whole_set_is_a_curve_of_its_own_and_left_out_with_its_bounded_subset(tmp_path):
    """Both are 40 epochs on MobileNetV2: only their targets tell them apart."""
    for target in ("birds", "birds-whole"):
        runs = [record(Point(quarter), source="in1k") for quarter in QUARTERS]
        archive = archive_of(tmp_path, runs, "in1k", target)
    curves = list(study_curves(archive))
    assert [(curve.target, curve.budget) for curve in curves] == [
        ("birds", "long"),
        ("birds-whole", "whole"),
    ]
    known = [FACTS.replace(source="in1k", target=curve.target) for curve in curves]
    cases = study_cases(curves, FactsFile(facts=tuple(known)))
    assert [(case.target, case.budget) for case in cases] == [("birds", "long"), ("birds", "whole")]
    assert [len(left_out) for _, left_out in folds(cases, "target")] == [2]


def test_what_is_measured_beside_the_references_is_no_case(tmp_path):
    runs = [record(Point(q), "short", source="in1k_128px") for q in QUARTERS]
    (curve,) = study_curves(archive_of(tmp_path, runs, "in1k_128px"))
    facts = FACTS.replace(source="in1k_128px")
    assert curve.is_inside
    assert study_cases([curve], FactsFile(facts=(facts,))) == []


def test_budgets_are_curves_of_their_own_and_larger_decays_of_none(tmp_path):
    runs = [record(Point(quarter), budget) for quarter in QUARTERS for budget in ("long", "short")]
    runs += [record(Point(-4, decay=5e-4))]
    curves = list(study_curves(archive_of(tmp_path, runs)))
    assert [(curve.budget, curve.steps, len(curve.runs)) for curve in curves] == [
        ("long", 900, 11),
        ("short", 180, 11),
    ]


def test_runs_of_another_study_count_where_they_were_trained_alike(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    here = archive_of(tmp_path / "one", [record(Point(quarter)) for quarter in (-8, -6, -4)])
    shared, off_grid, without, unlike = (record(Point(quarter)) for quarter in (-4, -5, -2, 0))
    changes = [
        (off_grid, {"lr": 0.005}),
        (without, {"lr": 0.03, "weight_decay": 0.0}),
        (unlike, {"lr": 0.3, "momentum": 0.0}),
    ]
    changed = [
        run_record(run.config.hyperparameters.replace(**change), 0, 0.2) for run, change in changes
    ]
    there = archive_of(tmp_path / "other", [shared, *changed])
    (curve,) = study_curves(here, there)
    rates = sorted(round(run.config.hyperparameters.effective_lr, 6) for run in curve.runs)
    assert rates == pytest.approx([0.01, 0.0316, 0.05, 0.1, 0.3])


def test_a_curve_whose_best_rate_lies_at_an_end_is_no_case(tmp_path):
    runs = [record(Point(quarter)) for quarter in range(-10, -4)]
    curves = list(study_curves(archive_of(tmp_path, runs)))
    assert not curves[0].is_inside
    assert study_cases(curves, FactsFile(facts=(FACTS,))) == []


def test_a_target_without_facts_is_no_case(tmp_path):
    curves = list(study_curves(archive_of(tmp_path, [record(Point(q)) for q in QUARTERS])))
    assert study_cases(curves, FactsFile()) == []


def test_three_rates_are_no_curve(tmp_path):
    assert list(study_curves(archive_of(tmp_path, [record(Point(q)) for q in (-6, -4, -2)]))) == []


def test_the_noise_floor_needs_more_than_one_seed(tmp_path):
    one = [record(Point(quarter)) for quarter in QUARTERS]
    (curve,) = study_curves(archive_of(tmp_path, one))
    assert curve.noise_floor is None
    more = [record(Point(quarter, seed=1)) for quarter in QUARTERS]
    (curve,) = study_curves(archive_of(tmp_path, one + more))
    assert curve.noise_floor == pytest.approx(curve.test.regret(rate(-4)), abs=0.002)


def test_unfinished_runs_are_named_and_diverged_ones_are_not(tmp_path):
    falling = tuple(np.linspace(2, 1, 60))
    runs = [record(Point(quarter)) for quarter in range(-10, -2)]
    runs += [record(Point(-2), losses=falling), record(Point(0), diverged=True, losses=(9.0,))]
    (curve,) = study_curves(archive_of(tmp_path, runs))
    assert curve.unfinished == pytest.approx((rate(-2),))


def test_facts_are_kept_one_a_network_and_target(tmp_path):
    path = tmp_path / "facts.json"
    add_facts(path, FACTS)
    add_facts(path, FACTS.replace(target="insects"))
    add_facts(path, FACTS.replace(relative_distance=0.3))
    assert [(fact.target, fact.relative_distance) for fact in read_facts(path).facts] == [
        ("birds", 0.3),
        ("insects", 0.4),
    ]
    assert list(RunArchive(tmp_path).files()) == []
