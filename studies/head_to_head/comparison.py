"""The tables of the head-to-head, and whether the goals are met."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from studies.head_to_head.peers import SEARCHES

BY_KINTUNE = {"kintune-1": 1, "kintune-4": 4}
"""`kintune tune` with so many runs."""
REFERENCE = "kintune-1"
GRID = "grid"
FLOOR = ("probe", "lp-ft")
"""What a delivered model is never much worse than."""
POINT = 1.0
"""Per cent: what may be lost."""
HALF_A_POINT = 0.5
"""Per cent: what four runs may lose against the grid."""

Place = tuple[str, str]
"""Network and set."""
Errors = Mapping[str, Mapping[Place, float]]
"""By method: test error in per cent, mean over the seeds."""


def tables(records: Sequence[dict[str, Any]]) -> str:
    """Markdown: a table for each network and number of images, then the goals over all networks."""
    parts: list[str] = []
    groups: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        groups[record["images"], record["epochs"]].append(record)
    for (images, epochs), group in groups.items():
        errors = errors_of(group)
        for network in dict.fromkeys(record["network"] for record in group):
            own = [record for record in group if record["network"] == network]
            seeds = len({record["seed"] for record in own})
            parts.append(
                f"**{network}**, {images} training images, {epochs} epochs a run, "
                f"{seeds} seed{'s' if seeds > 1 else ''}\n\n{table(own)}"
            )
        parts.append(f"Goals, {images} training images, over the networks above\n\n{goals(errors)}")
    return "\n\n".join(parts)


def label_of(record: dict[str, Any]) -> str:
    """The method, with its budget where that is not its usual one."""
    usual = (BY_KINTUNE | SEARCHES).get(record["method"], 1)
    extra = "" if record["budget"] == usual else f", budget {record['budget']}"
    return record["method"] + extra


def errors_of(records: Sequence[dict[str, Any]]) -> Errors:
    """Mean errors over the seeds."""
    found: dict[str, dict[Place, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        error = 100 * record["test_top1_error"]
        found[label_of(record)][record["network"], record["set"]].append(error)
    return {
        method: {place: mean(values) for place, values in places.items()}
        for method, places in found.items()
    }


def table(records: Sequence[dict[str, Any]]) -> str:
    """Methods by sets, of one network; the best of each column is bold."""
    errors = errors_of(records)
    places = list(dict.fromkeys((record["network"], record["set"]) for record in records))
    complete = {name: found for name, found in errors.items() if len(found) == len(places)}
    means = {name: mean(found.values()) for name, found in complete.items()}
    steps: dict[str, list[int]] = defaultdict(list)
    for record in records:
        steps[label_of(record)].append(record["steps"])
    rows = [["method", *(name for _, name in places), "mean", f"less {REFERENCE}", "steps"]]
    rows.append(["---"] * len(rows[0]))
    for name, found in errors.items():
        cells = [
            _best(found[place], [other[place] for other in errors.values() if place in other])
            if place in found
            else ""
            for place in places
        ]
        overall = _best(means[name], list(means.values())) if name in means else ""
        rows.append(
            [name, *cells, overall, difference(errors, name), str(round(mean(steps[name])))]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _best(value: float, others: Sequence[float]) -> str:
    text = f"{value:.1f}"
    return f"**{text}**" if value == min(others) else text


def difference(errors: Errors, method: str) -> str:
    """How much more a method errs than the reference on the sets that both have, and a 95 %
    interval over sets."""
    if method == REFERENCE:
        return ""
    found = differences(errors.get(method, {}), errors.get(REFERENCE, {}))
    if not found:
        return ""
    low, high = interval(list(found.values()))
    return f"{mean(found.values()):+.1f} ({low:+.1f} to {high:+.1f})"


def differences(ours: Mapping[Place, float], theirs: Mapping[Place, float]) -> dict[str, float]:
    """Mean of ours - theirs by set, over the networks for which both have it."""
    found: dict[str, list[float]] = defaultdict(list)
    for place in ours:
        if place in theirs:
            found[place[1]].append(ours[place] - theirs[place])
    return {name: mean(values) for name, values in found.items()}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean, by the bootstrap over the values."""
    rows = np.random.default_rng(0).integers(len(values), size=(10_000, len(values)))
    low, high = np.quantile(np.asarray(values)[rows].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def goals(errors: Errors) -> str:
    """What is met, over the networks and sets of the reference. Methods that have not run on all of
    them are named, and left out."""
    places = set(errors.get(REFERENCE, {}))
    complete = {name: found for name, found in errors.items() if places <= found.keys()}
    ours = [name for name in BY_KINTUNE if name in complete]
    peers = [name for name in complete if name not in (*BY_KINTUNE, GRID)]
    if not places or not peers:
        return f"Not judged: no method has run wherever {REFERENCE} has."
    means = {name: mean(found[place] for place in places) for name, found in complete.items()}
    missing = ", ".join(
        f"{name} ({len(places & found.keys())})"
        for name, found in errors.items()
        if name not in complete
    )
    lines = [
        f"{len(places)} networks and sets, {len(peers)} peer{'s' if len(peers) > 1 else ''}"
        + (f"; left out for having fewer: {missing}." if missing else ".")
    ]
    for name in ours:
        lines += _floor_lines(errors, name, places)
        lines.append(_peer_line(errors, name, min(peers, key=means.__getitem__), places))
    if REFERENCE in means:
        behind = means[REFERENCE] - min(means[name] for name in (*ours, *peers))
        lines.append(
            f"(3) {_met(behind <= POINT)}: {REFERENCE} errs on {means[REFERENCE]:.1f} %, "
            f"{behind:.1f} more than the best of all methods."
        )
    lines += _grid_lines(errors)
    return "\n".join(f"- {line}" for line in lines)


def _floor_lines(errors: Errors, name: str, places: set[Place]) -> list[str]:
    floor = [errors[other] for other in FLOOR if other in errors]
    if not floor:
        return []
    behind = {place: errors[name][place] - min(e[place] for e in floor) for place in places}
    missed = {place: value for place, value in behind.items() if value > POINT}
    places_text = "; ".join(
        f"{network} on {name_of_set} by {value:.2f}"
        for (network, name_of_set), value in sorted(missed.items(), key=lambda item: -item[1])
    )
    text = f"missed by {name} in {len(missed)} of {len(places)}: {places_text}" if missed else name
    return [
        f"(1) {_met(not missed)}, at most a point above the better of {' and '.join(FLOOR)}: {text}"
    ]


def _peer_line(errors: Errors, name: str, peer: str, places: set[Place]) -> str:
    ours = {place: errors[name][place] for place in places}
    theirs = {place: errors[peer][place] for place in places}
    found = differences(ours, theirs)
    low, high = interval(list(found.values()))
    worst = max(places, key=lambda place: ours[place] - theirs[place])
    behind = ours[worst] - theirs[worst]
    return (
        f"(2) {_met(high < 0 and behind <= POINT)}: {name} errs on {mean(ours.values()):.1f} %, "
        f"{peer}, the best peer on these test images, on {mean(theirs.values()):.1f} %; difference "
        f"{mean(found.values()):+.1f} ({low:+.1f} to {high:+.1f}); worst {worst[0]} on {worst[1]}, "
        f"{behind:+.1f}."
    )


def _grid_lines(errors: Errors) -> list[str]:
    """Four runs beside the grid, wherever both have run."""
    ours, theirs = errors.get("kintune-4", {}), errors.get(GRID, {})
    found = differences(ours, theirs)
    if not found:
        return []
    low, high = interval(list(found.values()))
    behind = mean(found.values())
    text = (
        f"(4) {_met(behind <= HALF_A_POINT)}: kintune-4 minus the grid of 60: {behind:+.1f} points "
        f"({low:+.1f} to {high:+.1f}, {len(found)} sets)."
    )
    return [text]


def _met(is_met: bool) -> str:
    return "met" if is_met else "**missed**"
