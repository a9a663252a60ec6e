import math

import numpy as np
import pytest

from kintune.experiments.rate_evidence import MEASURED, fit_rates, log_unit, rate_examples
from kintune.experiments.rate_models import Guess
from kintune.experiments.recommenders import (
    SHIPPED,
    Candidate,
    Case,
    Outcome,
    binomial_interval,
    candidates,
    chosen,
    final_regret,
    folds,
    held,
    interval_over_targets,
    middle,
    miss_in_decades,
    momentum_by_similarity,
    nearest_reference,
    nested,
    prospective_outcomes,
    regret,
    ruled,
)
from kintune.reference import shipped_reference_tables


def case(target="a", network="n", log_rate=-1.0, **inputs):
    return Case(
        target=target,
        network=network,
        inputs={"distance": 0.5, **inputs},
        log_rate=log_rate,
        noise=0.1,
        regret=lambda rate: abs(math.log10(rate) - log_rate),
        final_regret=lambda rate: 2 * abs(math.log10(rate) - log_rate),
    )


def sloping(count=12, networks=("one", "two")):
    """The best rate grows with distance; `chance` says nothing."""
    generator = np.random.default_rng(0)
    return [
        case(
            target=f"t{index}",
            network=network,
            log_rate=-2 + 2 * index / count + 0.05 * generator.normal(),
            distance=index / count,
            chance=float(generator.normal()),
        )
        for index in range(count)
        for network in networks
    ]


@pytest.mark.parametrize("by", ["target", "network"])
def test_no_case_is_fitted_with_others_of_its_target_or_network(by):
    cases = sloping(4)
    left = []
    for rest, left_out in folds(cases, by):
        assert not {getattr(c, by) for c in rest} & {getattr(c, by) for c in left_out}
        assert len(rest) + len(left_out) == len(cases)
        left += left_out
    assert sorted(map(id, left)) == sorted(map(id, cases))


def test_the_left_out_case_decides_nothing():
    """Whatever its best rate is, the guess for it stays the same."""
    cases = sloping()
    moved = [case(c.target, c.network, 3.0, **c.inputs) if c.target == "t3" else c for c in cases]
    tried = [Candidate("constant", ()), Candidate("linear", ("distance",))]

    def guesses(of):
        found = nested(of, tried, "target", miss_in_decades)
        return [outcome.guess for outcome in found if outcome.case.target == "t3"]

    assert guesses(cases) == guesses(moved)


def test_a_prospective_guess_comes_from_earlier_cases_of_other_targets_alone():
    """Each later case by a model of the earlier ones without its target, whatever the later are."""

    def given(target, network="one", log_rate=-1.0, **inputs):
        return case(target, network, log_rate, rank=0.5, log_images_seen=4.0, **inputs)

    earlier = [given(f"t{index}", log_rate=-1 + 0.1 * index) for index in range(4)]
    later = [given("t1", "two", 2.0), given("t9", "two", -2.0)]
    found = {o.case.target: o.guess for o in prospective_outcomes(later, earlier, "target")}
    expected = {
        "t1": SHIPPED.fit([each for each in earlier if each.target != "t1"]),
        "t9": SHIPPED.fit(earlier),
    }
    assert found == {each.target: expected[each.target](each) for each in later}
    other = prospective_outcomes([given("t1", "two", -3.0)], earlier, "target")
    assert other[0].guess == found["t1"]


def test_what_is_evaluated_as_recommended_is_what_recommends():
    found = rate_examples(shipped_reference_tables())
    names = ("rank", "log_images_seen")

    def as_case(each, target):
        unit = log_unit(each.row.batch_size, each.trust_ratio)
        return Case(
            target=target,
            network=each.network,
            inputs=dict(zip(names, each.inputs, strict=True)),
            log_rate=each.log_rate + unit,
            noise=each.row.rate_noise,
            study=each.study,
            log_unit=unit,
        )

    evaluated = SHIPPED.fit([as_case(each, each.row.target) for each in found])
    asked = as_case(found[-1], "new")
    shipped = fit_rates(found)(found[-1].inputs, found[-1].network, MEASURED)
    assert found[-1].study == MEASURED
    guess = evaluated(asked)
    assert guess.log_rate - asked.log_unit == pytest.approx(shipped.log_rate)
    assert guess.deviation == pytest.approx(shipped.deviation)


