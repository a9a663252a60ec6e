"""Where runs are executed."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from kintune.executors.local import LocalRunner, run_guarded
from kintune.executors.processes import ProcessRunner
from kintune.executors.source import TaskSource
from kintune.executors.stopping import LearningCurve, StopRule, StopRules, never
from kintune.runs import RunConfig, RunResult

__all__ = [
    "LearningCurve",
    "LocalRunner",
    "ProcessRunner",
    "Runner",
    "StopRule",
    "StopRules",
    "TaskSource",
    "never",
    "run_guarded",
]


class Runner(Protocol):
    """Executes runs of one backbone on one data set, each in its folder, named by its id.

    `kintune.testing.RunnerSuite` tests one.
    """

    def run(
        self, configs: Iterable[RunConfig | None], stop_rules: StopRules = never
    ) -> Iterator[RunResult]:
        """The results as they come in; a finished run is not run again.

        The next configuration is taken only when there is room for it, and after every result so
        far was handed on, so that it may depend on them. None means that there is none before
        another result: ask again then.

        A run that fails is a result with its reason. When the iterator is closed or broken off,
        nothing is left running.

        Raises:
            KintuneError: what the person must fix before any run can succeed.
        """
        ...
