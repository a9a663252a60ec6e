"""Building references: a search a data set, by a stand-in that leaves what a search leaves."""

from pathlib import Path

import pytest

from kintune.base.errors import OptionError
from kintune.cli.tables import reference_table
from kintune.options import ReferenceOptions, SearchOptions
from kintune.options.results import BuildPlan, Plan
from kintune.recommend import TaskFacts, recommend
from kintune.recommend.own_references import References
from kintune.runs.hyperparameters import Hyperparameters
from kintune.workflow import reference_builder
from kintune.workflow.reference_builder import build_references

TRAINED = {0.01: 0.3, 0.05: 0.2, 0.3: 0.4}
DIVERGED = {0.01: None, 0.05: None}


@pytest.fixture(autouse=True)
def own_file(tmp_path, monkeypatch):
    monkeypatch.setenv("KINTUNE_REFERENCES", str(tmp_path / "own/references.json"))
    return tmp_path / "own/references.json"


@pytest.fixture
def searched(monkeypatch, finished_search, make_similarity) -> list[SearchOptions]:
    """The searches that were asked for; the one on drawings diverges."""
    asked: list[SearchOptions] = []

    def search(options: SearchOptions) -> Plan | None:
        asked.append(options)
        if options.dry_run:
            return plan(options)
        name = Path(options.data).name
        errors = DIVERGED if name == "drawings" else TRAINED
        folder = finished_search(errors, target=name, folder=options.output)
        facts = TaskFacts(images=800, classes=10, batch_size=32, epochs=30, weights_sha256="w1")
        settings = Hyperparameters(lr=1, batch_size=32, epochs=30)
        advice = recommend(make_similarity(name), facts, 0.3, settings)
        (folder / "recommendation.json").write_text(advice.model_dump_json())
        return None

    monkeypatch.setattr(reference_builder, "search", search)
    return asked


def plan(options: SearchOptions) -> Plan:
    return Plan(
        data=options.data,
        model=options.model,
        training_images=800,
        validation_images=200,
        test_images=0,
        classes=10,
        runs=8,
        effective_lr=0.1,
        lr=0.01,
        momentum=0.9,
        weight_decay=1e-4,
        batch_size=32,
        regularizer="l2",
        schedule="step",
        augmentation="flip",
        head_start="random",
        epochs=20,
        steps=500,
        seconds=None if "huge" in options.data else 90.0,
        disk_bytes=0,
        device="cpu",
        output=str(options.output),
    )


def asked_for(*names: str, **others: object) -> ReferenceOptions:
    folders = tuple(Path(name) for name in names)
    return ReferenceOptions(action="build", folders=folders, model="resnet50", **others)


def test_every_search_becomes_a_reference_and_the_others_are_said(
    searched, tmp_path, capsys, own_file
):
    options = asked_for("photos", "drawings", "maps", output=tmp_path / "built")
    found = build_references(options)
    assert isinstance(found, References)
    assert found.added == ("photos", "maps")
    assert [each.task.target for each in found.references[-2:]] == ["photos", "maps"]
    assert own_file.exists()
    assert "not added" in (said := capsys.readouterr().err)
    assert "drawings" in said
    assert [each.output for each in searched] == [
        tmp_path / "built" / name for name in ("photos", "drawings", "maps")
    ]
    assert {each.runs_at_most for each in searched} == {8}
    assert {each.augmentation for each in searched} == {"flip"}


def test_the_cost_is_told_first_and_nothing_is_added(searched, own_file):
    found = build_references(asked_for("photos", "drawings", dry_run=True))
    assert isinstance(found, BuildPlan)
    assert found.seconds == 180
    text = reference_table(found)
    assert text.splitlines()[-1] == "all: about 3 min 0 s at most"
    assert "drawings" in text
    assert all(each.dry_run for each in searched)
    assert not own_file.exists()


def test_a_cost_that_is_not_known_is_not_summed(searched):
    found = build_references(asked_for("photos", "huge", dry_run=True))
    assert isinstance(found, BuildPlan)
    assert found.seconds is None


@pytest.mark.parametrize("names", [(), ("a/photos", "b/photos")])
def test_data_sets_are_needed_and_told_apart_by_name(searched, names):
    expected = "photos: 2 of the data sets have this name" if names else "needs data sets and --mo"
    with pytest.raises(OptionError, match=expected):
        build_references(asked_for(*names))
    assert not searched
