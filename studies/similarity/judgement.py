"""Results of the similarity study, compared with known facts, as Markdown tables."""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from kintune_paper.image_sets import TRAIN_IMAGES
from studies.similarity.measures import MEASURES, NETWORKS
from studies.similarity.sets import SERIES

BEST_RATES = Path(__file__).with_name("best_rates.json")
CHOSEN = "nearest_class_and_half_shift"
OWN = {
    "birds": "inat_birds",
    "caltech-birds": "inat_birds",
    "insects": "inat_insects",
    "cifar100-insects": "inat_insects",
}
"""Sets whose nearest network, among the three MobileNetV2, a person knows."""
RIVALS = NETWORKS[1:]
DRAWS = 1000

Results = dict[str, Any]


def tables(results: Results) -> str:
    """All tables of the page."""
    parts = [
        ("Known orders", _known_orders(results)),
        ("Agreement with a linear probe, and stability", _agreement(results)),
        ("Agreement with the best effective rates", _orders_of_rates(results)),
        ("How far every set is", _distances(results)),
        ("How many images a class?", _curves(results)),
        ("Known from the head, or from images?", _head_against_images(results)),
        ("Labels or clusters?", _clusters(results)),
    ]
    return "\n".join(f"## {title}\n\n{text}\n" for title, text in parts)


def _entry(results: Results, network: str, kind: str = "head") -> dict[str, Any]:
    return next(
        entry["sets"]
        for entry in results["sources"]
        if entry["network"] == network and entry["prototypes"] == kind
    )


def _value(sets: dict[str, Any], name: str, measure: str) -> float | None:
    return sets[name]["measures"][measure]


def _known_orders(results: Results) -> str:
    """For each measure: which known orders it finds, from the networks' heads."""
    heads = {network: _entry(results, network) for network in NETWORKS}
    rows: list[list[str]] = []
    for measure in MEASURES:
        if _value(heads["in1k"], "birds", measure) is None:
            continue
        nearest = [_margin(heads, name, own, measure) for name, own in OWN.items()]
        series = [_in_order(heads[network], measure) for network in NETWORKS]
        rows.append([_name(measure), *nearest, *series])
    head = ["measure", *OWN, *(f"series, {network}" for network in NETWORKS)]
    note = (
        "Sets: by how much the network of the same kind is nearer than the nearest other of the "
        "three MobileNetV2, in standard deviations of the measure over all sets and networks; "
        "negative where another one is nearer. Series: the steps in the order that was found "
        f"({', '.join(SERIES)} is right)."
    )
    return f"{_table(head, rows)}\n\n{note}"


def _margin(heads: dict[str, Any], name: str, own: str, measure: str) -> str:
    spread = np.std([_column(heads[network], heads[network], measure) for network in RIVALS])
    here = {network: _column(heads[network], [name], measure)[0] for network in RIVALS}
    nearest_other = min(value for network, value in here.items() if network != own)
    return f"{(nearest_other - here[own]) / spread:+.2f}"


def _in_order(sets: dict[str, Any], measure: str) -> str:
    found = sorted(SERIES, key=lambda step: _value(sets, f"series-{step}", measure) or 0.0)
    return "yes" if tuple(found) == SERIES else " ".join(found)


def _orders_of_rates(results: Results) -> str:
    """For each measure: how many pairs of targets it puts in the order of their best rates."""
    heads = {network: _entry(results, network) for network in NETWORKS}
    pairs = [
        (heads[network], one, other)
        for network, rates in best_rates().items()
        for one, other in combinations(rates, 2)
        if _budget(one) == _budget(other)
        and {one["target"], other["target"]} <= set(heads[network])
    ]
    rows: list[list[str]] = []
    for measure in MEASURES:
        if _value(heads["in1k"], "birds", measure) is None:
            continue
        right = sum(
            (_column(sets, [one["target"]], measure) < _column(sets, [other["target"]], measure))
            == (one["effective_lr"] < other["effective_lr"])
            for sets, one, other in pairs
        )
        rows.append([_name(measure), f"{right} of {len(pairs)}"])
    note = (
        "Pairs of targets of one network and budget of an earlier study of learning rates "
        "([decision 11](../decisions/0011-recipes.md)) of which the farther one has the larger "
        "best effective rate; half of them would be chance. Best rates are mostly of one seed, "
        "pairs share targets."
    )
    return f"{_table(['measure', 'pairs in order'], rows)}\n\n{note}"


