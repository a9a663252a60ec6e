import json

import pytest

from kintune.base.errors import OptionError
from kintune.recommend import TaskFacts, recommend
from kintune.recommend.own_references import add_reference, list_references, reference_of
from kintune.recommend.references import own_references, own_references_path
from kintune.runs.hyperparameters import Hyperparameters


@pytest.fixture(autouse=True)
def own_file(tmp_path, monkeypatch):
    monkeypatch.setenv("KINTUNE_REFERENCES", str(tmp_path / "own/references.json"))
    return tmp_path / "own/references.json"


FACTS = TaskFacts(images=1000, classes=10, batch_size=32, epochs=30, weights_sha256="w1")
SETTINGS = Hyperparameters(lr=1, batch_size=FACTS.batch_size, epochs=FACTS.epochs)


@pytest.fixture
def recommended_search(finished_search, make_similarity):
    """A finished search with the recommendation that it began with."""

    def write(errors, target="photos", **settings):
        folder = finished_search(errors, target=target, **settings)
        advice = recommend(make_similarity(target), FACTS, 0.3, SETTINGS)
        (folder / "recommendation.json").write_text(advice.model_dump_json())
        return folder

    return write


def test_without_a_home_directory_there_are_none_and_none_can_be_added(
    recommended_search, monkeypatch
):
    def homeless(_path):
        raise RuntimeError("Could not determine home directory.")

    folder = recommended_search({0.01: 0.3, 0.05: 0.2})
    monkeypatch.delenv("KINTUNE_REFERENCES")
    monkeypatch.setattr("pathlib.Path.expanduser", homeless)
    assert own_references() == ()
    with pytest.raises(OptionError, match="KINTUNE_REFERENCES"):
        add_reference(folder)


def test_a_search_becomes_a_reference_of_its_network(recommended_search):
    found = reference_of(recommended_search({0.01: 0.3, 0.05: 0.2, 0.3: None}))
    assert (found.network_name, found.task.network, found.task.target) == (
        "resnet50",
        "w1",
        "photos",
    )
    assert (found.batch_size, found.epochs, found.relative_distance) == (32, 30, 0.7)
    runs = {(run.mode, round(run.effective_lr, 6), run.top1_error) for run in found.runs}
    assert runs == {("batch", 0.01, 0.3), ("batch", 0.05, 0.2)}


def test_frozen_statistics_are_another_mode(recommended_search):
    folder = recommended_search({0.05: 0.2}, freeze_bn_stats=True)
    assert [run.mode for run in reference_of(folder).runs] == ["frozen"]


def test_a_search_in_which_nothing_trained_to_its_end_is_refused(recommended_search, own_file):
    with pytest.raises(OptionError, match="none of its runs trained the network to the end"):
        add_reference(recommended_search({0.1: None}))
    assert not own_file.exists()


def test_a_folder_that_holds_no_search_is_refused(tmp_path, finished_search):
    for folder in (tmp_path, finished_search({0.1: 0.2})):
        with pytest.raises(OptionError, match=r"no finished search of kintune tune"):
            add_reference(folder)


def test_a_second_search_of_a_target_takes_the_place_of_the_first(recommended_search):
    shipped = list_references().references
    add_reference(recommended_search({0.01: 0.3}))
    add_reference(recommended_search({0.01: 0.3}, target="drawings"))
    added = add_reference(recommended_search({0.07: 0.1}))
    assert added.added == ("photos",)
    own = list_references().references[len(shipped) :]
    assert list_references().references[: len(shipped)] == shipped
    assert [each.task.target for each in own] == ["drawings", "photos"]


def test_own_runs_draw_the_recommendation_for_the_same_network(recommended_search, make_similarity):
    before = recommend(make_similarity("new"), FACTS, 0.3, SETTINGS)
    others = FACTS.replace(weights_sha256="w2")
    other_before = recommend(make_similarity("new"), others, 0.3, SETTINGS)
    for name in ("a", "b", "c"):
        add_reference(
            recommended_search(
                {0.01: 0.10, 0.03: 0.08, 0.1: 0.15, 0.3: 0.4}, target=name, freeze_bn_stats=True
            )
        )
    after = recommend(make_similarity("new"), FACTS, 0.3, SETTINGS)
    other = recommend(make_similarity("new"), others, 0.3, SETTINGS)
    assert after.recipes[0].mode == "frozen"
    assert after.recipes[0].expected_top1_error < before.recipes[0].expected_top1_error
    assert {row.target for row in after.evidence} >= {"a", "b", "c"}
    moved, moved_other = (
        abs(x.recipes[0].expected_top1_error - y.recipes[0].expected_top1_error)
        for x, y in ((before, after), (other_before, other))
    )
    assert moved > moved_other


def test_a_damaged_file_of_own_references_is_named(own_file):
    own_file.parent.mkdir()
    own_file.write_text(json.dumps([{"source": "x"}]))
    with pytest.raises(OptionError, match=r"references.json: not a file of references"):
        list_references()
    assert own_references_path() == own_file
