from types import SimpleNamespace

import pytest

from kintune.curves import RunError, error_curve
from kintune.experiments.known_facts import FactsFile, KnownFacts
from kintune.experiments.reference_study import rate
from kintune.experiments.study_tables import (
    HEADER,
    devices,
    markdown_row,
    reference_tables,
    shifts,
    summary,
)


def facts(target, source="pocket"):
    return KnownFacts(
        source=source,
        domain="everything",
        target=target,
        relative_distance=0.4,
        prototypes_from="images",
        extractor="pocket@32px",
        units={"least trust ratio": 0.4},
        images=480,
        classes=10,
        probe_top1_error=0.3,
    )


def curve(target="birds", source="pocket", budget="long", best=-4, devices=()):
    """A curve in all that a row is made of: least error 20 %, by default at 0.1."""
    errors = [(rate(best + q), min(0.9, 0.2 + 0.02 * q**2)) for q in range(-5, 6)]
    smoothed = error_curve([RunError(at, error) for at, error in errors], 10**6)
    return SimpleNamespace(
        source=source,
        target=target,
        budget=budget,
        steps=900,
        runs=tuple(
            SimpleNamespace(config=SimpleNamespace(id=f"{target}{i}"), device=device)
            for i, device in enumerate(devices)
        ),
        validation=smoothed,
        test=smoothed,
        noise_floor=None,
        is_inside=True,
    )


def test_a_row_has_a_cell_for_each_column_and_says_what_the_default_loses():
    row = markdown_row(curve())
    assert row.count("|") == HEADER.split("\n")[0].count("|")
    assert row.startswith("| pocket | birds | 900 | 0.1 | ")
    assert "| 20.3 % | 0.0 |" in row  # smoothed: a little above the least error


def test_the_summary_says_how_many_curves_it_speaks_of():
    assert summary([curve(), curve("insects")]).startswith("On 2 curves")
    assert summary([]) == "No curve has its best rate inside yet."


def test_best_rates_of_a_shorter_and_a_longer_training_are_compared_set_by_set():
    """Half a decade apart on two of three sets; a whole set is compared with its bounded subset."""
    curves = [
        *(curve(name, budget="short", best=-2) for name in ("birds", "insects", "digits")),
        *(curve(name, best=-4) for name in ("birds", "insects")),
        curve("digits", best=-2),
        curve("birds-whole", budget="whole", best=-8),
        curve("birds", "scratch", budget="short"),
    ]
    shorter, longer = shifts(curves)
    assert shorter == (
        "pocket: best rates of the short budget over those of the long one: 3.2 "
        "(median; 1.0 to 3.2, 3 sets)"
    )
    assert "long budget over those of the whole one: 10.0" in longer


def test_runs_are_counted_once_by_what_trained_them():
    shared = curve(devices=("cpu", "cpu", "cuda"))
    assert devices([shared, shared, curve("insects", devices=("cuda",))]) == (
        "4 runs: 2 on cpu, 2 on cuda."
    )


def test_the_recommendation_gets_the_curves_of_pretrained_networks_with_known_distance():
    known = FactsFile(
        facts=(facts("birds"), facts("insects"), facts("birds", "scratch"), facts("birds-whole"))
    )
    curves = [
        curve("birds"),
        curve("insects"),
        curve("birds", budget="short"),
        curve("unknown"),
        curve("birds", "scratch"),
        curve("birds-whole", budget="whole"),
    ]
    (table,) = reference_tables(curves, known)
    assert (table.source, table.network, table.extractor) == ("everything", "pocket", "pocket@32px")
    assert [(row.target, row.epochs, row.batch_size) for row in table.rows] == [
        ("birds", 60, 32),
        ("insects", 60, 32),
        ("birds", 12, 32),
        ("birds", 40, 32),
    ]
    assert table.rows[0].rate_noise == round(curves[0].validation.rate_noise, 3)
    assert table.rows[0].effective_lr == pytest.approx(0.1, rel=0.03)