def best_rates() -> dict[str, list[dict[str, Any]]]:
    """Best effective learning rates of an earlier study, by network; one entry a training."""
    return json.loads(BEST_RATES.read_text(encoding="utf-8"))


def _budget(rate: dict[str, Any]) -> tuple[int, bool]:
    """Epochs, and whether of a whole set."""
    return rate["epochs"], rate["images"] > TRAIN_IMAGES


def _agreement(results: Results) -> str:
    """Spearman's correlation with the probe's error, and how much subsamples differ."""
    heads = {network: _entry(results, network) for network in NETWORKS}
    probed = [n for n, entry in heads["in1k"].items() if entry["probe_error"] is not None]
    rows: list[list[str]] = []
    for measure in MEASURES:
        if _value(heads["in1k"], "birds", measure) is None:
            continue
        within = [
            _spearman(_column(sets, probed, measure), _probes(sets, probed))
            for sets in heads.values()
        ]
        rows.append(
            [
                _name(measure),
                " ".join(f"{value:.2f}" for value in within),
                _across(heads, probed, measure),
                _best_network(heads, probed, measure),
                _instability(heads, measure, "half_of_images"),
                _instability(heads, measure, "half_of_classes"),
            ]
        )
    head = [
        "measure",
        f"within {', '.join(NETWORKS)}",
        "across the MobileNetV2",
        "best network named",
        "half of the images",
        "half of the classes",
    ]
    note = (
        f"Spearman's correlation with the test error of a linear probe over {len(probed)} sets, "
        "for each network; over the three MobileNetV2 for each set, the mean, with the 90 % "
        "interval of resampled sets; how often the network of the smallest value has the "
        "smallest error. Last: median standard deviation of the value on half of the images or "
        "classes, over the standard deviation between sets."
    )
    return f"{_table(head, rows)}\n\n{note}"


def _column(sets: dict[str, Any], names: Iterable[str], measure: str) -> list[float]:
    return [float(_value(sets, name, measure) or 0.0) for name in names]


def _probes(sets: dict[str, Any], names: Iterable[str]) -> list[float]:
    return [sets[name]["probe_error"] for name in names]


def _across(heads: dict[str, Any], names: Sequence[str], measure: str) -> str:
    each = []
    for name in names:
        values = [_column(heads[network], [name], measure)[0] for network in RIVALS]
        errors = [heads[network][name]["probe_error"] for network in RIVALS]
        each.append(_spearman(values, errors))
    low, high = _resampled(len(each), lambda rows: float(np.mean(np.array(each)[rows])))
    return f"{np.mean(each):.2f} ({low:.2f} to {high:.2f})"


def _best_network(heads: dict[str, Any], names: Sequence[str], measure: str) -> str:
    right = 0
    for name in names:
        nearest = min(RIVALS, key=lambda network: _column(heads[network], [name], measure)[0])
        errors = {network: heads[network][name]["probe_error"] for network in RIVALS}
        right += errors[nearest] == min(errors.values())
    return f"{right} of {len(names)}"


def _instability(heads: dict[str, Any], measure: str, part: str) -> str:
    shares = []
    for sets in heads.values():
        between = np.std([entry["measures"][measure] for entry in sets.values()])
        shares += [entry[part][measure] / between for entry in sets.values()]
    return f"{np.median(shares):.2f}"


def _distances(results: Results) -> str:
    """The relative distance, and the paper's, of every set."""
    sources = [(entry["network"], entry["prototypes"]) for entry in results["sources"]]
    names = sorted(
        results["sources"][0]["sets"],
        key=lambda name: _value(_entry(results, "in1k"), name, CHOSEN) or 0.0,
    )
    rows = []
    for name in names:
        row = [name]
        for network, kind in sources:
            sets = _entry(results, network, kind)
            spread = sets[name]["bootstrap"]["spread"]
            row.append(f"{_value(sets, name, CHOSEN):.3f} ± {1.645 * spread:.3f}")
        emd = [_entry(results, *source)[name]["measures"]["emd"] for source in sources]
        rows.append(row + [f"{value:.2f}" for value in emd if value is not None])
    with_emd = [s for s in sources if _entry(results, *s)[names[0]]["measures"]["emd"] is not None]
    head = [
        "set",
        *(f"{network}, {kind}" for network, kind in sources),
        *(f"EMD, {network}, {kind}" for network, kind in with_emd),
    ]
    note = (
        "`relative_distance` with half of its 90 % interval, and the paper's Earth Mover's "
        "Distance where prototypes have lengths."
    )
    return f"{_table(head, rows)}\n\n{note}"


