import pytest
import torch

from kintune.training import estimate, fine_tune, seconds_per_image, work_in_images


class Clock:
    """Each look at the time is a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now


def test_counts_every_image_of_every_epoch_and_validation(dataset, make_config):
    # 24 training images and 6 for validation, forward only.
    assert work_in_images(dataset, make_config(epochs=5)) == 5 * 24 + 5 * 6 / 3


def test_a_step_is_timed_after_one_to_warm_up(backbone, dataset, make_config, monkeypatch):
    monkeypatch.setattr(estimate, "time", Clock())
    monkeypatch.setattr(estimate, "MAX_SECONDS", 0.5)

    assert seconds_per_image(backbone, dataset, make_config()) == 1 / 8


def test_several_steps_are_timed_while_they_are_short(backbone, dataset, make_config, monkeypatch):
    monkeypatch.setattr(estimate, "time", Clock())
    monkeypatch.setattr(estimate, "MAX_SECONDS", 10)

    assert seconds_per_image(backbone, dataset, make_config()) == 3 / 24


def test_a_large_batch_is_timed_in_a_smaller_one_on_a_cpu(
    backbone, dataset, make_config, monkeypatch
):
    sizes: list[int] = []
    timed_step = estimate.training_step

    def step(network, optimizer, batch, **keywords):
        sizes.append(len(batch.labels))
        return timed_step(network, optimizer, batch, **keywords)

    monkeypatch.setattr(estimate, "training_step", step)
    monkeypatch.setattr(estimate, "MAX_CPU_BATCH", 8)
    seconds_per_image(backbone, dataset, make_config(batch_size=24))

    assert set(sizes) == {8}


def test_leaves_no_trace_and_is_near(backbone, dataset, make_config, tmp_path):
    config = make_config(epochs=6, batch_size=4)

    seconds = seconds_per_image(backbone, dataset, config)

    assert seconds is not None
    assert 0 < seconds < 1
    assert fine_tune(backbone, dataset, config, tmp_path).status == "complete"


def fail(error: Exception):
    def step(*_arguments, **_keywords):
        raise error

    return step


def test_what_does_not_fit_into_memory_has_no_estimate(backbone, dataset, make_config, monkeypatch):
    with pytest.raises(RuntimeError) as too_large:
        torch.empty(10**17)
    for error in (too_large.value, torch.OutOfMemoryError("CUDA out of memory"), MemoryError()):
        monkeypatch.setattr(estimate, "training_step", fail(error))
        assert seconds_per_image(backbone, dataset, make_config()) is None


def test_another_failure_of_a_step_is_not_hidden(backbone, dataset, make_config, monkeypatch):
    monkeypatch.setattr(estimate, "training_step", fail(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        seconds_per_image(backbone, dataset, make_config())
