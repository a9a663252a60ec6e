import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment, linprog

from kintune.base.errors import DataError, SolverError
from kintune.similarity import earth_movers_distance, euclidean_costs, optimal_transport

many = settings(max_examples=40, deadline=None)
seeds, sizes = st.integers(0, 100_000), st.integers(1, 8)


def uniform(classes):
    return np.full(classes, 1 / classes)


def solve_by_linear_programming(a, b, cost):
    s, t = cost.shape
    rows = np.kron(np.eye(s), np.ones(t))
    columns = np.kron(np.ones(s), np.eye(t))
    solved = linprog(
        cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]), method="highs"
    )
    return solved.fun


class TestClosedForms:
    def test_one_class_on_each_side_is_the_distance_of_the_two_means(self, prototypes_of):
        a = np.array([[0.0, 0.0, 0.0]], np.float32)
        b = np.array([[3.0, 4.0, 0.0]], np.float32)
        assert earth_movers_distance(prototypes_of(a), prototypes_of(b)) == pytest.approx(5.0)

    def test_one_class_on_one_side_is_the_weighted_mean_distance(self, cloud, prototypes_of):
        rng = np.random.default_rng(0)
        a, b, weights = cloud(rng, 7), cloud(rng, 1), rng.dirichlet(np.ones(7))
        expected = weights @ np.linalg.norm(a - b, axis=1)
        found = earth_movers_distance(prototypes_of(a, weights), prototypes_of(b))
        assert found == pytest.approx(expected, rel=1e-6)

    def test_a_shifted_cloud_is_as_far_as_it_was_shifted(self, cloud, prototypes_of):
        a = cloud(np.random.default_rng(0), 9)
        shift = np.array([2, 0, 0, 0, 0, 0], np.float32)
        distance = earth_movers_distance(prototypes_of(a), prototypes_of(a + shift))
        assert distance == pytest.approx(2.0, rel=1e-6)

    def test_mass_that_moves_on_a_line(self):
        # Half of the mass moves from 0 to 1, a quarter from 1 to 3.
        a, b = np.array([0.75, 0.25]), np.array([0.25, 0.5, 0.25])
        cost = np.abs(np.array([0.0, 1.0])[:, None] - np.array([0.0, 1.0, 3.0]))
        assert optimal_transport(a, b, cost).cost == pytest.approx(0.5 + 0.25 * 2)


class TestIndependentSolvers:
    @pytest.mark.parametrize("seed", range(3))
    def test_equal_weights_agree_with_an_assignment_solver(self, cloud, seed):
        rng = np.random.default_rng(seed)
        cost = euclidean_costs(cloud(rng, 12), cloud(rng, 12))
        rows, columns = linear_sum_assignment(cost)
        expected = cost[rows, columns].mean()
        found = optimal_transport(uniform(12), uniform(12), cost).cost
        assert found == pytest.approx(expected, 1e-9)

    @many
    @given(seeds, st.integers(1, 11), st.integers(1, 9))
    def test_general_weights_agree_with_linear_programming(self, cloud, seed, s, t):
        rng = np.random.default_rng(seed)
        cost = euclidean_costs(cloud(rng, s), cloud(rng, t))
        a, b = rng.dirichlet(np.ones(s)), rng.dirichlet(np.ones(t))
        plan = optimal_transport(a, b, cost)
        assert plan.cost == pytest.approx(solve_by_linear_programming(a, b, cost), rel=1e-8)
        np.testing.assert_allclose(plan.flow.sum(1), a, atol=1e-12)
        np.testing.assert_allclose(plan.flow.sum(0), b, atol=1e-12)

    def test_costs_are_distances(self, cloud):
        rng = np.random.default_rng(4)
        # Far from the origin, where the expansion of the square loses digits.
        a, b = (cloud(rng, n, 64) + np.float32(1000) for n in (5, 3))
        expected = np.linalg.norm(a[:, None].astype(float) - b[None].astype(float), axis=2)
        np.testing.assert_allclose(euclidean_costs(a, b), expected, rtol=1e-9)


