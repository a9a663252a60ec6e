"""The bounded sets of `kintune reproduce` on the real images; the committed runs are of them."""

from pathlib import Path

import pytest

from kintune.backbones import load_backbone
from kintune.data import load_dataset
from kintune_paper.image_sets import place_of, target_folder
from kintune_paper.run_records import RunArchive

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
RESULTS = Path(__file__).parents[2] / "results/iclr2020"
COUNTS = {
    "cifar100-held-out": (480, 480, 1000, 20),
    "caltech101": (480, 480, 1178, 80),
    "fsdd-spectrograms": (480, 480, 300, 10),
    "birds": (480, 480, 1433, 50),
    "sign-digits": (480, 480, 518, 10),
    "clothing10": (480, 441, 372, 10),
    "grocery-store": (480, 480, 2456, 80),
    "insects": (244, 65, 101, 5),
    "omniglot-small": (480, 240, 400, 80),
    "digits": (480, 480, 359, 10),
}
"""Training, validation and test images, classes."""


@pytest.fixture(scope="module")
def pocket():
    return load_backbone("pocket")


@pytest.fixture(scope="module")
def target(real_data, pocket, tmp_path_factory):
    root = tmp_path_factory.mktemp("targets")

    def load(name):
        folder = target_folder(place_of(real_data, name), name, root, pocket.source_labels)
        return load_dataset(folder, pocket.input)

    return load


@pytest.mark.parametrize("name", COUNTS)
def test_a_target_has_the_images_of_the_protocol(target, name):
    dataset = target(name)
    sizes = tuple(len(dataset.splits[split]) for split in ("train", "val", "test"))
    assert (*sizes, len(dataset.classes)) == COUNTS[name]


def test_the_committed_runs_are_of_these_images(target, pocket):
    """Else a run would be done again, or a curve would mix two sets."""
    files = [file for file in RunArchive(RESULTS).files() if file.source == "pocket"]
    assert files
    for file in files:
        expected = target(file.target).content_hash
        assert {run.config.data_sha256 for run in file.runs} == {expected}
        assert {run.config.weights_sha256 for run in file.runs} == {pocket.weights_sha256}
