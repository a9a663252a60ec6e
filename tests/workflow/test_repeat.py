"""A recorded configuration trains to the recorded score again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintune.base.errors import OptionError
from kintune.options import FinetuneOptions, TuneOptions
from kintune.options.results import TrainingSummary
from kintune.runs import read_result
from kintune.workflow.pipeline import finetune, tune

FLAGS = {"model": "pocket", "image_size": 16, "epochs": 2, "batch_size": 8, "threads": 1}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("repeat") / "photos"
    rng = np.random.default_rng(0)
    for index, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            pixels = np.clip(60 + 40 * index + rng.normal(0, 40, (20, 20, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def recorded(photos, tmp_path_factory) -> Path:
    """A run with what is not default wherever something can be."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    finetune(
        FinetuneOptions(
            data=str(photos),
            output=folder,
            seed=3,
            val_fraction=0.25,
            mean=(0.4, 0.4, 0.4),
            regularizer="l2-sp",
            bn_momentum=0.5,
            warmup_epochs=1,
            **FLAGS,
        )
    )
    return folder


def test_repeats_score_and_bytes(recorded, tmp_path, capsys):
    options = FinetuneOptions(from_config=recorded / "config.json", output=tmp_path / "again")

    summary = finetune(options)

    assert isinstance(summary, TrainingSummary)
    assert (tmp_path / "again/config.json").read_text() == (recorded / "config.json").read_text()
    first, again = read_result(recorded), read_result(tmp_path / "again")
    assert again.validation_top1_error == first.validation_top1_error
    assert again.train_loss == first.train_loss
    weights = "model/model.safetensors"
    assert (tmp_path / "again" / weights).read_bytes() == (recorded / weights).read_bytes()
    assert ": the same." in capsys.readouterr().err
    assert "--from" in summary.command
    assert "--lr" not in summary.command


def test_the_split_is_drawn_with_its_own_seed_not_with_that_of_the_run(recorded, tmp_path):
    """A search tries other seeds of a run on one split."""
    config = json.loads((recorded / "config.json").read_text())
    shutil.copytree(recorded, tmp_path / "seed")
    (tmp_path / "seed/config.json").write_text(json.dumps({**config, "seed": 4}))
    for name in ("result.json", "metrics.csv"):
        (tmp_path / "seed" / name).unlink()
    options = FinetuneOptions(from_config=tmp_path / "seed/config.json", output=tmp_path / "out")

    finetune(options)

    assert json.loads((tmp_path / "out/config.json").read_text())["seed"] == 4


def test_what_contradicts_the_recorded_configuration_is_named(recorded):
    options = FinetuneOptions(
        from_config=recorded / "config.json", lr=0.5, momentum=0.1, model="resnet18"
    )

    with pytest.raises(OptionError) as refused:
        finetune(options)

    assert all(flag in str(refused.value) for flag in ("--lr", "--momentum", "--model"))


def test_moved_images_may_be_named_and_other_images_are_refused(
    recorded, photos, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, tmp_path / "moved")
    named = {"from_config": recorded / "config.json", "data": str(tmp_path / "moved")}
    finetune(FinetuneOptions(**named, output=tmp_path / "again"))

    next((tmp_path / "moved/cat").iterdir()).unlink()
    with pytest.raises(OptionError, match="images are not those of the configuration"):
        finetune(FinetuneOptions(**named, output=tmp_path / "other"))


def test_without_the_record_of_its_inputs_it_asks_for_the_images(recorded, tmp_path):
    shutil.copy(recorded / "config.json", tmp_path / "config.json")

    with pytest.raises(OptionError, match="Pass DATA"):
        finetune(FinetuneOptions(from_config=tmp_path / "config.json"))


def test_with_the_images_named_a_bare_configuration_is_enough(photos, tmp_path):
    finetune(FinetuneOptions(data=str(photos), output=tmp_path / "run", seed=3, **FLAGS))
    shutil.copy(tmp_path / "run/config.json", tmp_path / "bare.json")

    options = {"from_config": tmp_path / "bare.json", "data": str(photos), "threads": 1}
    finetune(FinetuneOptions(**options, output=tmp_path / "again"))

    weights = [tmp_path / name / "model/model.safetensors" for name in ("run", "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_another_share_for_validation_is_refused(recorded):
    options = FinetuneOptions(from_config=recorded / "config.json", val_fraction=0.4)

    with pytest.raises(OptionError, match=r"--val-fraction 0\.4: the recorded run drew 0\.25"):
        finetune(options)


def test_runs_of_a_search_of_scratch_and_of_the_head_alone_repeat_too(photos, tmp_path):
    searched = tune(TuneOptions(data=str(photos), output=tmp_path / "tune", runs=1, **FLAGS))
    data = {"data": str(photos), **FLAGS}
    finetune(FinetuneOptions(output=tmp_path / "head", head_only=True, **data))
    finetune(FinetuneOptions(output=tmp_path / "scratch", from_scratch=True, **data))
    assert isinstance(searched, TrainingSummary)
    run = tmp_path / "tune/runs" / searched.runs[0].id

    for number, folder in enumerate([run, tmp_path / "head", tmp_path / "scratch"]):
        again = tmp_path / f"again{number}"
        finetune(FinetuneOptions(from_config=folder / "config.json", output=again))

        weights = [path / "model/model.safetensors" for path in (folder, again)]
        assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize("content", [None, "{", '{"model": 3}'])
def test_a_file_that_is_no_configuration_is_named(tmp_path, content):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(OptionError, match=r"config\.json"):
        finetune(FinetuneOptions(from_config=path))


def test_without_from_it_needs_images_and_a_network():
    with pytest.raises(OptionError, match="DATA and --model: required"):
        finetune(FinetuneOptions())
