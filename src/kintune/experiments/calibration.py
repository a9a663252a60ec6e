"""Whether ranges hold as many of the best rates as they say, over all shares that they could."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kintune.experiments.recommenders import Outcome, binomial_interval, held
from kintune.report.charts import Chart, PanelChart, Series

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_WIDTH = 330


class Held(NamedTuple):
    """How ranges of one nominal share did."""

    nominal: float
    held: float
    """The share of the best rates that they hold."""
    low: float
    """95 % binomial interval, as if the cases were independent."""
    high: float


def calibration(outcomes: Sequence[Outcome], shares: Sequence[float] = SHARES) -> list[Held]:
    """The share of left-out best rates that ranges hold, for each share that they should hold."""
    found: list[Held] = []
    for share in shares:
        count, total = held(outcomes, share)
        found.append(Held(share, count / total, *binomial_interval(count, total)))
    return found


def calibration_chart(outcomes: Mapping[str, Sequence[Outcome]]) -> Chart:
    """A panel a name: held against nominal share in per cent, beside what they should be."""
    return Chart(
        title="Share of left-out best rates that a range holds, against the share it should hold",
        panels=tuple(_panel(name, each) for name, each in outcomes.items()),
        columns=2,
    )


def _panel(name: str, outcomes: Sequence[Outcome]) -> PanelChart:
    points = calibration(outcomes)
    return PanelChart(
        title=f"{name}, n = {len(outcomes)}",
        series=(
            Series(
                label="held, 95 % interval",
                points=tuple((100 * each.nominal, 100 * each.held) for each in points),
                bars=tuple((100 * each.low, 100 * each.high) for each in points),
            ),
            Series(label="as it should be", points=((0, 0), (100, 100)), is_dashed=True),
        ),
        x_label="nominal share, %",
        y_label="held share, %",
        top=100,
        width=_WIDTH,
    )
