"""What each run taught, in a sentence."""

from collections.abc import Sequence

from kintune.search.choice import standard_error
from kintune.search.trials import Trial


def lessons(trials: Sequence[Trial], validation_images: int | None) -> tuple[str | None, ...]:
    """One sentence for each trial from those before it; None for one that has not ended."""
    found: list[str | None] = []
    for index, trial in enumerate(trials):
        before = [other for other in trials[:index] if other.is_complete]
        found.append(_lesson(trial, before, validation_images) if trial.is_finished else None)
    return tuple(found)


def _lesson(trial: Trial, before: Sequence[Trial], images: int | None) -> str:
    best = min(before, key=lambda other: other.error, default=None)
    lost = next((result for result in trial.ended if result.status != "complete"), None)
    if lost is not None:
        return _loss(trial, lost.status, best)
    if best is None:
        return f"A first error to compare with: {trial.error:.1%}."
    noise = standard_error(best.error, images)
    difference = f"{trial.error:.1%} against {best.error:.1%} at {best.point.effective_lr:.3g}"
    if trial.error < best.error - noise:
        return f"The lowest so far: {difference}."
    if trial.error <= best.error + noise:
        low, high = sorted([trial.point.effective_lr, best.point.effective_lr])
        return (
            f"Not told apart from the best ({difference}): the floor spans {low:.3g} to {high:.3g}."
        )
    return f"Worse: {difference}. The best rate lies {_side(trial, best)} {_rate(trial)}."


def _loss(trial: Trial, status: str, best: Trial | None) -> str:
    if status == "diverged":
        return f"Diverged: the best rate lies below {_rate(trial)}."
    if status == "failed" or best is None:
        return "Failed, and so taught nothing about the rate."
    return f"Stopped as lost: the best rate lies {_side(trial, best)} {_rate(trial)}."


def _side(trial: Trial, best: Trial) -> str:
    return "below" if trial.point.effective_lr > best.point.effective_lr else "above"


def _rate(trial: Trial) -> str:
    return f"{trial.point.effective_lr:.3g}"
