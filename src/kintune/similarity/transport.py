"""Exact optimal transport between two weighted clouds of class means."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from kintune.base.arrays import CostArray, SourceMeans, SourceWeights, TargetMeans, TargetWeights
from kintune.base.errors import DataError, SolverError
from kintune.similarity.prototypes import Prototypes

MAX_PIVOTS = 1_000_000_000
RELATIVE_GAP = 1e-9
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class TransportPlan:
    """An optimal flow. `flow` is float64 (s, t); `cost` the least total work."""

    flow: CostArray
    cost: float


def earth_movers_distance(source: Prototypes, target: Prototypes) -> float:
    """d(S, T) of equation (3): Euclidean distances between class means, class-frequency weights."""
    cost = euclidean_costs(source.means, target.means)
    return optimal_transport(source.weights, target.weights, cost).cost


def euclidean_costs(source: SourceMeans, target: TargetMeans) -> CostArray:
    """Ground distances d_ij = |g(s_i) - g(t_j)| of Appendix B, float64 (s, t)."""
    # Distances do not change with the origin; around the middle the expansion cancels less.
    middle = source.mean(axis=0, dtype=np.float64)
    b = target.astype(np.float64) - middle
    b_squared = (b**2).sum(axis=1)
    cost = np.empty((len(source), len(target)))
    for start in range(0, len(source), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        a = source[rows].astype(np.float64) - middle
        a_squared = (a**2).sum(axis=1)
        np.matmul(a, b.T, out=cost[rows])
        cost[rows] *= -2
        cost[rows] += a_squared[:, None]
        cost[rows] += b_squared
        # The expansion cancels to a tiny value of either sign between equal points.
        least = 1e-14 * (a_squared[:, None] + b_squared)
        cost[rows][cost[rows] <= least] = 0.0
    return np.sqrt(cost, out=cost)


def optimal_transport(
    source_weights: SourceWeights, target_weights: TargetWeights, cost: CostArray
) -> TransportPlan:
    """The exact optimal flow between two weighted clouds, by network simplex in float64 (POT).

    Args:
        source_weights: float64 (s,), non-negative, sum 1; classes of weight 0 send nothing.
        target_weights: float64 (t,), non-negative, sum 1; classes of weight 0 get nothing.
        cost: float64 (s, t), finite.

    Raises:
        DataError: a weight or a cost is not finite or is negative, or the masses differ.
        SolverError: the solver stopped early, or the dual gap exceeds 1e-9 of the cost.
    """
    _check_transport(source_weights, target_weights, cost)
    # Without the empty classes: their dual values are free, and the certificate would fail.
    rows, columns = np.flatnonzero(source_weights), np.flatnonzero(target_weights)
    if len(rows) == len(source_weights) and len(columns) == len(target_weights):
        return _solve(source_weights, target_weights, cost)
    part = np.ix_(rows, columns)
    solved = _solve(source_weights[rows], target_weights[columns], cost[part])
    flow = np.zeros_like(cost)
    flow[part] = solved.flow
    return TransportPlan(flow=flow, cost=solved.cost)


def _solve(
    source_weights: SourceWeights, target_weights: TargetWeights, cost: CostArray
) -> TransportPlan:
    import ot  # a second and 100 MB, and heads need no transport

    a, b = source_weights / source_weights.sum(), target_weights / target_weights.sum()
    solved = cast(
        "tuple[CostArray, dict[str, Any]]", ot.emd(a, b, cost, numItermax=MAX_PIVOTS, log=True)
    )
    flow, log = solved
    if log["result_code"] != 1:
        raise SolverError(f"optimal transport ended without an answer: {log['warning']}.")
    u, v = cast("np.ndarray", log["u"]), cast("np.ndarray", log["v"])
    primal = float(np.vdot(flow, cost))
    dual = float(u @ a + v @ b)
    allowed = RELATIVE_GAP * max(primal, float(cost.max()))
    infeasible = max(
        float(
            (u[start : start + ROWS_AT_ONCE, None] + v - cost[start : start + ROWS_AT_ONCE]).max()
        )
        for start in range(0, len(u), ROWS_AT_ONCE)
    )
    if abs(primal - dual) > allowed or infeasible > allowed:
        raise SolverError(
            f"optimal transport is not certified: cost {primal:.12g}, dual {dual:.12g}, "
            f"dual infeasibility {infeasible:.3g}, allowed {allowed:.3g}."
        )
    return TransportPlan(flow=flow, cost=primal)


def _check_transport(a: SourceWeights, b: TargetWeights, cost: CostArray) -> None:
    for name, values in (("source weights", a), ("target weights", b), ("costs", cost)):
        if values.size == 0 or not np.isfinite(values).all() or (values < 0).any():
            raise DataError(f"optimal transport: {name} must be finite, non-negative, not empty.")
    if a.sum() <= 0 or b.sum() <= 0:
        raise DataError("optimal transport: the weights of both domains must not all be zero.")
    if abs(a.sum() - b.sum()) > 1e-6 * max(a.sum(), b.sum()):
        raise DataError(f"optimal transport: total weights differ, {a.sum():g} and {b.sum():g}.")
