"""Where a list of runs is executed."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from kintune.runners.local import LocalRunner, run_guarded
from kintune.runs import RunConfig, RunResult

__all__ = ["LocalRunner", "Runner", "run_guarded"]


class Runner(Protocol):
    """Executes runs of one backbone on one data set."""

    def run(self, configs: Iterable[RunConfig]) -> Iterator[RunResult]:
        """The results as they come in. A run that fails is a result with its reason."""
        ...
