"""What each run taught, in a sentence."""

from collections.abc import Sequence

from kintune.search.choice import standard_error
from kintune.search.space import Choices
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
    apart = _what_differs(trial, best) if best else ""
    lost = next((result for result in trial.ended if result.status != "complete"), None)
    if lost is not None:
        return _loss(trial, lost.status, best, apart)
    if best is None:
        return f"A first error to compare with: {trial.error:.1%}."
    noise = standard_error(best.error, images)
    where = apart or f"at {best.point.effective_lr:.3g}"
    difference = f"{trial.error:.1%} against {best.error:.1%} {where}"
    if trial.error < best.error - noise:
        return f"The lowest so far: {difference}."
    if trial.error > best.error + noise:
        rest = "" if apart else f" The best rate lies {_side(trial, best)} {_rate(trial)}."
        return f"Worse: {difference}.{rest}"
    if apart:
        return f"Not told apart from the best: {difference}."
    low, high = sorted([trial.point.effective_lr, best.point.effective_lr])
    return f"Not told apart from the best ({difference}): the floor spans {low:.3g} to {high:.3g}."


def _what_differs(trial: Trial, best: Trial) -> str:
    """The settings of the best that are others than those of a trial; empty where the rate alone
    is, so that the two say where the best rate lies."""
    if trial.point.variant == best.point.variant:
        return ""
    mine, theirs = (each.asked.config.hyperparameters for each in (trial, best))
    names = (n for n in Choices.model_fields if getattr(mine, n) != getattr(theirs, n))
    return "with " + ", ".join(f"{name} {getattr(theirs, name)}" for name in names)


def _loss(trial: Trial, status: str, best: Trial | None, apart: str) -> str:
    if status == "diverged":
        return f"Diverged: the best rate lies below {_rate(trial)}."
    if status == "failed" or best is None:
        return "Failed, and so taught nothing about the rate."
    if apart:
        return f"Stopped as lost against {best.error:.1%} {apart}."
    return f"Stopped as lost: the best rate lies {_side(trial, best)} {_rate(trial)}."


def _side(trial: Trial, best: Trial) -> str:
    return "below" if trial.point.effective_lr > best.point.effective_lr else "above"


def _rate(trial: Trial) -> str:
    return f"{trial.point.effective_lr:.3g}"
