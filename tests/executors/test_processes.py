"""Several worker processes; most tests use workers that start at once and train nothing."""

import os
import sys
import time
from pathlib import Path

import pytest

from kintune.base.errors import OptionError
from kintune.executors import ProcessRunner, TaskSource
from kintune.runs import RunConfig
from kintune.runs.hyperparameters import Hyperparameters
from kintune.runs.inputs import InputSpec
from kintune.testing import RunnerSuite

LIGHT = (sys.executable, "-S", str(Path(__file__).with_name("light_worker.py")))
SPEC = InputSpec(image_size=8, mean=(0, 0, 0), std=(1, 1, 1))


def config(lr: float, **behavior: object) -> RunConfig:
    return RunConfig(
        model="pocket",
        model_kwargs=behavior,
        weights_sha256="",
        input=SPEC,
        data_sha256="",
        hyperparameters=Hyperparameters.as_in_paper(lr=lr, batch_size=1, epochs=3),
    )


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def make_runner(root):
    def make(workers=2, devices=("cpu",)):
        source = TaskSource(model="pocket", data="nowhere")
        return ProcessRunner(
            source=source, root=root, workers=workers, devices=devices, command=LIGHT
        )

    return make


@pytest.fixture
def runner(make_runner):
    return make_runner()


class TestSuite(RunnerSuite):
    @pytest.fixture
    def configs(self):
        return [config(lr) for lr in (0.1, 0.2, 0.3, 0.4)]


def children() -> set[int]:
    """Processes that this one has started and that are still there."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return {int(pid) for pid in path.read_text().split()}


def test_runs_overlap(make_runner):
    configs = [config(lr, seconds=0.3) for lr in (0.1, 0.2, 0.3)]
    began = time.monotonic()
    assert len(list(make_runner(workers=3).run(configs))) == 3
    assert time.monotonic() - began < 0.9 * 3 * 3 * 0.3


def test_no_more_are_taken_than_there_are_workers(make_runner):
    taken = []

    def proposals():
        for lr in (0.1, 0.2, 0.3):
            taken.append(lr)
            yield config(lr)

    results = make_runner(workers=2).run(proposals())
    next(results)
    assert taken == [0.1, 0.2]
    results.close()


def test_nothing_is_left_running(make_runner):
    before = children()
    results = make_runner().run([config(0.1), config(0.2, seconds=30), config(0.3)])
    next(results)
    assert len(children() - before) == 2
    results.close()
    assert children() == before


def test_a_run_whose_process_dies_goes_on_in_another(runner, capsys):
    [result] = runner.run([config(0.1, dies=2)])
    assert result.status == "complete"
    assert capsys.readouterr().err.count("SIGKILL") == 2


def test_a_run_whose_process_dies_every_time_has_failed(runner):
    results = {r.hyperparameters.lr: r for r in runner.run([config(0.1, dies=9), config(0.2)])}
    assert results[0.1].status == "failed"
    assert "3 times" in results[0.1].reason
    assert results[0.2].status == "complete"


def test_what_a_person_must_mend_ends_the_list(runner):
    before = children()
    with pytest.raises(OptionError, match="fix this"):
        list(runner.run([config(0.1, complains=True), config(0.2, seconds=30)]))
    assert children() == before


def test_gpus_are_dealt_out_and_their_memory_divided(make_runner, root):
    configs = [config(lr, seconds=0.2) for lr in (0.1, 0.2, 0.3)]
    list(make_runner(workers=3, devices=("cuda:0", "cuda:1")).run(configs))
    told = sorted((root / each.id / "device").read_text() for each in configs)
    assert told == ["cuda:0 0.5", "cuda:0 0.5", "cuda:1 0.5"]