def _curves(results: Results) -> str:
    sets = _entry(results, "in1k")
    curves = {name: entry["curve"] for name, entry in sets.items() if entry["curve"]}
    counts = list(next(iter(curves.values())))
    rows = []
    for name, curve in curves.items():
        rows.append([name, *(f"{curve[n][0]:.3f} ± {curve[n][1]:.3f}" for n in counts)])
        rows.append([f"{name}, bootstrap's bias", *(f"{curve[n][2]:+.3f}" for n in counts)])
    note = (
        "`relative_distance` from ImageNet-1k (head) of so many images a class, drawn anew eight "
        "times: mean and standard deviation; and how far resamples of these images lie beyond."
    )
    return f"{_table(['set', *counts], rows)}\n\n{note}"


def _head_against_images(results: Results) -> str:
    """Prototypes from the network alone beside those from images, in value and in ranking."""
    rows = []
    for network, kind in (("pocket", "images"), ("in1k", "one image a class")):
        head, images = _entry(results, network), _entry(results, network, kind)
        names = list(head)
        pairs = [(_column(head, names, CHOSEN), _column(images, names, CHOSEN))]
        first, second = (np.array(column) for column in pairs[0])
        low, high = _resampled(
            len(names), lambda r, a=first, b=second: _spearman(a[r].tolist(), b[r].tolist())
        )
        rows.append(
            [
                network,
                kind,
                f"{(first - second).mean():+.3f} ± {(first - second).std(ddof=1):.3f}",
                f"{_spearman(first.tolist(), second.tolist()):.2f} ({low:.2f} to {high:.2f})",
                f"{_places(first, second):.2f}",
            ]
        )
    head = ["network", "images", "head - images", "Spearman (90 %)", "change of place"]
    note = (
        "Over all sets: mean and standard deviation of the difference; correlation of the "
        "rankings; and by what share of the ranking a set moves on average."
    )
    return f"{_table(head, rows)}\n\n{note}"


def _places(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference of the ranks, as a share of the ranking."""
    moved = np.abs(_ranks(first) - _ranks(second))
    return float(moved.mean() / (len(first) - 1))


def _clusters(results: Results) -> str:
    rows = []
    for network in NETWORKS:
        sets = _entry(results, network)
        labeled = np.array(_column(sets, sets, CHOSEN))
        grouped = np.array([entry["clusters"] for entry in sets.values()])
        gap = grouped - labeled
        rows.append(
            [
                network,
                f"{gap.mean():+.3f} ± {gap.std(ddof=1):.3f}",
                f"{_spearman(labeled.tolist(), grouped.tolist()):.2f}",
            ]
        )
    note = (
        "`relative_distance` of the same images with their labels taken away (k-means, one cluster "
        "for twenty images) minus that with labels, and the correlation of the rankings of sets."
    )
    return f"{_table(['network', 'clusters - labels', 'Spearman'], rows)}\n\n{note}"


def _spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's correlation of the ranks; 0 where one of them does not vary."""
    a, b = _ranks(np.array(first)), _ranks(np.array(second))
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values share the mean of theirs."""
    below = (values[:, None] > values).sum(axis=1)
    equal = (values[:, None] == values).sum(axis=1)
    return below + (equal - 1) / 2


def _resampled(count: int, statistic: Callable[[np.ndarray], float]) -> tuple[float, float]:
    """90 % interval over resamples of the sets."""
    rng = np.random.Generator(np.random.Philox(key=0))
    values = [statistic(rng.integers(count, size=count)) for _ in range(DRAWS)]
    low, high = np.quantile(values, (0.05, 0.95))
    return float(low), float(high)


def _name(measure: str) -> str:
    return f"**{MEASURES[measure]}**" if measure == CHOSEN else MEASURES[measure]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
