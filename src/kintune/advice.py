"""A recommendation in plain words."""

from collections.abc import Mapping

from kintune.defaults import augmentations_for, head_start_for
from kintune.hyperparameters import (
    AugmentationName,
    Hyperparameters,
    RateRange,
    bn_momentum_for,
    lr_for,
)
from kintune.reference import rank_among
from kintune.similarity import Similarity

NEAREST = 2
"""Reference sets that are named."""
NEAR_RANK = 1 / 3
"""Below it a target is called near."""
LITTLE_DECAY = 0.02
"""Share of a weight: what takes less away changes little."""


def explanation(
    similarity: Similarity,
    known: Mapping[str, float],
    rates: RateRange,
    *,
    momentum: float,
    confidence: str,
    probe: float | None = None,
) -> str:
    """Where the target lies, where to start, what to expect, and what would settle it.

    Args:
        similarity: of the target to the source.
        known: `relative_distance` of each reference set from a source like this.
        rates: effective learning rates.
        momentum: m, for which the learning rate is said.
        confidence: in a word.
        probe: error of a linear classifier on the frozen features, a fraction.
    """
    here = similarity.relative_distance
    nearer = sum(distance < here for distance in known.values())
    nearest = sorted(known, key=lambda name: (abs(known[name] - here), name))[:NEAREST]
    # Without their distances: the evidence shows those that its own networks measured.
    beside = " and ".join(nearest)
    low, high = similarity.interval
    one, other = rates.beside
    return (
        f"Your images are {_how_far(rank_among(known, here))} {similarity.source}: at a relative "
        f"distance of {here:.2f} ({low:.2f} to {high:.2f}; 0 is the source itself, 1 is "
        f"unrelated), farther than {nearer} of the {len(known)} reference sets; closest in "
        f"distance are {beside}. So start at an effective learning rate of {rates.best:.2g}, that "
        f"is lr {lr_for(rates.best, momentum):.2g} with momentum {momentum:g}. Expect the best "
        f"between {rates.low:.2g} and {rates.high:.2g}; confidence: {confidence}. Two more rates "
        f"would show on which side it lies: {one:.2g} and {other:.2g}.{_probed(probe)}"
    )


def _probed(error: float | None) -> str:
    if error is None:
        return ""
    return (
        " For comparison: a linear classifier on the frozen features errs on about "
        f"{error:.0%} of your images."
    )


def _how_far(rank: float) -> str:
    if rank < NEAR_RANK:
        return "near to"
    return "at a middling distance from" if rank < 2 / 3 else "far from"


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
    found["head_start"] = _head_reason(settings)
    share = bn_momentum_for(steps_per_epoch)
    found["bn_momentum"] = (
        f"the network's own; for {steps_per_epoch} steps an epoch the rule of Kornblith et al. "
        f"keeps {share:.3g} of batch statistics in each step (--bn-momentum rule); the paper found "
        "no significant difference above 0.9 (appendix C)."
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
        "rate does within its range: worth a run, the second that kintune tune gives unless "
        "--augmentation is given."
    )


def _head_reason(settings: Hyperparameters) -> str:
    default = head_start_for(settings.effective_lr)
    if settings.head_start != default:
        return f"not the default: with pretrained weights {default} was better at such a rate."
    if default == "probe":
        return (
            "at so small a rate a random head is slow to say anything, and moves the features "
            "meanwhile (Kumar et al. 2022): it starts as a classifier of the frozen features "
            "(probe), measured 3 to 5 points better in short trainings at such rates."
        )
    return (
        "at such rates a random head is quickly learnt; a start from the features was measured "
        "1 to 2 points worse."
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
