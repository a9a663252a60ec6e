import pytest

from kintune.advice import Rates, explanation

KNOWN = {"birds": 0.6, "clothes": 0.75, "letters": 0.95}
RATES = Rates(0.01, 0.1, 10.0)


@pytest.mark.parametrize(
    ("distance", "words"),
    [
        (
            0.5,
            ("near to ImageNet-1k", "farther than 0 of the 3", "birds (0.60) and clothes (0.75)"),
        ),
        (0.7, ("at a middling distance", "farther than 1 of the 3", "clothes (0.75) and birds")),
        (0.99, ("far from ImageNet-1k", "farther than 3 of the 3", "letters (0.95) and clothes")),
    ],
)
def test_the_place_among_the_references_is_said(make_similarity, distance, words):
    text = explanation(make_similarity(distance=distance), KNOWN, RATES, 0.9, "low")
    assert all(each in text for each in words)


def test_rates_are_said_with_the_momentum_they_go_with(make_similarity):
    text = explanation(make_similarity(), KNOWN, RATES, 0.9, "medium")
    assert "effective learning rate of 0.1, that is lr 0.01 with momentum 0.9" in text
    assert "between 0.01 and 10; confidence: medium" in text
    assert "0.1, that is lr 0.1 with momentum 0." in explanation(
        make_similarity(), KNOWN, RATES, 0.0, "low"
    )


def test_two_more_rates_lie_a_third_of_the_range_beside():
    assert Rates(0.01, 0.1, 10.0).settling == pytest.approx((0.01, 1.0))
