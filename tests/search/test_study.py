import optuna
import pytest
from optuna.trial import TrialState

from kintune.search import Choices, StudyView, search
from kintune.search.study import STUDY, open_journal

from .conftest import SPACE


def load(path):
    return optuna.load_study(study_name=STUDY, storage=open_journal(path))


@pytest.fixture
def view(tmp_path):
    return lambda space=SPACE: StudyView(tmp_path, space)


def watched(plan, view):
    from dataclasses import replace

    return replace(plan, watchers=(view,))


def test_the_study_shows_what_has_ended(make_plan, runner, view, tmp_path):
    outcome = search(watched(make_plan(runs=3), view()), runner)
    trials = load(tmp_path / "study.log").trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 3
    assert [t.value for t in trials] == [t.error for t in outcome.trials]
    assert [t.user_attrs["run"] for t in trials] == [t.asked.config.id for t in outcome.trials]


def test_it_is_made_anew_whatever_stood_there(make_plan, runner, view, tmp_path):
    (tmp_path / "study.log").write_text('{"torn')
    (tmp_path / "study.log.lock").write_text("of a killed process")
    search(watched(make_plan(runs=2), view()), runner)
    search(watched(make_plan(runs=3), view()), runner)
    assert len(load(tmp_path / "study.log").trials) == 3


def test_changed_choices_are_no_trouble(make_plan, runner, view, tmp_path):
    search(watched(make_plan(runs=2), view()), runner)
    wider = SPACE.replace(choices=Choices(momentum=(0.9, 0.0)))
    search(watched(make_plan(runs=5, space=wider), view(wider)), runner)
    trials = load(tmp_path / "study.log").trials
    assert {t.params["momentum"] for t in trials} == {0.9, 0.0}


def test_a_view_that_cannot_be_written_does_not_end_the_search(make_plan, runner, tmp_path, capsys):
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    outcome = search(watched(make_plan(runs=2), StudyView(nowhere, SPACE)), runner)
    assert len(outcome.trials) == 2
    assert "the search goes on" in capsys.readouterr().err
