"""Every declaration of both protocols expands to the grids that the paper describes."""

import hashlib

import pytest

from kintune_paper.engine.declaration import (
    DeclaredRun,
    Table,
    Variation,
    declared_runs,
    measurements_of,
)
from kintune_paper.engine.work import all_runs
from kintune_paper.iclr2020 import EXPERIMENTS
from kintune_paper.iclr2020.protocols import PAPER, PROTOCOLS, SMALL, with_sets

NAMES = [f"table{n}" for n in range(1, 9)] + [f"figure{n}" for n in range(1, 14)]
EXPECTED = {
    "table1": 0,
    "table2": 8 * 7,
    "table3": 4 * 6,
    "table4": 5 * 7 * 6 * 2 * 4,
    "table5": 7 * 2 * 5 * 4,
    "table6": 6 * 7,
    "table7": 2,
    "table8": 3 * 7 * 6 * 2 * 4 + 7 * 3 * 2,
    "figure1": 5 * 3 + 2 * 6 - 2,
    "figure2": 4,
    "figure3": 7 * 3 * 2 * 4,
    "figure4": 5 * 7 * 6 * 2 * 4 + 7 * 3 * 2,
    "figure5": 3 * 7 * 6 * 2 * 3,
    "figure6": 7 * 2 * 5 * 4,
    "figure7": 5 * 3 * 2,
    "figure8": 7 * 2,
    "figure9": 6 * 7 * 2,
    "figure10": 7 * (6 * 2 * 4 + 3),
    "figure11": 3 * 3 * 2,
    "figure12": 4 * 3 * 2,
    "figure13": 7 * 3 * 2,
}
"""Runs of the paper's own grids: 7 sets, 6 rates, momentum 0.9 and 0, 4 decays."""


def view(name, protocol):
    return EXPERIMENTS[name].declare(protocol)


def test_all_21_are_there_in_their_order():
    assert list(EXPERIMENTS) == NAMES


@pytest.mark.parametrize("protocol", ["small", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_a_declaration_expands_to_distinct_runs(name, protocol):
    runs = declared_runs(view(name, PROTOCOLS[protocol]))
    keys = [run.key for run in runs if isinstance(run, DeclaredRun)]
    assert len(set(keys)) == len(keys)
    assert all(PROTOCOLS[protocol].hours(run) > 0 for run in runs)
    assert runs or measurements_of(view(name, PROTOCOLS[protocol]))


@pytest.mark.parametrize("name", NAMES)
def test_the_paper_protocol_has_the_paper_s_grids(name):
    assert len(declared_runs(view(name, PAPER))) == EXPECTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_as_long_as_the_head(name):
    for protocol in (SMALL, PAPER, with_sets(SMALL, {"digits": "digits"})):
        declared = view(name, protocol)
        if isinstance(declared, Table):
            assert {len(row.labels) + len(row.cells) for row in declared.rows} == {
                len(declared.head)
            }
        else:
            assert all(panel.lines or panel.plane for panel in declared.panels)


def test_the_runs_of_small_stay_what_they_are():
    """Runs that were made count only while their settings are these: change nothing here unless
    they are to be made again."""
    runs = all_runs(list(EXPERIMENTS.values()), SMALL)
    keys = sorted(run.key for run in runs if isinstance(run, DeclaredRun))
    assert len(keys) == 529
    assert hashlib.sha256("".join(keys).encode()).hexdigest()[:12] == "736d6082f2ec"


def test_small_costs_few_hours_and_gives_everything_something_in_the_first_stages():
    runs = all_runs(list(EXPERIMENTS.values()), SMALL)
    assert sum(SMALL.hours(run) for run in runs) < 12
    first = [run for run in runs if SMALL.stage(run) <= 1]
    assert sum(SMALL.hours(run) for run in first) < 2
    keys = {run.key for run in first if isinstance(run, DeclaredRun)}
    for name in NAMES:
        own = [run for run in declared_runs(view(name, SMALL)) if isinstance(run, DeclaredRun)]
        others_only = name in ("figure9", "figure12")  # of sets that come in the second stage
        assert not own or others_only or keys & {run.key for run in own}


def test_stages_come_in_their_order_and_seeds_after_the_first():
    runs = all_runs(list(EXPERIMENTS.values()), SMALL)
    stages = [SMALL.stage(run) for run in runs]
    assert stages == sorted(stages)
    assert all(SMALL.stage(run) >= 3 for run in runs if run.seed)


def first_settings(name):
    run = declared_runs(view(name, PAPER))[0]
    assert isinstance(run, DeclaredRun)
    return run.settings


def test_the_paper_s_settings_are_its_own():
    run = first_settings("table2")
    assert (run.batch_size, run.epochs, run.augmentation) == (256, 300, "random_resized_crop")
    scratch = first_settings("figure13")
    assert (scratch.epochs, [round(600 * m) for m in scratch.milestones]) == (600, [400, 550])
    source = first_settings("table7")
    assert (source.epochs, [round(60 * m) for m in source.milestones]) == (60, [45])
    penalty = first_settings("table5")
    assert (penalty.batch_size, penalty.iterations, penalty.convention) == (64, 9000, "torch")


def test_sets_that_a_person_names_take_the_place_of_the_protocol_s():
    for name in ("table2", "table3", "table5", "figure4", "figure9"):
        runs = declared_runs(view(name, with_sets(SMALL, {"digits": "digits"})))
        assert {run.target for run in runs if isinstance(run, DeclaredRun)} == {"digits"}


def test_variations_stand_on_runs_of_the_same_experiment():
    for protocol in (SMALL, PAPER):
        for name in NAMES:
            runs = declared_runs(view(name, protocol))
            keys = {run.key for run in runs if isinstance(run, DeclaredRun)}
            for run in runs:
                if isinstance(run, Variation):
                    assert {other.key for other in run.of} <= keys
