"""Which run of a command is selected, and what a person should know about that choice."""

from collections.abc import Sequence
from dataclasses import dataclass

from kintune.options.results import SettingResult, Verdict
from kintune.runs import RunResult
from kintune.runs.hyperparameters import Hyperparameters
from kintune.runs.setting_text import difference
from kintune.search import (
    Mistakes,
    SearchSpace,
    decades_between,
    difference_error,
    paired_standard_error,
    select_rate,
)
from kintune.training import Evaluation

NORMAL_95 = 1.96
"""Standard errors from the middle to the edge of a 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The selected setting."""

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
    def mistakes(self) -> tuple[Mistakes, ...]:
        """Mistakes of each seed; empty where one has none on record."""
        return mistakes_of(self.setting)

    @property
    def but_rate(self) -> Hyperparameters:
        """All but the rate, and the start of the head, which no search varies but which sets the
        usual default apart."""
        return self.setting.hyperparameters.but_rate.replace(head_start="probe")


def choose(
    settings: Sequence[SettingResult],
    space: SearchSpace | None = None,
    frozen_head: SettingResult | None = None,
) -> Choice:
    """The setting with the lowest mean validation error, of those that `kintune.search.select_rate`
    selects among settings that differ in the rate alone; never one that is worse on the
    validation images than the head on the frozen features.

    Args:
        settings: those that did not train to their end are passed over.
        space: what was searched; None where nothing was.
        frozen_head: the head on the frozen features; None where there is none.
    """
    limit = None if frozen_head is None else frozen_head.mean_validation_top1_error
    finished = [
        _Scored(setting=each, error=error)
        for each in settings
        if (error := each.mean_validation_top1_error) is not None
    ]
    scored = [each for each in finished if limit is None or each.error <= limit]
    if not scored:
        return Choice(setting=frozen_head, notes=_worse_than_head(finished, limit))
    images = space and space.validation_images
    curves: dict[Hyperparameters, list[_Scored]] = {}
    for each in scored:
        curves.setdefault(each.but_rate, []).append(each)
    best = min(
        (_selected(curve, space) for curve in curves.values()),
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
            f"validation error as {_rates([best], ties[0])}, which is selected{reason}."
        )
    return Choice(setting=best.setting, notes=tuple(notes))


def _worse_than_head(finished: Sequence[_Scored], limit: float | None) -> tuple[str, ...]:
    if limit is None or not finished:
        return ()
    lowest = min(each.error for each in finished)
    note = (
        f"No fine-tuned network was as good on the validation images (lowest error {lowest:.1%}) "
        f"as the head on the frozen features ({limit:.1%}), which is selected."
    )
    return (note,)


def compared(selected: Evaluation, frozen: Evaluation, split: str, *, is_head: bool) -> Verdict:
    """The selected model beside the head on the frozen features, evaluated on the same images.

    Args:
        selected: of the selected model.
        frozen: of the frozen head.
        split: which images these are.
        is_head: whether the selected model is the frozen head.
    """
    images = len(selected.indices)
    gain = frozen.top1_error - selected.top1_error
    noise = paired_standard_error([selected.mistakes], [frozen.mistakes], images)
    low, high = gain - NORMAL_95 * noise, gain + NORMAL_95 * noise
    where = f"the {images} {'test' if split == 'test' else 'validation'} images"
    errors = f"{selected.top1_error:.1%} of {where}, the head on the frozen features {{}}"
    if is_head:
        sentence = (
            f"Fine-tuning did not help: the head on the frozen features is selected; it errs on "
            f"{selected.top1_error:.1%} of {where}."
        )
    else:
        helped = "Fine-tuning helped" if low > 0 else "Fine-tuning made no clear difference"
        if high < 0:
            helped = "Fine-tuning did worse than the frozen features"
        sentence = (
            f"{helped}: the selected model errs on {errors.format(f'{frozen.top1_error:.1%}')}; "
            f"{abs(100 * gain):.1f} points {'less' if gain >= 0 else 'more'} (95 % interval of the "
            f"gain {100 * low:.1f} to {100 * high:.1f})."
        )
    return Verdict(
        split=split,
        images=images,
        top1_error=selected.top1_error,
        frozen_head_top1_error=frozen.top1_error,
        gain=gain,
        interval=(low, high),
        sentence=sentence,
    )


def mistakes_of(setting: SettingResult) -> tuple[Mistakes, ...]:
    """Positions of the wrong validation images for each seed; empty where one has none on
    record."""
    found = [setting.validation_mistakes, *(run.validation_mistakes for run in setting.repeats)]
    return tuple(each for each in found if each is not None) if None not in found else ()


def _selected(curve: Sequence[_Scored], space: SearchSpace | None) -> _Scored:
    """Select among settings that differ in the rate alone."""
    lowest = min(curve, key=lambda each: (each.error, each.rate))
    images = space and space.validation_images
    noise = [
        difference_error(lowest.error, each.mistakes, lowest.mistakes, images) for each in curve
    ]
    rates, errors = [each.rate for each in curve], [each.error for each in curve]
    return curve[select_rate(rates, errors, _expected(curve[0], space), noise)]


def lowest_seed(setting: SettingResult) -> RunResult:
    """The selected run of a setting: lowest validation error, the first of equals."""
    first = RunResult(**setting.model_dump(include=set(RunResult.model_fields)))
    return min((first, *setting.repeats), key=lambda run: run.validation_top1_error or 0.0)


def _expected(scored: _Scored, space: SearchSpace | None) -> float | None:
    """The recommended effective rate, in proportion to the batch size; None for recipes whose rate
    was not recommended."""
    if space is None or space.prior is None:
        return None
    settings = scored.setting.hyperparameters
    if settings.freeze_bn_stats != space.base.freeze_bn_stats:
        return None
    return space.prior.best * settings.batch_size / space.base.batch_size


def _say_better(best: _Scored, others: Sequence[_Scored], images: int | None) -> str:
    lowest = min(others, key=lambda each: each.error)
    noise = difference_error(lowest.error, best.mistakes, lowest.mistakes, images)
    return (
        f"Effective rate {_rates([best])} is selected, the nearest to the recommendation: that "
        f"{_rates(others, best)} did better may be chance (the standard error of the difference is "
        f"{100 * noise:.1f} points on the same {images} validation images)."
    )


def _rates(scored: Sequence[_Scored], beside: _Scored | None = None) -> str:
    """Each with its error, and with what sets it apart from another setting but for the rate."""
    return ", ".join(f"{each.rate:.4g} ({each.error:.1%}{_apart(each, beside)})" for each in scored)


def _apart(scored: _Scored, beside: _Scored | None) -> str:
    if beside is None:
        return ""
    words = difference(scored.setting.hyperparameters, beside.setting.hyperparameters)
    return f" {words}" if words else ""
