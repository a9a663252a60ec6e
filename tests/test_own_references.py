import json

import pytest

from kintune.errors import OptionError
from kintune.own_references import add_reference, list_references, reference_of
from kintune.recommend import Recipe, TaskFacts, recommend
from kintune.reference import own_references_path, shipped_reference_tables


@pytest.fixture(autouse=True)
def own_file(tmp_path, monkeypatch):
    monkeypatch.setenv("KINTUNE_REFERENCES", str(tmp_path / "own/references.json"))
    return tmp_path / "own/references.json"


def test_a_search_becomes_a_row_of_exactly_its_network(finished_search):
    table = reference_of(finished_search({0.01: 0.3, 0.05: 0.2, 0.3: None}))
    assert (table.network, table.weights_sha256) == ("resnet50", "w1")
    (row,) = table.rows
    assert (row.target, row.effective_lr, row.batch_size, row.epochs) == ("photos", 0.05, 32, 30)
    assert (row.images, row.classes, row.relative_distance) == (1000, 10, 0.7)


@pytest.mark.parametrize(
    "errors", [{}, {0.1: 0.2}, {0.1: 0.2, 0.3: 0.3}, {0.1: 0.3, 0.3: 0.2}, {0.1: 0.2, 0.3: 0.2}]
)
def test_a_best_rate_without_a_worse_run_on_both_sides_is_refused(
    finished_search, own_file, errors
):
    with pytest.raises(OptionError, match=r"no worse run on both sides.*larger --runs"):
        add_reference(finished_search(errors))
    assert not own_file.exists()


def test_runs_of_another_augmentation_are_another_curve(finished_search):
    folder = finished_search({0.01: 0.3, 0.05: 0.2, 0.25: 0.3})
    finished_search({0.05: 0.7, 0.01: 0.25}, folder=folder, augmentation="none")
    assert reference_of(folder).rows[0].effective_lr == 0.05


def test_of_two_augmentations_with_equal_errors_the_one_with_more_rates_is_the_curve(
    finished_search,
):
    folder = finished_search({0.01: 0.3, 0.05: 0.2, 0.25: 0.3})
    for name in ("flip", "none"):
        finished_search({0.05: 0.2}, folder=folder, augmentation=name)
    assert reference_of(folder).rows[0].effective_lr == 0.05


def test_a_lucky_seed_makes_no_curve(finished_search):
    folder = finished_search({0.01: 0.3, 0.05: 0.2, 0.25: 0.3})
    finished_search({0.1: 0.19}, folder=folder, augmentation="none")
    finished_search({0.1: 0.27}, folder=folder, augmentation="none", seed=1)
    assert reference_of(folder).rows[0].effective_lr == 0.05


def test_a_folder_that_holds_no_search_is_refused(tmp_path):
    with pytest.raises(OptionError, match=r"no finished search of kintune tune"):
        add_reference(tmp_path)


def test_what_was_added_is_listed_last_and_a_second_search_of_a_target_takes_its_place(
    finished_search,
):
    add_reference(finished_search({0.01: 0.3, 0.05: 0.2, 0.25: 0.3}))
    add_reference(finished_search({0.01: 0.3, 0.05: 0.2, 0.25: 0.3}, target="drawings"))
    added = add_reference(finished_search({0.07: 0.1, 0.02: 0.25, 0.15: 0.2}))
    assert added.added == ("photos",)
    assert list_references().tables[:-1] == shipped_reference_tables()
    rows = {row.target: row.effective_lr for row in list_references().tables[-1].rows}
    assert rows == {"drawings": 0.05, "photos": pytest.approx(0.07, rel=0.1)}


def test_a_persons_own_run_draws_the_recommendation_for_the_same_network(
    finished_search, make_similarity
):
    facts = TaskFacts(
        images=1000,
        classes=10,
        batch_size=32,
        epochs=30,
        trust_ratio=0.2,
        weights_sha256="w1",
    )
    before = recommend(make_similarity("new"), facts)
    add_reference(finished_search({0.005: 0.3, 0.05: 0.2, 0.5: 0.3}))
    after = recommend(make_similarity("new"), facts)
    other = recommend(make_similarity("new"), facts.replace(weights_sha256="w2"))
    assert before.effective_lr.best < 0.01
    assert after.effective_lr.best > 1.5 * before.effective_lr.best
    assert after.evidence[0].target == "photos"
    assert after.evidence[0].effective_lr == pytest.approx(0.05, rel=0.3)
    assert other.effective_lr == before.effective_lr


def test_the_trust_ratio_of_the_search_goes_with_it(finished_search, make_similarity):
    """At another input size the network bears another rate, and a reference knows its own."""
    folder = finished_search({0.003: 0.3, 0.02: 0.2, 0.1: 0.4})
    assert reference_of(folder).trust_ratio is None
    facts = TaskFacts(images=1000, classes=10, batch_size=32, epochs=30, trust_ratio=0.2)
    advice = recommend(make_similarity("photos"), facts, Recipe(head_start="random"))
    (folder / "recommendation.json").write_text(advice.model_dump_json())
    assert reference_of(folder).trust_ratio == 0.2
    before = recommend(make_similarity("new"), facts)
    add_reference(folder)
    assert recommend(make_similarity("new"), facts).effective_lr != before.effective_lr


def test_runs_of_another_start_than_was_recommended_are_another_curve(finished_search):
    folder = finished_search({0.01: 0.3, 0.05: 0.2, 0.3: None})
    recommended = folder / "recommendation.json"
    recommended.write_text(json.dumps({"head_start": "random", "lr": 0.1}))
    assert reference_of(folder).rows[0].effective_lr == 0.05
    recommended.write_text(json.dumps({"head_start": "probe"}))
    with pytest.raises(OptionError, match="no worse run on both sides"):
        reference_of(folder)


def test_a_damaged_file_of_own_references_is_named(own_file):
    own_file.parent.mkdir()
    own_file.write_text(json.dumps([{"source": "x"}]))
    with pytest.raises(OptionError, match=r"references.json: not a file of reference tables"):
        list_references()
    assert own_references_path() == own_file


def test_one_lucky_run_does_not_move_the_best_rate(finished_search):
    """A valley around 0.05, and beside it a run that chance made the lowest."""
    valley = {0.005: 0.40, 0.01: 0.31, 0.02: 0.24, 0.05: 0.20, 0.1: 0.22, 0.2: 0.29, 0.5: 0.41}
    quiet = reference_of(finished_search(valley)).rows[0]
    lucky = reference_of(finished_search(valley | {0.2: 0.19}, target="lucky")).rows[0]
    assert 0.04 < quiet.effective_lr < 0.09
    assert 0.04 < lucky.effective_lr < 0.13
    assert quiet.rate_noise < 0.25


def test_a_flat_curve_makes_an_uncertain_reference(finished_search):
    steep = finished_search({0.01: 0.4, 0.03: 0.3, 0.1: 0.2, 0.3: 0.3, 1.0: 0.4}, target="steep")
    flat = finished_search(
        {0.01: 0.21, 0.03: 0.205, 0.1: 0.2, 0.3: 0.205, 1.0: 0.21}, target="flat"
    )
    noises = [reference_of(folder).rows[0].rate_noise for folder in (steep, flat)]
    assert noises[1] > 2 * noises[0]
