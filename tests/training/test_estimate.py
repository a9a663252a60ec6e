import pytest
import torch

from kintune.training import estimate, estimate_seconds, fine_tune


class Clock:
    """Each look at the time is a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now


def test_counts_every_image_of_every_epoch_and_validation(
    backbone, dataset, make_config, monkeypatch
):
    monkeypatch.setattr(estimate, "time", Clock())

    seconds = estimate_seconds(backbone, dataset, make_config(epochs=5))

    # One second for three batches of 8; 24 training images and 6 for validation, forward only.
    assert seconds == pytest.approx((5 * 24 + 5 * 6 / 3) / 24)


def test_leaves_no_trace_and_is_near(backbone, dataset, make_config, tmp_path):
    config = make_config(epochs=6, batch_size=4)

    seconds = estimate_seconds(backbone, dataset, config)

    assert seconds is not None
    assert 0 < seconds < 60
    assert fine_tune(backbone, dataset, config, tmp_path).status == "complete"


def fail(error: Exception):
    def step(*_arguments, **_keywords):
        raise error

    return step


def test_what_does_not_fit_into_memory_has_no_estimate(backbone, dataset, make_config, monkeypatch):
    with pytest.raises(RuntimeError) as too_large:
        torch.empty(10**17)
    for error in (too_large.value, torch.OutOfMemoryError("17 GB"), MemoryError()):
        monkeypatch.setattr(estimate, "training_step", fail(error))
        assert estimate_seconds(backbone, dataset, make_config()) is None


def test_another_failure_of_a_step_is_not_hidden(backbone, dataset, make_config, monkeypatch):
    monkeypatch.setattr(estimate, "training_step", fail(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        estimate_seconds(backbone, dataset, make_config())
