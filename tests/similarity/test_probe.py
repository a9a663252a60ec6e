"""The linear probe against leaving out and fitting again; features that say all or nothing."""

import numpy as np
import pytest

from kintune.similarity import probe
from kintune.similarity.features import Features
from kintune.similarity.probe import probe_error


def features(values, labels, classes=3):
    return Features(
        values=np.asarray(values, dtype=np.float32),
        labels=np.asarray(labels, dtype=np.int64),
        classes=tuple(f"c{index}" for index in range(classes)),
        extractor="x",
    )


def drawn(images=60, width=20, classes=3, shift=0.0):
    generator = np.random.default_rng(0)
    labels = np.arange(images) % classes
    values = generator.normal(size=(images, width))
    values[np.arange(images), labels] += shift
    return values, labels


@pytest.mark.parametrize("width", [8, 90])
def test_it_is_ridge_regression_fitted_again_without_each_image(width, monkeypatch):
    monkeypatch.setattr(probe, "STRENGTHS", (0.3,))
    values, labels = drawn(width=width, shift=1.0)
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    penalty = 0.3 * np.square(np.linalg.svd(values, compute_uv=False))[: min(59, width)].mean()
    wrong = 0
    for left_out in range(len(values)):
        kept = np.arange(len(values)) != left_out
        # The mean is fitted without a penalty beside the centered features.
        design = np.hstack([values[kept], np.ones((kept.sum(), 1))])
        ridge = np.diag([*np.full(width, penalty), 0.0])
        weights = np.linalg.solve(design.T @ design + ridge, design.T @ np.eye(3)[labels[kept]])
        wrong += int(np.argmax([*values[left_out], 1.0] @ weights) != labels[left_out])
    assert 0 < wrong < 60
    assert probe_error(features(values, labels)) == pytest.approx(wrong / 60, abs=1e-9)


def test_classes_that_lie_apart_cost_nothing_and_noise_tells_little():
    assert probe_error(features(*drawn(shift=20.0))) == 0
    assert 0.5 < probe_error(features(*drawn(images=300))) < 0.667


def test_features_that_never_change_are_worth_the_commonest_class():
    labels = [0] * 30 + [1] * 20 + [2] * 10
    assert probe_error(features(np.zeros((60, 20)), labels)) == pytest.approx(0.5)


def test_a_class_of_one_image_is_missed_and_the_others_are_not():
    values, labels = drawn(shift=20.0)
    labels[labels == 2] = 1
    labels[0] = 2
    assert probe_error(features(values, labels)) == pytest.approx(1 / 60)


def test_of_many_images_a_part_is_drawn(monkeypatch):
    monkeypatch.setattr(probe, "MAX_IMAGES", 30)
    values, labels = drawn(images=600, shift=1.0)
    error = probe_error(features(values, labels))
    assert (error * 30) == pytest.approx(round(error * 30))
    assert error == probe_error(features(values, labels))
    assert error != probe_error(features(values, labels), seed=1)