def test_the_input_that_matters_is_chosen():
    tried = [Candidate("linear", (name,)) for name in ("chance", "distance")]
    assert chosen(sloping(), tried, miss_in_decades) == Candidate("linear", ("distance",))


def test_what_is_chosen_serves_targets_that_were_left_out():
    outcomes = nested(sloping(), candidates("distance"), "target", regret)
    assert np.mean([o.case.miss(o.guess) for o in outcomes]) < 0.15
    count, total = held(outcomes)
    assert total == 24
    assert count >= 16


def test_candidates_take_three_inputs_at_most_and_are_all_different():
    found = candidates("distance", ("steps", "norm", "probe"))
    assert len(set(found)) == len(found)
    assert max(len(candidate.inputs) for candidate in found) == 3
    assert Candidate("networks", ("distance", "steps")) in found


def test_the_nearest_reference_is_of_the_same_network_where_there_is_one():
    asked = case(network="n", distance=0.3)
    others = [
        case("b", "n", -2.0, distance=0.1),
        case("c", "other", -3.0, distance=0.3),
        case("d", "n", -1.0, distance=0.6),
    ]
    rule = nearest_reference("distance")
    assert rule(asked, others) == pytest.approx(0.01)
    assert rule(case(network="unknown", distance=0.5), others) == pytest.approx(0.1)


def test_momentum_goes_off_for_the_nearer_half():
    rule = momentum_by_similarity("distance")
    others = [case(distance=distance) for distance in (0.1, 0.2, 0.6)]
    assert rule(case(distance=0.15), others) == pytest.approx(0.01)
    assert rule(case(distance=0.5), others) == pytest.approx(0.1)


def test_a_rule_is_given_the_rest_alone():
    outcomes = ruled([case("a", log_rate=-3.0), case("b", log_rate=-1.0)], middle, "target")
    assert [outcome.guess.rate for outcome in outcomes] == pytest.approx([0.1, 0.001])


def test_a_range_is_judged_with_the_noise_of_the_measured_best_rate():
    guess = Guess(-1.0, 0.1)  # reaches 0.128 decades
    assert not Case(target="", network="", inputs={}, log_rate=-1.2, noise=0.0).holds(guess)
    assert Case(target="", network="", inputs={}, log_rate=-1.2, noise=0.2).holds(guess)


def test_the_interval_draws_targets_and_not_cases():
    """A hundred cases of one target weigh like one target, and one target alone has no spread."""
    guess = Guess(-1.0, 0.1)
    one = [Outcome(case("a", log_rate=-1.5), guess, None)] * 100
    other = [Outcome(case("b", log_rate=-3.0), guess, None)]
    assert interval_over_targets(one, miss_in_decades) == pytest.approx((0.5, 0.5))
    assert interval_over_targets(one + other, miss_in_decades) == pytest.approx((0.5, 2.0))


def test_models_are_chosen_by_one_regret_and_reported_by_another():
    guess = Guess(-2.0, 0.1)
    assert regret(case(log_rate=-1.0), guess) == pytest.approx(1)
    assert final_regret(case(log_rate=-1.0), guess) == pytest.approx(2)
    with pytest.raises(ValueError, match="only the best rate is known"):
        regret(Case(target="x", network="y", inputs={}, log_rate=0, noise=0), guess)


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [(0, 10, (0.0, 0.3085)), (10, 10, (0.6915, 1.0)), (28, 35, (0.6306, 0.9156))],
)
def test_the_binomial_interval_is_that_of_the_beta_distribution(successes, trials, expected):
    """Expected: scipy.stats.beta.ppf(0.025, k, n - k + 1) and ppf(0.975, k + 1, n - k)."""
    assert binomial_interval(successes, trials) == pytest.approx(expected, abs=1e-4)
