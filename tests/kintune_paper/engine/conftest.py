"""A protocol of two tiny sets, and records that were never run."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kintune_paper.engine.known import KnownRuns
from kintune_paper.iclr2020.protocols import SMALL
from tests.kintune_paper.conftest import run_record


def tiny_protocol(near="near", far="far"):
    """`pocket` on two sets of 16 images for one epoch."""
    networks = {
        name: replace(network, base=network.base.replace(epochs=1, batch_size=8))
        for name, network in SMALL.networks.items()
    }
    return replace(
        SMALL,
        networks=networks,
        sets=(near, far),
        own_sets=True,
        usual_images=16,
        lrs=(0.1, 0.01),
        lrs_without_momentum=(0.1,),
    )


def make_sets(folder, names=("near", "far"), levels=(40, 200)):
    """Image sets of two shades of gray that are easy to tell apart."""
    rng = np.random.default_rng(0)
    for name in names:
        for split, count in (("train", 16), ("test", 4)):
            for label, level in zip(("dark", "light"), levels, strict=True):
                (folder / name / split / label).mkdir(parents=True)
                for index in range(count):
                    pixels = np.clip(rng.normal(level, 20, (40, 40, 3)), 0, 255).astype(np.uint8)
                    path = folder / name / split / label / f"{name}-{label}-{index}.png"
                    Image.fromarray(pixels).save(path)
    return folder


def synthetic_record(run, validation, test=None, **changes):
    """A record of a declared run with these errors."""
    tested = validation if test is None else test
    shares = {"validation_average_class_error": changes.pop("validation_class", validation)}
    return run_record(
        run.settings,
        run.seed,
        validation,
        result=shares | {"first_epoch_loss_ratio": 0.5},
        test_top1_error=tested,
        test_average_class_error=changes.pop("test_class", tested),
        train_losses=(1.0, 0.5, 0.25),
        validation_errors=((1, 0.6), (3, validation)),
        normalised_l2=(0.9, 0.8, 0.7),
        normalised_penalty=(1.5, 2.0, 2.0),
        **changes,
    )


@pytest.fixture(name="record_of", scope="session")
def _record_of():
    return synthetic_record


@pytest.fixture(scope="session")
def known_of():
    """Known runs of (run, validation error, test error)."""

    def make(*pairs):
        known = KnownRuns([])
        for run, *errors in pairs:
            known.add(run.network, run.target, synthetic_record(run, *errors))
        return known

    return make


@pytest.fixture(scope="session")
def protocol():
    return tiny_protocol()


@pytest.fixture(scope="session")
def sets(tmp_path_factory):
    """A folder of the two sets."""
    return make_sets(tmp_path_factory.mktemp("sets"))
