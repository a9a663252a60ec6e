"""What counts as recorded, and that validation chooses and the test error is only read."""

import pytest

from kintune.runs import write_json
from kintune_paper.engine.declaration import DeclaredRun, Variation
from kintune_paper.engine.known import KnownRuns, is_done, missing, outcome
from kintune_paper.run_records import RecordFile, RunArchive


@pytest.fixture
def rates(protocol):
    return protocol.runs("pocket", "near", lr=(0.1, 0.05, 0.01))


def seeded(run, seed):
    return DeclaredRun(network=run.network, target=run.target, settings=run.settings, seed=seed)


def test_the_lowest_validation_error_is_chosen_though_its_test_error_is_not_lowest(rates, known_of):
    known = known_of((rates[0], 0.3, 0.1), (rates[1], 0.2, 0.4), (rates[2], 0.25, 0.2))
    found = outcome(rates, known)
    assert found.runs[0].config.hyperparameters.lr == 0.05
    assert (found.mean(), found.spread()) == (0.4, None)
    assert (found.found, found.declared) == (3, 3)


def test_a_choice_among_some_says_among_how_many(rates, known_of):
    found = outcome(rates, known_of((rates[2], 0.25, 0.2)))
    assert (found.found, found.declared) == (1, 3)
    assert outcome(rates, known_of()) is None


def test_all_seeds_of_the_chosen_setting_are_reported(rates, known_of):
    known = known_of(
        (rates[0], 0.2, 0.10), (seeded(rates[0], 1), 0.4, 0.20), (seeded(rates[0], 2), 0.4, 0.30)
    )
    found = outcome(rates, known)
    assert found.mean() == pytest.approx(0.2)
    assert found.spread() == pytest.approx(0.1)


def test_settings_are_compared_on_the_seeds_that_all_have(rates, known_of):
    """Two more seeds of the first setting are worse than its first: it is still chosen, for the
    other one has no such seeds."""
    known = known_of(
        (rates[0], 0.20),
        (seeded(rates[0], 1), 0.50),
        (rates[1], 0.25),
    )
    assert outcome(rates, known).runs[0].config.hyperparameters.lr == 0.1


def test_average_class_errors_choose_where_they_are_what_is_shown(rates, known_of, record_of):
    known = KnownRuns([])
    known.add("pocket", "near", record_of(rates[0], 0.2, 0.2, validation_class=0.6, test_class=0.7))
    known.add("pocket", "near", record_of(rates[1], 0.3, 0.3, validation_class=0.5, test_class=0.4))
    assert outcome(rates, known).mean() == 0.2
    found = outcome(rates, known, "average class error")
    assert found.mean("average class error") == 0.4


def test_a_variation_is_known_once_all_that_it_stands_on_are_run(rates, known_of):
    varied = Variation(of=rates, change=(("bn_momentum", 0.99),))
    assert known_of((rates[0], 0.3), (rates[1], 0.2)).resolved(varied) is None
    known = known_of((rates[0], 0.3), (rates[1], 0.2), (rates[2], 0.25))
    run = known.resolved(varied)
    assert (run.settings.lr, run.settings.bn_momentum, run.seed) == (0.05, 0.99, 0)
    assert not is_done(varied, known)
    known.add("pocket", "near", known_of((run, 0.1)).runs[run.key])
    assert is_done(varied, known)


def test_a_variation_stays_when_more_seeds_are_run(rates, known_of):
    known = known_of((rates[0], 0.3), (rates[1], 0.2), (rates[2], 0.25), (seeded(rates[1], 1), 0.9))
    assert known.resolved(Variation(of=rates, seed=1)).settings.lr == 0.05


def test_what_is_chosen_by_class_errors_is_repeated_by_class_errors(rates, record_of):
    known = KnownRuns([])
    for run, error, class_error in zip(rates, (0.3, 0.2, 0.4), (0.2, 0.4, 0.3), strict=True):
        known.add("pocket", "near", record_of(run, error, error, validation_class=class_error))
    kind = "average class error"
    by_class = known.resolved(Variation(of=rates, seed=1, kind=kind))
    assert by_class.settings == rates[0].settings
    assert outcome(rates, known, kind).effective_lr == by_class.settings.effective_lr
    assert known.resolved(Variation(of=rates, seed=1)).settings == rates[1].settings


def test_what_is_missing_keeps_its_order(rates, known_of):
    assert missing(rates, known_of((rates[1], 0.2))) == [rates[0], rates[2]]


def write_file(folder, source, target, records):
    counts = {"train": 16, "val": 16, "test": 8}
    file = RecordFile(source=source, target=target, classes=2, counts=counts, runs=records)
    write_json(folder / f"{source}-{target}.json", file.to_json())


def test_records_of_several_folders_count_and_new_ones_are_seen(rates, record_of, tmp_path):
    write_file(tmp_path / "one", "pocket", "near", (record_of(rates[0], 0.3),))
    known = KnownRuns([RunArchive(tmp_path / "one"), RunArchive(tmp_path / "other")])
    known.refresh()
    assert known.find(rates[0]).validation_error == 0.3
    assert known.find(rates[1]) is None
    write_file(tmp_path / "other", "pocket", "near", (record_of(rates[1], 0.2),))
    known.refresh()
    assert known.find(rates[1]).validation_error == 0.2
    assert known.files["pocket", "near"].counts["test"] == 8


def test_a_rate_that_differs_in_the_last_bits_is_the_same(protocol, known_of):
    one = protocol.runs("pocket", "near", lr=0.01)[0]
    other = protocol.runs("pocket", "near", lr=0.1 * (1 - 0.9))[0]
    assert one.settings.lr != other.settings.lr
    assert known_of((one, 0.3)).find(other) is not None


def test_another_set_network_or_seed_is_another_run(protocol, known_of):
    run = protocol.runs("pocket", "near")[0]
    known = known_of((run, 0.3))
    assert known.find(protocol.runs("pocket", "far")[0]) is None
    assert known.find(protocol.runs("in1k", "near")[0]) is None
    assert known.find(seeded(run, 1)) is None
