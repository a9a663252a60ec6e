"""Which run of a command is kept, and what a person should know about that choice."""

from collections.abc import Sequence
from dataclasses import dataclass

from kintune.hyperparameters import Hyperparameters
from kintune.results import SettingResult
from kintune.runs import RunResult
from kintune.search import SearchSpace, kept, standard_error


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
        same = {"lr": 1.0, "head_start": "random"}
        return self.setting.hyperparameters.model_copy(update=same)


def choose(settings: Sequence[SettingResult], space: SearchSpace | None = None) -> Choice:
    """The setting with the lowest mean validation error; of those that differ from it in the rate
    alone, the one that `kintune.search.kept` keeps.

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
    lowest = min(scored, key=lambda each: (each.error, each.rate))
    alike = [each for each in scored if each.but_rate == lowest.but_rate]
    images, expected = space and space.validation_images, _expected(lowest, space)
    best = alike[kept([each.rate for each in alike], [e.error for e in alike], expected, images)]
    notes: list[str] = []
    if expected and best.error > lowest.error:
        better = [each for each in alike if each.error < best.error]
        notes.append(_say_better(best, better, images))
    ties = [each for each in scored if each.error == best.error and each is not best]
    if ties:
        reason = ", the smallest" if expected is None else ""
        if expected and all(each in alike for each in ties):
            reason = ", the nearest to the recommendation"
        notes.append(
            f"Effective rates {_rates(ties)} gave the same validation error as {_rates([best])}, "
            f"which is kept{reason}."
        )
    return Choice(setting=best.setting, notes=tuple(notes))


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
        f"{_rates(others)} did better may be chance (the standard error of a difference is "
        f"{100 * noise:.1f} points on {images} validation images)."
    )


def _rates(scored: Sequence[_Scored]) -> str:
    return ", ".join(f"{each.rate:.4g} ({each.error:.1%})" for each in scored)
