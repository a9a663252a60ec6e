"""Tests that every runner must pass. Give the fixtures `runner` and `configs`."""

from collections.abc import Iterator
from pathlib import Path

from kintune.executors import Runner
from kintune.runs import RunConfig, RunResult, RunStore


class RunnerSuite:
    """Subclass it, with three fixtures.

    `runner` executes runs below `root`, a folder; `configs` are at least four configurations whose
    runs take seconds and train to their end.
    """

    def test_every_run_has_its_result_in_its_folder(
        self, runner: Runner, root: Path, configs: list[RunConfig]
    ) -> None:
        results = list(runner.run(configs))
        assert {result.id for result in results} == {config.id for config in configs}
        assert all(result.status == "complete" for result in results)
        assert all(RunStore(root).finished(config) in results for config in configs)

    def test_a_finished_run_is_not_run_again(
        self, runner: Runner, root: Path, configs: list[RunConfig]
    ) -> None:
        [first] = runner.run(configs[:1])
        written = (root / first.id / "result.json").stat().st_mtime_ns
        assert list(runner.run(configs[:1])) == [first]
        assert (root / first.id / "result.json").stat().st_mtime_ns == written

    def test_the_next_run_may_depend_on_the_results_so_far(
        self, runner: Runner, configs: list[RunConfig]
    ) -> None:
        results: list[RunResult] = []
        seen: list[int] = []

        def proposals() -> Iterator[RunConfig | None]:
            yield configs[0]
            while not results:
                yield None
            seen.append(len(results))
            yield from configs[1:3]

        for result in runner.run(proposals()):
            results.append(result)
        assert seen == [1]
        assert len(results) == 3

    def test_no_runs_are_no_results(self, runner: Runner) -> None:
        assert list(runner.run([])) == []
