"""Which run of a command is kept, and what a person should know about that choice."""

from collections.abc import Sequence
from dataclasses import dataclass

from kintune.hyperparameters import Hyperparameters
from kintune.results import SettingResult
from kintune.runs import RunResult
from kintune.search import SearchSpace, decades_between, kept, standard_error, what_differs


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The setting that is kept."""

    setting: SettingResult | None
    """None where none trained to its end."""
    notes: tuple[str, ...] = ()
    """Why, where others did as well."""


@dataclass(frozen=True, kw_only=True)
class _Scored:
    setting: SettingResult
    error: float
    """Mean over the seeds."""

    @property
    def rate(self) -> float:
        return self.setting.effective_lr

    @property
    def but_rate(self) -> Hyperparameters:
        """All but the rate, and the start of the head, which no search varies but which sets the
        usual default apart."""
        return self.setting.hyperparameters.but_rate.replace(head_start="random")


def choose(settings: Sequence[SettingResult], space: SearchSpace | None = None) -> Choice:
    """The setting with the lowest mean validation error, of those that each `kintune.search.kept`
    keeps among the ones that differ from it in the rate alone.

    Args:
        settings: those that did not train to their end are passed over.
        space: what was searched; None where nothing was.
    """
    scored = [
        _Scored(setting=each, error=error)
        for each in settings
        if (error := each.mean_validation_top1_error) is not None
    ]
    if not scored:
        return Choice(setting=None)
    images = space and space.validation_images
    curves: dict[Hyperparameters, list[_Scored]] = {}
    for each in scored:
        curves.setdefault(each.but_rate, []).append(each)
    best = min(
        (_kept(curve, space) for curve in curves.values()),
        key=lambda each: (
            each.error,
            decades_between(each.rate, _expected(each, space)),
            each.rate,
        ),
    )
    expected = _expected(best, space)
    notes: list[str] = []
    better = [each for each in scored if each.error < best.error]
    if better:
        notes.append(_say_better(best, better, images))
    ties = [each for each in scored if each.error == best.error and each is not best]
    if ties:
        alike = all(each.but_rate == best.but_rate for each in ties)
        reason = ", the smallest" if expected is None and alike else ""
        if expected and alike:
            reason = ", the nearest to the recommendation"
        notes.append(
            f"Effective rate{'s' if len(ties) > 1 else ''} {_rates(ties, best)} gave the same "
            f"validation error as {_rates([best], ties[0])}, which is kept{reason}."
        )
    return Choice(setting=best.setting, notes=tuple(notes))


def _kept(curve: Sequence[_Scored], space: SearchSpace | None) -> _Scored:
    """Of settings that differ in the rate alone."""
    rates, errors = [each.rate for each in curve], [each.error for each in curve]
    images = space and space.validation_images
    return curve[kept(rates, errors, _expected(curve[0], space), images)]


def lowest_seed(setting: SettingResult) -> RunResult:
    """The run of a setting whose model is kept: lowest validation error, the first of equals."""
    first = RunResult(**setting.model_dump(include=set(RunResult.model_fields)))
    return min((first, *setting.repeats), key=lambda run: run.validation_top1_error or 0.0)


def _expected(scored: _Scored, space: SearchSpace | None) -> float | None:
    """The recommended effective rate, in proportion to the batch size."""
    if space is None or space.prior is None:
        return None
    return space.prior.best * scored.setting.hyperparameters.batch_size / space.base.batch_size


def _say_better(best: _Scored, others: Sequence[_Scored], images: int | None) -> str:
    noise = standard_error(min(each.error for each in others), images)
    return (
        f"Effective rate {_rates([best])} is kept, the nearest to the recommendation: that "
        f"{_rates(others, best)} did better may be chance (the standard error of a difference is "
        f"{100 * noise:.1f} points on {images} validation images)."
    )


def _rates(scored: Sequence[_Scored], beside: _Scored | None = None) -> str:
    """Each with its error, and with what sets it apart from another setting but for the rate."""
    return ", ".join(f"{each.rate:.4g} ({each.error:.1%}{_apart(each, beside)})" for each in scored)


def _apart(scored: _Scored, beside: _Scored | None) -> str:
    if beside is None:
        return ""
    words = what_differs(scored.setting.hyperparameters, beside.setting.hyperparameters)
    return f" {words}" if words else ""
