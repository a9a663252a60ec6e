import pytest
from pydantic import ValidationError

from kintune.base.errors import OptionError
from kintune.base.records import content_id
from kintune.runs import (
    RunConfig,
    device_kind,
    foreign_result,
    read_result,
    result_without_errors,
    write_json,
)
from kintune.runs.hyperparameters import PAPER, Hyperparameters
from kintune.runs.inputs import InputSpec


def config(**changes):
    values = {
        "model": "pocket",
        "weights_sha256": "0" * 64,
        "input": InputSpec(image_size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        "data_sha256": "1" * 64,
        "hyperparameters": Hyperparameters.as_in_paper(lr=0.01, batch_size=32, epochs=10),
    }
    return RunConfig.model_validate(values | changes)


def test_a_field_that_is_added_leaves_the_identity_of_earlier_runs_alone():
    """The id was written down before any of the later fields was there; it never changes."""
    assert config().id == "3a8fd1e9c062"


def test_the_identity_of_a_run_does_not_change_with_a_default():
    """The id was written down before the defaults of `Hyperparameters` were those of commands."""
    settings = config().hyperparameters.replace(
        augmentation="flip", head_start="probe", clip_grad_norm=1.0, freeze_bn_stats=True
    )
    assert config(hyperparameters=settings).id == "0e3942ccd765"
    default = Hyperparameters(lr=0.01, batch_size=32, epochs=10)
    assert config(hyperparameters=default).id != config().id


def test_a_file_of_a_time_before_a_field_is_of_a_run_as_in_the_paper(tmp_path):
    said = config().to_json()
    said["hyperparameters"] = {"lr": 0.01, "batch_size": 32, "epochs": 10}
    write_json(tmp_path / "config.json", said)
    assert RunConfig.read(tmp_path / "config.json") == config()
    assert Hyperparameters(lr=0.01, batch_size=32, epochs=10) != config().hyperparameters


def test_an_implied_value_that_is_said_is_the_implied_one():
    said = {"lr": 0.01, "batch_size": 32, "epochs": 10, **PAPER}
    assert config(hyperparameters=said, seed=0).id == config().id


def test_what_differs_from_the_default_has_its_own_identity():
    ids = {config().id, config(seed=1).id, config(device="cuda").id, config(trainable="head").id}
    assert len(ids) == 4


def test_a_default_reached_by_a_detour_has_its_identity():
    """0.0001 comes back from another momentum as 9.999999999999999e-05."""
    start = config().hyperparameters
    back = start.with_momentum(0.5).with_momentum(0.9)

    assert back.weight_decay != start.weight_decay
    assert config(hyperparameters=back).id == config().id


def test_a_run_on_another_kind_of_device_is_another_run_and_of_another_gpu_the_same():
    cpu, gpu = config(device=device_kind("cpu")), config(device=device_kind("cuda:1"))
    assert gpu == config(device=device_kind("cuda"))
    assert gpu.id != cpu.id
    assert gpu.id_on_any_device == cpu.id


def version_1(threads):
    """`config.json` as it was when the number of threads was part of a configuration."""
    said = {key: value for key, value in config().to_json().items() if key != "version"}
    return {**said, "threads": threads}


def test_a_file_of_version_1_is_read_whatever_its_threads(tmp_path):
    write_json(tmp_path / "config.json", version_1(threads=4))
    assert RunConfig.read(tmp_path / "config.json") == config()


def test_a_file_of_a_later_version_is_refused_by_its_number(tmp_path):
    write_json(tmp_path / "config.json", {**config().to_json(), "version": 3})
    with pytest.raises(OptionError, match="version: Input should be 2, got 3"):
        RunConfig.read(tmp_path / "config.json")


def test_threads_are_no_part_of_a_configuration():
    with pytest.raises(ValidationError, match="threads"):
        config(threads=2)


def result(config):
    return result_without_errors(config, "diverged", "loss", 1.0)


def test_a_result_of_version_1_keeps_counting(tmp_path):
    write_json(tmp_path / "config.json", version_1(threads=2))
    id_then = content_id({**config().without_defaults(), "threads": 2})
    write_json(tmp_path / "result.json", result(config()).replace(id=id_then).to_json())
    assert read_result(tmp_path) == result(config())


def test_a_result_of_another_run_is_not_counted(tmp_path):
    write_json(tmp_path / "config.json", config().to_json())
    other = result(config(seed=1))
    write_json(tmp_path / "result.json", other.to_json())
    assert read_result(tmp_path) is None
    assert foreign_result(tmp_path) == other