class TestInvariants:
    @many
    @given(seeds, sizes, sizes)
    def test_blind_to_side_order_and_splitting_of_classes(self, cloud, prototypes_of, seed, s, t):
        rng = np.random.default_rng(seed)
        a, b, wa, wb = cloud(rng, s), cloud(rng, t), rng.dirichlet([1.0] * s), uniform(t)
        distance = earth_movers_distance(prototypes_of(a, wa), prototypes_of(b, wb))

        def equals(first, second):
            assert earth_movers_distance(first, second) == pytest.approx(distance, rel=1e-9)

        equals(prototypes_of(b, wb), prototypes_of(a, wa))
        order = rng.permutation(s)
        equals(prototypes_of(a[order], wa[order]), prototypes_of(b, wb))
        halved = np.concatenate([wa[:1] / 2, wa[:1] / 2, wa[1:]])
        equals(prototypes_of(np.concatenate([a[:1], a]), halved), prototypes_of(b, wb))
        empty = np.concatenate([[0.0], wa])
        equals(prototypes_of(np.concatenate([cloud(rng, 1), a]), empty), prototypes_of(b, wb))

    @many
    @given(seeds, sizes)
    def test_a_domain_is_at_distance_zero_from_itself(self, cloud, prototypes_of, seed, s):
        rng = np.random.default_rng(seed)
        a = prototypes_of(cloud(rng, s), rng.dirichlet(np.ones(s)))
        assert earth_movers_distance(a, a) == pytest.approx(0.0, abs=1e-6)

    @many
    @given(seeds, sizes, sizes, sizes)
    def test_the_triangle_inequality(self, cloud, prototypes_of, seed, s, t, u):
        rng = np.random.default_rng(seed)
        a, b, c = (prototypes_of(cloud(rng, size)) for size in (s, t, u))
        way_round = earth_movers_distance(a, b) + earth_movers_distance(b, c)
        assert earth_movers_distance(a, c) <= way_round * (1 + 1e-9)

    @many
    @given(seeds, sizes, sizes, st.floats(1.5, 4))
    def test_clouds_that_move_apart_are_farther(self, cloud, prototypes_of, seed, s, t, factor):
        rng = np.random.default_rng(seed)
        a, b = cloud(rng, s), cloud(rng, t)
        apart = np.array([10, 0, 0, 0, 0, 0], np.float32)
        near, far = (
            earth_movers_distance(prototypes_of(a), prototypes_of(b + step))
            for step in (apart, np.float32(factor) * apart)
        )
        assert near < far


@pytest.mark.parametrize(
    ("a", "b", "cost", "words"),
    [
        ([np.nan, 1.0], [1.0], [[1.0], [2.0]], "source weights"),
        ([0.5, 0.5], [1.0], [[np.nan], [2.0]], "costs"),
        ([0.5, 0.5], [1.0], [[np.inf], [2.0]], "costs"),
        ([0.5, 0.5], [-1.0], [[1.0], [2.0]], "target weights"),
        ([0.0, 0.0], [1.0], [[1.0], [2.0]], "zero"),
        ([0.5, 0.5], [2.0], [[1.0], [2.0]], "differ"),
    ],
)
def test_transport_refuses_what_has_no_answer(a, b, cost, words):
    with pytest.raises(DataError, match=words):
        optimal_transport(np.array(a), np.array(b), np.array(cost))


def test_classes_of_weight_zero_send_and_get_nothing():
    cost = np.array([[1.0, 2.0], [0.0, 0.0], [4.0, 3.0]])
    plan = optimal_transport(np.array([0.5, 0.0, 0.5]), np.array([0.0, 1.0]), cost)
    assert plan.cost == pytest.approx(2.5)
    np.testing.assert_allclose(plan.flow, [[0, 0.5], [0, 0], [0, 0.5]])


def test_a_solver_that_stops_early_is_an_error(cloud, monkeypatch):
    monkeypatch.setattr("kintune.similarity.transport.MAX_PIVOTS", 1)
    rng = np.random.default_rng(0)
    cost = euclidean_costs(cloud(rng, 60), cloud(rng, 60))
    with pytest.warns(UserWarning, match="numItermax"), pytest.raises(SolverError):
        optimal_transport(uniform(60), uniform(60), cost)


def test_an_answer_without_a_certificate_is_an_error(monkeypatch):
    import ot

    solve = ot.emd

    def off_by_a_millionth(a, b, cost, **flags):
        flow, log = solve(a, b, cost, **flags)
        return flow, log | {"u": log["u"] - 1e-6}

    monkeypatch.setattr("ot.emd", off_by_a_millionth)
    rng = np.random.default_rng(0)
    with pytest.raises(SolverError, match="not certified"):
        optimal_transport(uniform(5), uniform(5), rng.uniform(size=(5, 5)))
