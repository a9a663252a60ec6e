from statistics import NormalDist
from xml.etree import ElementTree

import pytest

from kintune.experiments.calibration import SHARES, calibration, calibration_chart
from kintune.experiments.rate_models import Guess
from kintune.experiments.recommenders import Case, Outcome, binomial_interval
from kintune.report.charts import drawn
from kintune.report.drawing import as_svg

POLYLINES = "{http://www.w3.org/2000/svg}polyline"


def outcomes(claimed, count=200):
    """Best rates at the quantiles of a normal distribution of deviation 0.5, guessed at its middle
    with another deviation."""
    log_rates = [NormalDist(-1, 0.5).inv_cdf((index + 0.5) / count) for index in range(count)]
    return [
        Outcome(
            Case(target=str(log_rate), network="n", inputs={}, log_rate=log_rate, noise=0),
            Guess(-1, claimed),
            None,
        )
        for log_rate in log_rates
    ]


def test_ranges_that_are_right_hold_what_they_say():
    found = calibration(outcomes(0.5))
    assert [each.held for each in found] == pytest.approx(SHARES)


def test_ranges_of_half_the_width_hold_what_the_normal_distribution_says():
    """A range of 80 % reaches 1.28 claimed deviations, 0.64 true ones."""
    reach = NormalDist().inv_cdf(0.9) / 2
    expected = 2 * NormalDist().cdf(reach) - 1
    (found,) = calibration(outcomes(0.25), [0.8])
    assert found.held == pytest.approx(expected, abs=0.005)
    assert (found.low, found.high) == binomial_interval(round(200 * found.held), 200)


def test_the_plot_has_a_bar_a_share_as_long_as_its_interval():
    chart = calibration_chart({"one": outcomes(0.5), "other": outcomes(0.25, 10)})
    root = ElementTree.fromstring(as_svg(drawn(chart)))
    assert {"one, n = 200", "other, n = 10"} <= {text.text for text in root.iter() if text.text}
    lines = [line.get("points").split() for line in root.iter(POLYLINES)]
    ends = [[tuple(map(float, end.split(","))) for end in line] for line in lines if len(line) == 2]
    left = [(a, b) for a, b in ends if a[0] == b[0] and abs(a[1] - b[1]) > 4.1 and a[0] < 330]
    assert len(left) == len(SHARES)
    found = calibration(outcomes(0.5))
    lengths = [low[1] - high[1] for low, high in left]
    pixels = lengths[0] / (found[0].high - found[0].low)
    assert lengths == pytest.approx([(each.high - each.low) * pixels for each in found], abs=0.3)
