"""A recommendation in plain words."""

from collections.abc import Mapping

from kintune.hyperparameters import RateRange, lr_for
from kintune.similarity import Similarity

NEAREST = 2
"""Reference sets that are named."""


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
    beside = " and ".join(f"{name} ({known[name]:.2f})" for name in nearest)
    low, high = similarity.interval
    one, other = rates.beside
    return (
        f"Your images are {_how_far(nearer / len(known))} {similarity.source}: at a relative "
        f"distance of {here:.2f} ({low:.2f} to {high:.2f}; 0 is the source itself, 1 is "
        f"unrelated), farther than {nearer} of the {len(known)} reference sets; nearest to them "
        f"are {beside}. So start at an effective learning rate of {rates.best:.2g}, that is lr "
        f"{lr_for(rates.best, momentum):.2g} with momentum {momentum:g}. Expect the best between "
        f"{rates.low:.2g} and {rates.high:.2g}; confidence: {confidence}. Two more runs would show "
        f"on which side it lies: {one:.2g} and {other:.2g}.{_probed(probe)}"
    )


def _probed(error: float | None) -> str:
    if error is None:
        return ""
    return (
        " For comparison: a linear classifier on the frozen features errs on about "
        f"{error:.0%} of your images."
    )


def _how_far(rank: float) -> str:
    if rank < 1 / 3:
        return "near to"
    return "at a middling distance from" if rank < 2 / 3 else "far from"
