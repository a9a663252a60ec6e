"""The search loop: ask the engine, run, tell, until the number of runs is reached."""

from collections.abc import Callable, Sequence

from kintune.hyperparameters import Hyperparameters
from kintune.progress import announce
from kintune.runs import RunResult
from kintune.search.engines import Observation, SearchEngine
from kintune.search.space import SearchSpace

Train = Callable[[Hyperparameters], RunResult]


def search(space: SearchSpace, engine: SearchEngine, train: Train, runs: int) -> list[RunResult]:
    """Exactly `runs` configurations that differ, in the order in which they were tried.

    A proposal depends on the finished runs alone, so a search that was interrupted repeats its own
    steps, and `train` returns the finished runs at once.

    Args:
        space: where to search.
        engine: what proposes the next rate.
        train: one run; a finished one is returned, not repeated.
        runs: how many.
    """
    results: list[RunResult] = []
    for number in range(1, runs + 1):
        rate = engine.propose(space.effective_lr, [observation(result) for result in results])
        announce(f"run {number} of {runs}: effective learning rate {rate:.4g}")
        results.append(train(space.at(rate)))
        announce(f"  {describe(results[-1])}")
    return results


def observation(result: RunResult) -> Observation:
    """What a run teaches the engine: a run without an error counts as wrong on every image."""
    error = result.validation_top1_error
    if error is None:
        return Observation(result.effective_lr, 1.0, too_fast=True)
    start = result.first_epoch_loss_ratio
    return Observation(result.effective_lr, error, too_fast=start is not None and start > 1)


def best_run(results: Sequence[RunResult]) -> RunResult | None:
    """Lowest validation error, ties to the smaller effective rate; None where no run completed."""
    complete = [run for run in results if run.validation_top1_error is not None]
    return min(
        complete, key=lambda run: (run.validation_top1_error, run.effective_lr), default=None
    )


def describe(result: RunResult) -> str:
    """One line on how a run ended."""
    if result.validation_top1_error is None:
        return f"{result.status}: {result.reason}"
    return (
        f"validation error {result.validation_top1_error:.2%} in {result.seconds:.0f} s "
        f"(lr {result.hyperparameters.lr:.4g})"
    )
