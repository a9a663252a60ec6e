import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kintune.backbones import BackboneOverrides, load_backbone
from kintune.base.files import locked
from kintune.data import load_dataset
from kintune.runs import RunConfig
from kintune.runs.hyperparameters import Hyperparameters
from kintune_paper import run_records as experiment
from kintune_paper.run_records import (
    RecordFile,
    RunArchive,
    keep_only_json,
    recorded_run,
    write_runs,
)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("pocket", overrides=BackboneOverrides(image_size=16), pretrained=False)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, backbone):
    folder = tmp_path_factory.mktemp("shades")
    for split, count in (("train", 6), ("val", 3), ("test", 4)):
        for label, level in (("dark", 40), ("light", 200)):
            (folder / split / label).mkdir(parents=True)
            for index in range(count):
                pixels = np.full((16, 16, 3), level + index, np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{index}.png")
    return load_dataset(folder, backbone.input)


@pytest.fixture
def make_config(backbone, dataset):
    def make(lr=0.01, seed=0):
        return RunConfig(
            model="pocket",
            weights_sha256="",
            initialization="random",
            input=backbone.input,
            data_sha256=dataset.content_hash,
            hyperparameters=Hyperparameters.as_in_paper(
                lr=lr, batch_size=4, epochs=3, augmentation="flip"
            ),
            seed=seed,
        )

    return make


def test_a_record_holds_the_course_of_the_run_and_its_test_error(
    backbone, dataset, make_config, tmp_path
):
    record = recorded_run(backbone, dataset, make_config(), tmp_path / "run")
    assert record.config == make_config()
    assert record.result.status == "complete"
    assert len(record.train_losses) == 3
    assert record.validation_errors[-1] == (3, record.result.validation_top1_error)
    assert record.test_error in {wrong / 8 for wrong in range(9)}
    assert record.versions["torch"]


def test_a_recorded_run_is_read_and_not_run_again_though_its_model_is_gone(
    backbone, dataset, make_config, tmp_path, monkeypatch
):
    record = recorded_run(backbone, dataset, make_config(), tmp_path / "run")
    keep_only_json(tmp_path / "run")
    assert not any(path.suffix == ".safetensors" for path in tmp_path.rglob("*"))
    monkeypatch.setattr(experiment, "run_guarded", None)
    assert recorded_run(backbone, dataset, make_config(), tmp_path / "run") == record


def test_a_kill_between_training_and_test_costs_no_training(
    backbone, dataset, make_config, tmp_path, monkeypatch
):
    def killed(*_):
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "evaluate_model_folder", killed)
        with pytest.raises(KeyboardInterrupt):
            recorded_run(backbone, dataset, make_config(), folder)
    before = (folder / "result.json").stat().st_mtime_ns
    assert recorded_run(backbone, dataset, make_config(), folder).test_top1_error is not None
    assert (folder / "result.json").stat().st_mtime_ns == before


def test_a_diverged_run_counts_as_all_wrong(backbone, dataset, make_config, tmp_path):
    record = recorded_run(backbone, dataset, make_config(lr=1e6), tmp_path / "run")
    assert record.result.status == "diverged"
    assert (record.validation_error, record.test_error) == (1.0, 1.0)
    assert record.test_top1_error is None


def test_the_archive_finds_what_was_added_once_one_run_a_line(
    backbone, dataset, make_config, tmp_path
):
    archive = RunArchive(tmp_path / "results")
    records = [
        recorded_run(backbone, dataset, make_config(seed=seed), tmp_path / str(seed))
        for seed in (0, 1)
    ]
    for record in (*records, records[0]):
        archive.add("scratch", dataset, record)
    assert archive.read("scratch", dataset.name) == tuple(records)
    assert archive.find(make_config(seed=1)) == records[1]
    assert archive.find(make_config(seed=2)) is None
    assert archive.read("pocket", dataset.name) == ()
    text = archive.path("scratch", dataset.name).read_text()
    assert json.loads(text)["counts"] == {"train": 12, "val": 6, "test": 8}
    assert len(text.splitlines()) == 4


def test_a_lock_is_held_once_and_free_afterwards(tmp_path):
    with locked(tmp_path / "one") as first, locked(tmp_path / "one", wait=False) as second:
        assert first is not None
        assert second is None
    with locked(tmp_path / "one", wait=False) as third:
        assert third is not None


def test_targets_of_one_name_have_a_file_a_source(dataset, tmp_path):
    archive = RunArchive(tmp_path)
    other = replace(dataset, name="other")
    assert archive.path("a", dataset.name) != archive.path("a", other.name)
    assert archive.path("a", other.name) != archive.path("b", other.name)


def test_a_name_that_looks_like_json_is_written_as_it_is(tmp_path):
    name = 'odd "runs": [] {x}'
    head = RecordFile(source=name, target="t", classes=2, counts={"train": 1})
    write_runs(tmp_path / "file.json", head, [])
    assert RecordFile.read(tmp_path / "file.json") == head
