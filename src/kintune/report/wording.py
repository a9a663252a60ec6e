"""Numbers as a person reads them: errors in percent, rates with three digits, times in words."""

import math

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NO_VALUE = "–"


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction in percent, with a narrow no-break space.

    >>> percent(0.1234).split()
    ['12.3', '%']
    """
    return NO_VALUE if fraction is None else f"{100 * fraction:.{digits}f}\u202f%"


def number(value: float | None) -> str:
    """Three significant digits, powers of ten below a ten-thousandth.

    >>> number(0.01), number(1e-05), number(0.30000000000000004)
    ('0.01', '1 × 10⁻⁵', '0.3')
    """
    if value is None:
        return NO_VALUE
    mantissa, _, exponent = f"{value:.3g}".partition("e")
    if not exponent:
        return mantissa
    return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def duration(seconds: float | None) -> str:
    """A time to two units, which stay on one line.

    >>> duration(192).split("\N{NO-BREAK SPACE}")
    ['3', 'min', '12', 's']
    """
    if seconds is None:
        return NO_VALUE
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    words = f"{minutes} min {rest} s" if minutes else f"{rest} s"
    if seconds < 9.95:
        words = f"{seconds:.1f} s"
    if hours:
        words = f"{hours} h {minutes_left} min"
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun.

    >>> counted(1, "run"), counted(2, "class", "classes")
    ('1 run', '2 classes')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def wilson_interval(error: float, images: int, z: float = 1.96) -> tuple[float, float]:
    """Interval of a true error given the error on `images` images (Wilson, JASA 22, 1927).

    >>> low, high = wilson_interval(0.1, 100)
    >>> round(low, 3), round(high, 3)
    (0.055, 0.174)
    """
    spread = z * z / images
    center = (error + spread / 2) / (1 + spread)
    half = z * math.sqrt(error * (1 - error) / images + spread / images / 4) / (1 + spread)
    return center - half, center + half
