"""Which of the runs that were tried is selected, and how sure a difference between two of them is.

All runs are validated on the same images, so two of them are compared image by image: where both
are right or both wrong nothing is learned about which is better (McNemar 1947). The lowest of
several noisy errors is often lowest by chance. A recommendation is better to go by than chance, so
it decides among the errors that the validation images cannot tell apart: the rule of one standard
error (Breiman, Friedman, Olshen and Stone 1984, section 3.4.3), with the nearest to the
recommendation where theirs has the smallest tree.
"""

import math
from collections.abc import Sequence

import numpy as np

Mistakes = tuple[int, ...]
"""Positions in the validation split of the images that a run classifies wrongly."""


def standard_error(error: float, images: int | None) -> float:
    """Standard error of the difference between two errors near `error`, each measured on so many
    images of its own: an upper bound where nothing is known image by image.

    Of n images e errors count as e + 1 of n + 2 (Laplace's rule of succession), so that none is
    not certain.

    Returns:
        A fraction; 0 where the number of images is not known.
    """
    if images is None:
        return 0.0
    share = (error * images + 1) / (images + 2)
    return math.sqrt(2 * share * (1 - share) / images)


def paired_standard_error(one: Sequence[Mistakes], other: Sequence[Mistakes], images: int) -> float:
    """Standard error of the difference between the errors of two settings on the same images.

    With b images that only one gets wrong and c that only the other does it is
    sqrt(b + c - (b - c)^2 / n) / n. One more disagreement each way is counted, so that equal
    predictions are not certain. Over several seeds an image counts by the share of seeds that get
    it wrong.

    Args:
        one: mistakes of each seed of the first setting, at least one seed.
        other: the same of the second.
        images: n, of the validation split.

    Returns:
        A fraction.

    >>> round(paired_standard_error([(0, 1)], [(1, 2, 3)], 100), 4)
    0.0223
    """
    differences = _shares(one, images) - _shares(other, images)
    squares = float(np.square(differences).sum()) + 2
    return math.sqrt(max(0.0, squares - float(differences.sum()) ** 2 / images)) / images


def difference_error(
    lowest: float, one: Sequence[Mistakes], other: Sequence[Mistakes], images: int | None
) -> float:
    """Standard error of the difference between two settings: paired where the mistakes of both are
    on record, else the upper bound.

    Args:
        lowest: the lower of the two errors, a fraction.
        one: mistakes of each seed of the one; empty where they are not on record.
        other: the same of the other.
        images: size of the validation split; None gives 0.
    """
    if images is None or not one or not other:
        return standard_error(lowest, images)
    return paired_standard_error(one, other, images)


def _shares(seeds: Sequence[Mistakes], images: int) -> np.ndarray:
    wrong = np.zeros(images)
    for mistakes in seeds:
        wrong[list(mistakes)] += 1 / len(seeds)
    return wrong


def select_rate(
    rates: Sequence[float],
    errors: Sequence[float],
    expected: float | None,
    noise: Sequence[float],
) -> int:
    """Return the index of the selected rate; of equal ones the smallest.

    Args:
        rates: effective learning rates, at least one.
        errors: the validation error of each, a fraction.
        expected: the effective rate that was recommended: of those that are at most a standard
            error worse than the lowest, the nearest to it in log rate is selected. None selects the
            lowest.
        noise: standard error of the difference of each error to the lowest.
    """
    least = min(errors)
    alike = [
        index
        for index, error in enumerate(errors)
        if error <= least + (0.0 if expected is None else noise[index])
    ]
    return min(alike, key=lambda index: (decades_between(rates[index], expected), rates[index]))


def decades_between(rate: float, expected: float | None) -> float:
    """Distance of a rate and the recommended one, |log10|; 0 where none was."""
    return abs(math.log10(rate / expected)) if expected else 0.0
