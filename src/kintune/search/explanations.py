"""Outcome of each run of a search, in a sentence."""

from collections.abc import Sequence

from kintune.runs.setting_text import difference
from kintune.search.choice import difference_error
from kintune.search.trials import Trial


def explain_outcomes(
    trials: Sequence[Trial], validation_images: int | None
) -> tuple[str | None, ...]:
    """One sentence for each trial from those before it; None for one that has not ended."""
    found: list[str | None] = []
    for index, trial in enumerate(trials):
        before = [other for other in trials[:index] if other.is_complete]
        found.append(_explain(trial, before, validation_images) if trial.is_finished else None)
    return tuple(found)


def _explain(trial: Trial, before: Sequence[Trial], images: int | None) -> str:
    best = min(before, key=lambda other: other.error, default=None)
    apart = _apart(trial, best) if best else ""
    lost = next((result for result in trial.ended if result.status != "complete"), None)
    if lost is not None:
        return _loss(trial, lost.status, best, apart)
    if best is None:
        return f"A first error to compare with: {trial.error:.1%}."
    noise = difference_error(best.error, trial.mistakes, best.mistakes, images)
    is_elsewhere = trial.point.effective_lr != best.point.effective_lr
    at = f"at {_rate(best)}" if is_elsewhere or not apart else ""
    errors = f"{trial.error:.1%} against {best.error:.1%} {f'{at} {apart}'.strip()}"
    if trial.error < best.error - noise:
        return f"The lowest so far: {errors}."
    if trial.error > best.error + noise:
        rest = "" if apart else f" The best rate lies {_side(trial, best)} {_rate(trial)}."
        return f"Worse: {errors}.{rest}"
    if apart:
        return f"Not told apart from the best: {errors}."
    low, high = sorted([trial.point.effective_lr, best.point.effective_lr])
    alike = f"errors are alike from {low:.3g} to {high:.3g}"
    return f"Not told apart from the best ({errors}): {alike}."


def _apart(trial: Trial, best: Trial) -> str:
    """In what the best differs from a trial; empty where in the rate alone, so that the two say
    where the best rate lies."""
    here, there = (each.asked.config.hyperparameters for each in (trial, best))
    return difference(there, here)


def _loss(trial: Trial, status: str, best: Trial | None, apart: str) -> str:
    if status == "diverged":
        if best and apart:
            return f"Diverged, against {best.error:.1%} at {_rate(best)} {apart}."
        return f"Diverged: the best rate lies below {_rate(trial)}."
    if status == "failed" or best is None:
        return "Failed, which says nothing about the rate."
    if apart:
        return f"Stopped as lost against {best.error:.1%} {apart}."
    return f"Stopped as lost: the best rate lies {_side(trial, best)} {_rate(trial)}."


def _side(trial: Trial, best: Trial) -> str:
    return "below" if trial.point.effective_lr > best.point.effective_lr else "above"


def _rate(trial: Trial) -> str:
    return f"{trial.point.effective_lr:.3g}"
