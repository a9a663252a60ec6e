"""A recommendation in plain words."""

from collections.abc import Sequence
from typing import NamedTuple

from kintune.recommend.model import Mode
from kintune.recommend.references import rank_of
from kintune.runs.defaults import augmentations_for
from kintune.runs.hyperparameters import (
    AugmentationName,
    Hyperparameters,
    RateRange,
    bn_momentum_for,
    lr_for,
)
from kintune.similarity import Similarity

NEAR_RANK, FAR_RANK = 1 / 3, 2 / 3
"""Ranks of the distance below which a target is called near, and above which far."""
LITTLE_DECAY = 0.02
"""Share of a weight: what takes less away changes little."""


class Expected(NamedTuple):
    """Expected error of a recipe and its interval, fractions."""

    mode: Mode
    error: float
    interval: tuple[float, float]
    """80 %."""


def explanation(
    similarity: Similarity | None,
    recipes: Sequence[Expected],
    rates: RateRange,
    *,
    momentum: float,
    confidence: str,
    has_batch_norm: bool = True,
) -> str:
    """Where the target lies, what each recipe is expected to reach, and where to start.

    Args:
        similarity: of the target to the source; None where it is not known.
        recipes: the least expected error first.
        rates: effective learning rates of the first recipe that trains the network.
        momentum: m, for which the learning rate is told.
        confidence: `low`, `medium` or `high`.
        has_batch_norm: whether there are batch statistics to speak of.
    """
    first: Mode = next(each.mode for each in recipes if each.mode != "head")
    expected = ", ".join(
        f"{_result(each.mode, has_batch_norm)} about {_percent(each.error)} "
        f"({_percent(each.interval[0])} to {_percent(each.interval[1])})"
        for each in recipes
    )
    way = _way(first, has_batch_norm)
    advice = (
        "keep the frozen head; fine-tuning is not expected to beat it. Where it is tried, use a"
        if recipes[0].mode == "head"
        else f"fine-tune{way} at a"
    )
    how = f"{way} and" if way and recipes[0].mode == "head" else " with"
    rate = (
        f"Advice: {advice} learning rate of {lr_for(rates.best, momentum):.2g}{how} momentum "
        f"{momentum:g} (effective rate {rates.best:.2g}; the best one is expected between "
        f"{rates.low:.2g} and {rates.high:.2g}). Confidence: {confidence}."
    )
    return f"{_place(similarity)}Expected error, with 80 % intervals: {expected}.\n{rate}"


def _place(similarity: Similarity | None) -> str:
    if similarity is None:
        return ""
    low, high = similarity.interval
    return (
        f"Your images are {_how_far(rank_of(similarity))} {similarity.source}: relative distance "
        f"{similarity.relative_distance:.2f} ({low:.2f} to {high:.2f}; 0 is the source itself, 1 "
        "is unrelated).\n"
    )


def _how_far(rank: float) -> str:
    if rank < NEAR_RANK:
        return "near to"
    return "at a middle distance from" if rank < FAR_RANK else "far from"


def _result(mode: Mode, has_batch_norm: bool) -> str:
    return "frozen head" if mode == "head" else f"fine-tuned{_way(mode, has_batch_norm)}"


def _way(mode: Mode, has_batch_norm: bool) -> str:
    """Which batch statistics, with a space before; empty where there are none."""
    if not has_batch_norm:
        return ""
    which = "frozen batch statistics" if mode == "frozen" else "the statistics of each batch"
    return f" with {which}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def reasons(
    settings: Hyperparameters, *, rank: float, steps: int, steps_per_epoch: int
) -> dict[str, str]:
    """Why the settings beside the rate are what they are, and which are worth a run, by setting.

    Args:
        settings: what is recommended.
        rank: of the target, 0 nearest to 1 farthest.
        steps: of the whole training.
        steps_per_epoch: of one pass over the images.
    """
    found = {
        "momentum": "at an equal effective learning rate any value ends about alike (section 3.3), "
        "but large rates need some: without it their first steps can break the weights."
    }
    if settings.regularizer != "none":
        if settings.weight_decay:
            found["weight_decay"] = _decay_reason(settings, steps)
        found["regularizer"] = _regularizer_reason(settings, rank)
    reason = _augmentation_reason(settings.augmentation, steps)
    if reason:
        found["augmentation"] = reason
    if settings.head_start == "probe":
        found["head_start"] = (
            "the head starts as a linear classifier of the frozen features, so that the first "
            "steps do not distort them (Kumar et al. 2022)."
        )
    if settings.warmup_epochs:
        found["warmup_epochs"] = (
            "at the full rate from the first step the networks of the references broke at rates "
            "that are best with a warm-up."
        )
    if settings.clip_grad_norm is not None:
        found["clip_grad_norm"] = (
            "with frozen batch statistics nothing bounds the activations, and single long "
            "gradients of the first steps broke trainings at rates that are good otherwise."
        )
    if not settings.freeze_bn_stats:
        share = bn_momentum_for(steps_per_epoch)
        found["bn_momentum"] = (
            f"the network's own; for {steps_per_epoch} steps an epoch the rule of Kornblith et al. "
            f"keeps {share:.3g} of batch statistics in each step (--bn-momentum rule); the paper "
            "found no significant difference above 0.9 (appendix C)."
        )
    return found


def _augmentation_reason(name: AugmentationName, steps: int) -> str | None:
    """None where nothing was measured."""
    tried, crop = augmentations_for(steps), "random_resized_crop"
    if name not in (*tried, crop):
        return None
    if crop not in tried:
        return (
            f"in trainings of up to 1,000 steps the paper's {crop} left networks unfinished: flip "
            "was as good or better on every set measured."
        )
    [other] = (each for each in tried if each != name)
    return (
        f"whether {name} or {other} is better depends on the images, and matters more than the "
        "rate does within its range: worth a run."
    )


def _decay_reason(settings: Hyperparameters, steps: int) -> str:
    share = 1 - (1 - settings.decay_per_step) ** steps
    where = "towards its start" if settings.regularizer == "l2-sp" else "towards zero"
    taken = f"takes a weight at most {100 * share:.2g} % of the way {where} in this training"
    if share < LITTLE_DECAY:
        return f"{taken}: other small values end alike."
    return f"{taken}: worth a search, for it changes how a rate acts (section 3.3)."


def _regularizer_reason(settings: Hyperparameters, rank: float) -> str:
    if rank < NEAR_RANK:
        trial = "" if settings.regularizer == "l2-sp" else "; worth a run where training is long"
        return (
            "on three sets near to the source l2-sp was ahead of l2 in the paper by 0.5 to 2.9 "
            f"points (Table 5){trial}."
        )
    return "l2-sp was within about half a point of l2 on sets unlike the source (Table 5)."
