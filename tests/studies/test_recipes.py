"""The recipe study: runs are told apart, images do not overlap, what ships is what was measured."""

import json

import numpy as np
import pytest
from PIL import Image

from kintune.recommend.model import Deviations, RecipeReference, RecipeRun, RecipeTask
from kintune.recommend.references import load_recipe_references
from studies.recipes import declared, run
from studies.recipes.judgement import constant_loss, left_out, quality_of


def test_every_run_is_declared_once():
    keys = [declared.key_of(case) for case in declared.cases()]
    assert len(set(keys)) == len(keys) > 200


def test_the_shipped_references_are_those_of_the_records():
    shipped = {each.task.target + each.network_name: each for each in load_recipe_references()}
    made = {each.task.target + each.network_name: each for each in declared.references()}
    assert shipped == made


@pytest.fixture
def images(tmp_path):
    for name in ("a", "b", "c"):
        folder = tmp_path / "data" / "letters" / "train" / name
        folder.mkdir(parents=True)
        for number in range(10):
            Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "data"


def test_a_subset_validates_on_other_images_than_it_trains_on(images, tmp_path):
    folder = run.subset(images, "letters", 10, tmp_path / "sets")
    parts = {
        split: {file.resolve() for file in (folder / split).glob("*/*")}
        for split in ("train", "val")
    }
    assert len(parts["train"]) == 10
    assert not parts["train"] & parts["val"]
    assert parts["train"] | parts["val"] == set(images.glob("letters/train/*/*"))
    assert run.subset(images, "letters", 10, tmp_path / "sets") == folder


def test_a_line_that_a_kill_cut_short_is_no_record(tmp_path, monkeypatch):
    monkeypatch.setattr(declared, "RESULTS", tmp_path)
    case = next(declared.cases()) | {"status": "complete"}
    whole = json.dumps(case)
    (tmp_path / "runs.jsonl").write_text(f"{whole}\n{whole[:40]}")
    assert declared.records() == [case]


def reference(target, errors, rank):
    runs = [
        RecipeRun(mode="frozen", effective_lr=rate, setting="flip", top1_error=error, images=400)
        for rate, error in errors.items()
    ]
    return RecipeReference(
        task=RecipeTask(
            network="n", target=target, probe_top1_error=0.3, images=300, rank=rank, steps=120
        ),
        network_name="net",
        source="ImageNet-1k",
        relative_distance=rank,
        batch_size=32,
        epochs=12,
        image_size=96,
        origin="here",
        runs=(RecipeRun(mode="head", top1_error=0.3, images=400), *runs),
    )


def test_a_set_that_is_left_out_is_judged_by_the_others_alone():
    """Far sets want 1.0, near ones 0.1: the fourth set's own runs say the opposite."""
    near, far = {0.1: 0.1, 1.0: 0.2}, {0.1: 0.2, 1.0: 0.1}
    found = [
        *(reference(f"near {i}", near, 0.1) for i in range(3)),
        *(reference(f"far {i}", far, 0.9) for i in range(3)),
        reference("odd", far, 0.1),
    ]
    judged = {
        each.reference.task.target: each
        for each in left_out(found, lambda ref: ref.task.target, Deviations())
    }
    assert judged["near 0"].loss == 0
    assert judged["far 0"].loss == 0
    assert judged["odd"].loss == pytest.approx(0.1)
    assert quality_of(list(judged.values())).mean_loss == pytest.approx(0.1 / 7)
    assert constant_loss(found, "frozen", 0.1) == (pytest.approx(0.4 / 7), 7)
