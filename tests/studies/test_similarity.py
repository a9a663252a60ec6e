"""The study's parts on made-up domains: what is measured, how it is judged."""

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from kintune.similarity.features import Features
from kintune.similarity.prototypes import class_prototypes
from studies.similarity import judgement
from studies.similarity.measures import (
    MEASURES,
    NETWORKS,
    half_of_classes,
    measures,
    n_of_each,
    probe_error,
)
from studies.similarity.sets import SERIES, changed


def features(seed, classes=4, images=12, noise=0.3):
    rng = np.random.default_rng(seed)
    centers = 1 + rng.normal(size=(classes, 8))
    labels = np.repeat(np.arange(classes), images)
    values = centers[labels] + noise * rng.normal(size=(len(labels), 8))
    return Features(
        values=values.astype(np.float32),
        labels=labels,
        classes=tuple("abcdefgh"[:classes]),
        extractor="x",
    )


def test_a_domain_is_nearest_to_itself_by_every_measure():
    own, other = features(0), features(1)
    source = class_prototypes(own)
    here, there = measures(source, own), measures(source, other)
    assert set(here) == set(MEASURES)
    for name in ("emd", "emd_of_directions", "nearest_class", "nearest_class_and_half_shift"):
        assert here[name] == pytest.approx(0, abs=1e-3), name
    for name, value in here.items():
        assert (value is None) == (there[name] is None)
        assert value is None or value < (there[name] or 0.0), name
    assert here["head_doubt"] is None


def test_parts_keep_what_they_say():
    rng, whole = np.random.default_rng(0), features(0)
    rows = n_of_each(whole, rng, 3)
    assert np.bincount(whole.labels[rows]).tolist() == [3] * 4
    assert len(set(rows)) == 12
    assert np.bincount(whole.labels[half_of_classes(whole, rng)]).max() == 12
    assert len(np.unique(whole.labels[half_of_classes(whole, rng)])) == 2


def test_a_probe_separates_what_is_apart():
    assert probe_error(features(0, noise=0.01), features(0, noise=0.01)) == 0


def test_ranks_and_their_correlation_agree_with_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 30).tolist(), rng.normal(size=30).tolist()
    assert judgement._spearman(a, b) == pytest.approx(spearmanr(a, b)[0])


def test_steps_of_the_series_keep_the_size_and_change_the_image():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8))
    steps = {step: np.asarray(changed(image, step, rng)) for step in SERIES}
    assert {step.shape for step in steps.values()} == {(20, 30, 3)}
    assert np.array_equal(steps["photo"], np.asarray(image))
    assert len(np.unique(steps["posterised"])) == 4
    assert np.ptp(steps["edges"], axis=2).max() == 0  # gray


def test_tables_hold_every_network_and_measure():
    names = [*judgement.OWN, "a", "b", *(f"series-{step}" for step in SERIES)]

    def sets(seed):
        rng = np.random.default_rng(seed)
        return {
            name: {
                "measures": {m: float(rng.uniform()) for m in MEASURES},
                "half_of_images": dict.fromkeys(MEASURES, 0.1),
                "half_of_classes": dict.fromkeys(MEASURES, 0.1),
                "bootstrap": {"spread": 0.01, "mean": 0.5},
                "clusters": 0.5,
                "probe_error": None if name.startswith("series") else float(rng.uniform()),
                "curve": {"1": [0.6, 0.01, 0.05]} if name == "a" else {},
            }
            for name in names
        }

    kinds = [(network, "head") for network in NETWORKS]
    kinds += [("pocket", "images"), ("in1k", "one image a class")]
    sources = [
        {"network": network, "prototypes": kind, "sets": sets(index)}
        for index, (network, kind) in enumerate(kinds)
    ]
    page = judgement.tables({"image_size": 96, "sources": sources})
    assert all(text in page for text in MEASURES.values())
    assert page.count("## ") == 7
    assert "nan" not in page


def test_measures_are_held_against_the_order_of_best_rates(monkeypatch):
    """Three targets of one network whose best rates grow from a to c: three pairs."""
    rates = [
        {"target": name, "epochs": 60, "images": 480, "effective_lr": rate}
        for name, rate in (("a", 0.1), ("b", 0.2), ("c", 0.3))
    ]
    monkeypatch.setattr(judgement, "best_rates", lambda: {"pocket": rates})

    def sets(*values):
        pairs = zip(("birds", "a", "b", "c"), (0.0, *values), strict=True)
        return {name: {"measures": dict.fromkeys(MEASURES, value)} for name, value in pairs}

    def judged(*values):
        sources = [
            {"network": network, "prototypes": "head", "sets": sets(*values)}
            for network in NETWORKS
        ]
        return judgement._orders_of_rates({"sources": sources})

    assert judged(1, 2, 3).count("3 of 3") == len(MEASURES)
    assert judged(2, 1, 3).count("2 of 3") == len(MEASURES)
    assert judged(3, 2, 1).count("0 of 3") == len(MEASURES)
