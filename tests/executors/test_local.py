"""The runner's own promises; training itself is replaced."""

from typing import Any, cast

import pytest

from kintune.base.errors import OptionError
from kintune.executors import LocalRunner, Runner, StopRule, local, run_guarded
from kintune.runs import RunConfig, RunResult, RunStore, result_without_errors
from kintune.runs.hyperparameters import Hyperparameters
from kintune.runs.inputs import InputSpec

SPEC = InputSpec(image_size=8, mean=(0, 0, 0), std=(1, 1, 1))


def config(lr: float) -> RunConfig:
    return RunConfig(
        model="pocket",
        weights_sha256="",
        input=SPEC,
        data_sha256="",
        hyperparameters=Hyperparameters.as_in_paper(lr=lr, batch_size=1, epochs=1),
    )


@pytest.fixture
def runner(tmp_path) -> Runner:
    return LocalRunner(cast(Any, None), cast(Any, None), tmp_path)


def fake(monkeypatch, outcomes: dict[float, BaseException | None]) -> list[float]:
    """Training that raises what is asked for, or diverges; the rates in the order of its calls."""
    called: list[float] = []

    def fine_tune(_backbone, _dataset, config, folder, *, device, watch):
        assert (folder.name, device) == (config.id, "cpu")
        lr = config.hyperparameters.lr
        called.append(lr)
        outcome = outcomes[lr]
        if outcome is not None:
            raise outcome
        return result_without_errors(config, "diverged", "as asked", 0.0)

    monkeypatch.setattr(local, "fine_tune", fine_tune)
    return called


def test_runs_in_order_and_one_at_a_time(runner, monkeypatch):
    called = fake(monkeypatch, {0.3: None, 0.1: None})

    results = runner.run([config(0.3), config(0.1)])

    assert next(results).hyperparameters.lr == 0.3
    assert called == [0.3]
    assert next(results).hyperparameters.lr == 0.1


def test_an_unexpected_failure_is_a_result_and_the_rest_goes_on(runner, monkeypatch, tmp_path):
    fake(monkeypatch, {0.3: MemoryError("17 GB"), 0.1: None})

    failed, other = runner.run([config(0.3), config(0.1)])

    assert (failed.status, failed.reason) == ("failed", "MemoryError: 17 GB")
    assert failed.validation_top1_error is None
    assert other.status == "diverged"
    assert RunStore(tmp_path).finished(config(0.3)) == failed


def test_the_traceback_of_a_failure_is_kept_until_the_run_succeeds(monkeypatch, tmp_path):
    folder = tmp_path / config(0.3).id
    fake(monkeypatch, {0.3: MemoryError("17 GB")})
    failed = run_guarded(cast(Any, None), cast(Any, None), config(0.3), folder)
    assert RunResult.read(folder / "result.json") == failed
    trace = (folder / "traceback.txt").read_text()
    assert trace.startswith("Traceback")
    assert "in fine_tune" in trace
    assert trace.endswith("MemoryError: 17 GB\n")

    fake(monkeypatch, {0.3: None})
    run_guarded(cast(Any, None), cast(Any, None), config(0.3), folder)
    assert not (folder / "traceback.txt").exists()


@pytest.mark.parametrize("stop", [OptionError("fix this"), KeyboardInterrupt()])
def test_what_a_person_must_mend_or_stops_ends_the_list(runner, monkeypatch, stop):
    called = fake(monkeypatch, {0.3: stop, 0.1: None})

    with pytest.raises(type(stop)):
        list(runner.run([config(0.3), config(0.1)]))

    assert called == [0.3]


def test_a_run_is_watched_by_the_rule_that_holds_when_it_begins(runner, monkeypatch):
    watched = []

    def fine_tune(_backbone, _dataset, config, folder, *, device, watch):
        watched.append(watch)
        return result_without_errors(config, "diverged", "as asked", 0.0)

    monkeypatch.setattr(local, "fine_tune", fine_tune)
    rules = {0.3: None, 0.1: StopRule(epochs=2, validation_images=9)}
    list(runner.run([config(0.3), None, config(0.1)], lambda c: rules[c.hyperparameters.lr]))
    assert watched == [rules[0.3], rules[0.1]]
