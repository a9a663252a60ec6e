import numpy as np
import pytest

from kintune.search import difference_error, paired_standard_error, select_rate, standard_error

RATES = [0.01, 0.03, 0.1]


def selected(rates, errors, expected, images):
    """Where nothing is known image by image."""
    return select_rate(rates, errors, expected, [standard_error(min(errors), images)] * len(rates))


def test_what_chance_may_explain_stays_with_the_recommendation():
    # On 100 images the difference of two errors near 20 % has a standard error of 5.7 points.
    assert selected(RATES, [0.20, 0.24, 0.40], expected=0.03, images=100) == 1
    assert selected(RATES, [0.20, 0.27, 0.40], expected=0.03, images=100) == 0


def test_more_images_tell_smaller_differences():
    errors = [0.20, 0.24, 0.40]
    assert selected(RATES, errors, expected=0.03, images=100) == 1
    assert selected(RATES, errors, expected=0.03, images=1000) == 0


def test_the_nearest_in_log_rate_is_kept_though_others_are_as_near_in_rate():
    assert selected([0.01, 0.19], [0.2, 0.2], expected=0.1, images=100) == 1


def test_a_recommendation_that_is_far_off_decides_nothing():
    assert selected(RATES, [0.90, 0.50, 0.10], expected=0.001, images=100) == 2


def test_without_a_recommendation_the_lowest_counts_and_the_smallest_of_equals():
    assert selected(RATES, [0.21, 0.20, 0.20], expected=None, images=100) == 1


def test_without_a_number_of_images_every_difference_counts():
    assert selected(RATES, [0.20, 0.201, 0.40], expected=0.03, images=None) == 0


def test_equally_near_ones_go_to_the_smaller_rate():
    assert selected([4.0, 1.0], [0.2, 0.2], expected=2.0, images=100) == 1


def test_no_error_at_all_is_not_certain():
    assert standard_error(0.0, 30) == pytest.approx(0.0449, abs=1e-4)
    assert selected([0.01, 0.03], [0.0, 1 / 30], expected=0.03, images=30) == 1
    assert selected([0.01, 0.03], [0.0, 2 / 30], expected=0.03, images=30) == 0


def test_the_paired_error_counts_the_images_on_which_two_settings_differ():
    """As the standard deviation of the mean of the differences, written out."""
    one, other, images = {0, 1, 2, 3}, {3, 4}, 50
    differences = np.array([(i in one) - (i in other) for i in range(images)] + [1, -1])
    expected = np.sqrt((differences**2).sum() - differences.sum() ** 2 / images) / images
    found = paired_standard_error([tuple(one)], [tuple(other)], images)
    assert found == pytest.approx(expected)


def test_predictions_that_agree_leave_little_doubt():
    """Two settings at 20 % whose mistakes are the same but for one image."""
    shared = tuple(range(19))
    paired = paired_standard_error([(*shared, 50)], [shared], 100)
    assert paired < 0.4 * standard_error(0.2, 100)
    disjoint = paired_standard_error([tuple(range(20))], [tuple(range(50, 70))], 100)
    assert disjoint > standard_error(0.2, 100)


def test_of_several_seeds_an_image_counts_by_their_share():
    seeds = paired_standard_error([(0,), ()], [(), ()], 10)
    assert seeds == pytest.approx(((0.25 + 2) - 0.25 / 10) ** 0.5 / 10)


def test_without_mistakes_on_record_the_upper_bound_counts():
    assert difference_error(0.2, (), ((1,),), 100) == standard_error(0.2, 100)
    assert difference_error(0.2, ((1,),), ((2,),), None) == 0
