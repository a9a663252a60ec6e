"""Which of the rates that were tried is kept.

The lowest of several noisy errors is often lowest by chance. A recommendation is better to go by
than chance, so it decides among the errors that the validation images cannot tell apart: the rule
of one standard error (Breiman, Friedman, Olshen and Stone 1984, section 3.4.3), with the nearest to
the recommendation where theirs has the smallest tree.
"""

import math
from collections.abc import Sequence


def standard_error(error: float, images: int | None) -> float:
    """Of the difference between two errors near `error`, each measured on so many images.

    They count as independent, which is careful: runs share their validation images. Of n images e
    errors count as e + 1 of n + 2 (Laplace's rule of succession), so that none is not certain.

    Returns:
        A fraction; 0 where the number of images is not known.
    """
    if images is None:
        return 0.0
    share = (error * images + 1) / (images + 2)
    return math.sqrt(2 * share * (1 - share) / images)


def kept(
    rates: Sequence[float], errors: Sequence[float], expected: float | None, images: int | None
) -> int:
    """The index of the rate that is kept; of equal ones the smallest.

    Args:
        rates: effective learning rates, at least one.
        errors: the validation error of each, a fraction.
        expected: the effective rate that was recommended: the nearest to it, in log rate, is kept
            of those that are at most a standard error worse than the lowest. None keeps the lowest.
        images: how many each error was measured on.
    """
    least = min(errors)
    most = least if expected is None else least + standard_error(least, images)
    alike = [index for index, error in enumerate(errors) if error <= most]
    return min(alike, key=lambda index: (decades_between(rates[index], expected), rates[index]))


def decades_between(rate: float, expected: float | None) -> float:
    """Of a rate and the recommended one, |log10|; 0 where none was."""
    return abs(math.log10(rate / expected)) if expected else 0.0
