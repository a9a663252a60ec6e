"""The four claims on records whose truth is known."""

import math

import pytest

from kintune_paper.engine.declaration import Measurement
from kintune_paper.engine.known import KnownRuns
from kintune_paper.engine.measuring import MeasurementArchive
from kintune_paper.engine.work import all_runs
from kintune_paper.iclr2020 import EXPERIMENTS
from kintune_paper.iclr2020.claims import (
    momentum_pairs,
    rank_correlation,
    verdicts,
)
from kintune_paper.iclr2020.page import Page, page_text
from kintune_paper.iclr2020.protocols import PAPER, SMALL, SMALL_SETS
from tests.kintune_paper.conftest import run_record


def recorded(run, error):
    tested = {"test_top1_error": error, "test_average_class_error": error}
    return run_record(run.settings, run.seed, error, **tested)


def world(error, tmp_path):
    """Every run of `small` with the error that a function gives it, and distances by place."""
    known = KnownRuns([])
    runs = all_runs(list(EXPERIMENTS.values()), SMALL)
    for _ in range(2):  # variations are known once what they stand on is
        for declared in runs:
            run = known.resolved(declared)
            if run is not None:
                known.add(run.network, run.target, recorded(run, error(run)))
    measurements = MeasurementArchive(tmp_path)
    for place, target in enumerate(SMALL_SETS):
        own = Measurement(kind="similarity", network="pocket", target=target)
        measurements.write(own, {"similarity": 0.9, "relative_distance": 0.3 + 0.1 * place})
    return SMALL, known, measurements


def u_shaped(run, best):
    """Least at an effective rate; momentum has no part in it."""
    return 0.1 + 0.1 * math.log10(run.settings.effective_lr / best) ** 2


def place(run):
    return SMALL_SETS.index(run.target) if run.target in SMALL_SETS else 3


def paper_like(run):
    """As the paper says: the best rate grows with distance, L2-SP helps the near half."""
    noise = 0.001 * run.seed
    if run.settings.convention == "torch":
        helps = run.settings.regularizer == "l2-sp" and place(run) < 3
        return 0.3 + noise - (0.05 if helps else 0.0)
    if run.network == "scratch":
        return 0.2 + (0.3 if run.settings.lr == 0.1 else 0.0)
    return u_shaped(run, 0.03 * 1.8 ** place(run)) + noise


def words(*given):
    return [verdict.word for verdict in verdicts(*given)]


def test_in_the_paper_s_world_all_claims_hold(tmp_path):
    assert words(*world(paper_like, tmp_path)) == ["holds"] * 4


def test_without_runs_nothing_is_measured(tmp_path):
    archive = MeasurementArchive(tmp_path)
    assert words(SMALL, KnownRuns([]), archive) == ["not yet measured"] * 4


def test_in_the_opposite_world_none_does(tmp_path):
    """The learning rate alone counts, near sets want large ones, L2-SP helps far sets."""

    def opposite(run):
        noise = 0.001 * run.seed
        if run.settings.convention == "torch":
            helps = run.settings.regularizer == "l2-sp" and place(run) >= 3
            return 0.3 + noise - (0.05 if helps else 0.0)
        if run.network == "scratch":
            return 0.6
        if run.network != "pocket":
            return 0.3
        best = 0.5 / 1.8 ** place(run)
        if run.settings.momentum == 0 and run.settings.lr > 0.1:
            return 0.5
        return 0.1 + 0.1 * math.log10(run.settings.lr / (best / 10)) ** 2 + noise

    found = words(*world(opposite, tmp_path))
    assert found[0] == "does not hold"
    assert found[1] == "does not hold"
    assert found[2] == "does not hold"


def test_l2sp_with_one_seed_is_undecided(tmp_path):
    protocol, known, measurements = world(paper_like, tmp_path)
    alone = KnownRuns([])
    for key, record in known.runs.items():
        if record.config.seed == 0:
            alone.runs[key] = record
            alone.seeds[key.rpartition("-")[0]] = {0: record}
    assert words(protocol, alone, measurements)[2] == "undecided"


def test_pairs_are_equal_in_what_the_claim_holds_fixed():
    pairs = momentum_pairs(SMALL, SMALL_SETS[0], at_equal_rate=True)
    assert len(pairs) >= 10
    paper = momentum_pairs(PAPER, "cub200", at_equal_rate=False)
    assert len(set(paper)) == len(paper) == 24
    for one, other in pairs:
        assert (one.settings.momentum, other.settings.momentum) == (0.9, 0.0)
        assert one.settings.effective_lr == pytest.approx(other.settings.effective_lr)
        assert one.settings.decay_per_step == pytest.approx(other.settings.decay_per_step)
    for one, other in momentum_pairs(SMALL, SMALL_SETS[0], at_equal_rate=False):
        assert (one.settings.lr, one.settings.weight_decay) == (
            other.settings.lr,
            other.settings.weight_decay,
        )


def test_the_rank_correlation_is_that_of_scipy():
    from scipy.stats import spearmanr

    first, second = [0.3, 0.1, 0.1, 0.8, 0.5], [1.0, 0.2, 0.3, 0.3, 0.9]
    assert rank_correlation(first, second)[0] == pytest.approx(spearmanr(first, second)[0])
    assert rank_correlation([1, 1, 1, 1], [1, 2, 3, 4])[0] == 0


def test_the_page_has_every_experiment_with_the_paper_s_numbers(tmp_path):
    protocol, known, measurements = world(paper_like, tmp_path)
    page = Page(
        protocol=protocol,
        known=known,
        measurements=measurements,
        introduction="# Title",
        conclusions={"table2": "It agrees."},
        figures=tmp_path,
        drawn=frozenset({"figure1"}),
    )
    text = page_text(page)
    assert text.count("\n## ") == 2 + 21
    assert text.count("| **holds** |") == 4
    assert "| 0.9 | 0.01 | 0.0001 | 17.20 | 14.85 |" in text
    assert "Printed twice: Aircrafts, L2-SP with HPO: 13.31 in Table 5, 13.30 in legend" in text
    assert "Not legible: ImageNet, Top-1 error." in text
    assert "L2 (Li et al., 2018) †" in text
    assert "**Conclusion.** It agrees." in text
    assert "figure1.svg" in text
    assert "figure2.svg" not in text
