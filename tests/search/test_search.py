"""The loop and its bookkeeping in run folders; training is replaced."""

import dataclasses

import pytest

from kintune.executors import never
from kintune.runs import write_json
from kintune.search import ENGINES, Choices, search

from .conftest import BASE, SPACE, TEMPLATE, FakeRunner, failed, finished, u_shaped


def ids(outcome):
    return [trial.asked.config.id for trial in outcome.trials]


@pytest.mark.parametrize("engine", ENGINES)
def test_runs_is_a_promise_whatever_the_engine(engine, make_plan, runner):
    outcome = search(make_plan(engine=engine, runs=5), runner)
    assert len(set(ids(outcome))) == len(runner.asked) == 5
    assert all(trial.is_complete for trial in outcome.trials)


def test_at_most_ends_when_the_engine_expects_nothing_and_says_so(make_plan, runner):
    outcome = search(make_plan(runs=50, is_at_most=True), runner)
    assert 3 <= len(outcome.trials) < 20
    assert "0.1 points" in outcome.notes[-1]


def test_the_same_call_runs_nothing_again(make_plan, runner):
    first = search(make_plan(), runner)
    again = search(make_plan(), runner)
    assert len(runner.asked) == 4
    assert again.trials == first.trials


def test_a_longer_search_goes_on_and_a_shorter_one_takes_the_first(make_plan, runner):
    first = search(make_plan(runs=3), runner)
    longer = search(make_plan(runs=5), runner)
    assert ids(longer)[:3] == ids(first)
    shorter = search(make_plan(runs=2), runner)
    assert ids(shorter) == ids(first)[:2]
    assert "3 later settings" in shorter.notes[0]
    assert len(runner.asked) == 5


def test_a_proposal_is_kept_before_its_run_begins(make_plan, runner, tmp_path):
    class KilledError(Exception):
        pass

    def outcome(config):
        if len(runner.asked) == 3:
            raise KilledError
        return u_shaped(config)

    runner.outcome = outcome
    with pytest.raises(KilledError):
        search(make_plan(), runner)
    begun = runner.asked[-1]
    runner.outcome = u_shaped
    uninterrupted = search(make_plan(), FakeRunner(tmp_path / "elsewhere"))

    resumed = search(make_plan(), runner)

    assert runner.asked[3] == begun
    assert len(runner.asked) == 5
    assert ids(resumed) == ids(uninterrupted)


def test_repeats_are_other_seeds_inside_their_setting(make_plan, runner):
    outcome = search(make_plan(runs=2, repeats=3), runner)
    assert [[c.seed for c in trial.configs] for trial in outcome.trials] == [[0, 1, 2]] * 2
    assert len(runner.asked) == 6
    [first, _] = outcome.trials
    errors = [result.validation_top1_error for result in first.ended]
    assert first.error == pytest.approx(sum(errors) / 3)
    assert first.spread == pytest.approx(0.001)


def test_more_repeats_later_add_the_missing_seeds(make_plan, runner):
    search(make_plan(runs=2), runner)
    search(make_plan(runs=2, repeats=2), runner)
    assert sorted(config.seed for config in runner.asked) == [0, 0, 1, 1]


def test_a_failed_run_does_not_end_the_search_and_gets_another_try(make_plan, runner):
    runner.outcome = lambda config: failed(config) if len(runner.asked) == 2 else u_shaped(config)
    outcome = search(make_plan(), runner)
    assert [trial.is_complete for trial in outcome.trials] == [True, False, True, True]

    again = search(make_plan(), runner)
    assert all(trial.is_complete for trial in again.trials)
    assert len(runner.asked) == 5


def test_a_diverged_run_informs_the_search(make_plan, runner):
    def outcome(config):
        if config.hyperparameters.effective_lr < 0.09:
            return u_shaped(config)
        return failed(config).replace(status="diverged")

    runner.outcome = outcome
    rates = [t.point.effective_lr for t in search(make_plan(runs=5), runner).trials]
    assert rates[0] == 0.1
    assert rates[1] < 0.1
    assert len([rate for rate in rates if rate >= 0.09]) <= 2


def test_epochs_are_a_limit_over_all_starts(make_plan, runner, tmp_path):
    def outcome(config):
        rows = "epoch,lr,train_loss,weight_norm,seconds\n1,1,1,1,1\n2,1,1,1,1\n"
        folder = tmp_path / "runs" / config.id
        folder.mkdir(exist_ok=True)
        (folder / "metrics.csv").write_text(rows)
        return u_shaped(config)

    runner.outcome = outcome
    for _ in range(2):
        found = search(make_plan(runs=9, max_epochs=7), runner)
        assert len(found.trials) == 3
        assert "another would make 8 epochs, and 7 were allowed" in found.notes[-1]


def test_time_is_a_limit_that_lets_one_run_begin(make_plan, runner):
    runner.outcome = lambda config: finished(config, 0.2, seconds=1000)
    found = search(make_plan(runs=9, max_seconds=60), runner)
    assert len(found.trials) == 1
    assert "60 s were allowed" in found.notes[-1]


def test_another_budget_of_epochs_is_another_search_and_said(make_plan, runner):
    search(make_plan(runs=2), runner)
    longer = SPACE.replace(base=BASE.replace(epochs=9))
    found = search(make_plan(runs=2, space=longer), runner)
    assert "2 settings" in found.notes[0]
    assert "epochs differ" in found.notes[0]
    assert all(t.asked.config.hyperparameters.epochs == 9 for t in found.trials)


def test_further_choices_keep_what_was_run(make_plan, runner):
    search(make_plan(runs=3), runner)
    wider = SPACE.replace(choices=Choices(momentum=(0.9, 0.0)))
    found = search(make_plan(runs=6, space=wider), runner)
    assert len(runner.asked) == 6
    assert {t.asked.config.hyperparameters.momentum for t in found.trials} == {0.9, 0.0}


def test_another_kind_of_device_is_another_search_and_is_said(make_plan, runner):
    first = search(make_plan(runs=2), runner)
    found = search(make_plan(runs=2, template=TEMPLATE.replace(device="cuda")), runner)
    assert set(ids(found)).isdisjoint(ids(first))
    assert "(device differ)" in found.notes[0]


def test_a_renamed_run_is_not_counted_and_named(make_plan, runner, capsys):
    plan = make_plan(runs=2)
    first = search(plan, runner)
    (plan.store.root / ids(first)[1]).rename(plan.store.root / "renamed")
    trials, _ = plan.store.read()
    assert [trial.asked.config.id for trial in trials] == ids(first)[:1]
    assert f"{plan.store.root / 'renamed'}: was renamed" in capsys.readouterr().err


def test_another_engine_goes_on_from_the_same_runs(make_plan, runner):
    first = search(make_plan(runs=3), runner)
    found = search(make_plan(runs=4, engine="random"), runner)
    assert ids(found)[:3] == ids(first)
    assert [trial.asked.engine for trial in found.trials] == ["bracket"] * 3 + ["random"]


def test_a_setting_that_was_run_already_is_taken_over(make_plan, runner, tmp_path):
    config = TEMPLATE.replace(hyperparameters=BASE)
    assert config.hyperparameters.effective_lr == pytest.approx(0.1)
    write_json(tmp_path / "runs" / config.id / "result.json", u_shaped(config).to_json())
    outcome = search(make_plan(runs=2), runner)
    assert len(runner.asked) == 1
    assert ids(outcome)[0] == config.id


def test_finished_runs_give_the_rule_that_stops_lost_ones(make_plan, tmp_path):
    rules = []

    class Recording(FakeRunner):
        def run(self, configs, stop_rules=never):
            for config in configs:
                rules.append(stop_rules(config))
                rows = "epoch,lr,train_loss,validation_top1_error,weight_norm,seconds\n"
                folder = self.root / config.id
                folder.mkdir(exist_ok=True)
                (folder / "metrics.csv").write_text(rows + "1,1,1,0.4,1,1\n2,1,1,0.2,1,1\n")
                write_json(folder / "result.json", u_shaped(config).to_json())
                yield u_shaped(config)

    search(make_plan(runs=2), Recording(tmp_path / "runs"))
    assert rules[0].curves == ()
    assert rules[1].curves[0].errors == {1: 0.4, 2: 0.2}
    rules.clear()
    augmented = SPACE.replace(choices=Choices(augmentation=("flip", "none")))
    search(make_plan(runs=3, space=augmented), Recording(tmp_path / "runs"))
    assert [len(rule.curves) for rule in rules] == [0, 0, 1]
    rules.clear()
    search(dataclasses.replace(make_plan(runs=3), stops_early=False), Recording(tmp_path / "runs"))
    assert rules == [None]
