import dataclasses
import hashlib
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch

from kintune.backbones import Backbone, load_backbone, normalized, penultimate_features
from kintune.base.errors import DataError, IncomparableError
from kintune.data import DecodedImages, ImageDataset
from kintune.data.transforms import center_crops
from kintune.similarity import features as module
from kintune.similarity.features import extract_features


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    random = load_backbone("pocket", pretrained=False)
    return dataclasses.replace(random, weights_sha256="a" * 64, num_source_classes=80)


@pytest.fixture
def dataset(request) -> ImageDataset:
    """Ten train images (more than a batch when that is made smaller), two val, no test."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 32, 40, 3), dtype=np.uint8)
    sizes = np.tile(np.array([32, 40]), (12, 1))
    decoded = DecodedImages(
        pixels=images.reshape(-1), offsets=np.arange(12) * 32 * 40 * 3, sizes=sizes, shorter_side=32
    )
    return ImageDataset(
        name="noise",
        source="/noise",
        classes=("a", "b", "c"),
        paths=tuple(f"/noise/{index}.png" for index in range(12)),
        labels=np.arange(12) % 3,
        splits={
            "train": np.arange(10)[::-1].copy(),
            "val": np.arange(10, 12),
            "test": np.arange(0),
        },
        images=decoded,
        content_hash=hashlib.sha256(request.node.name.encode()).hexdigest(),
        skipped=(),
        notes=(),
    )


def test_rows_are_the_splits_images_in_order(backbone, dataset, monkeypatch):
    monkeypatch.setattr(module, "BATCH_SIZE", 4)
    features = extract_features(backbone, dataset, "train")
    indices = dataset.splits["train"]
    batch = normalized(center_crops(dataset.images, indices, 32), backbone.input)
    with torch.inference_mode():
        expected, logits = penultimate_features(backbone.network, backbone.head_name, batch)
    np.testing.assert_allclose(features.values, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert features.labels.tolist() == [index % 3 for index in range(9, -1, -1)]
    assert features.classes == dataset.classes
    assert features.extractor == backbone.extractor
    confidence = logits.softmax(1).max(1).values.mean().item()
    assert features.mean_confidence == pytest.approx(confidence, rel=1e-4)


def test_second_time_nothing_is_computed(backbone, dataset, monkeypatch):
    first = extract_features(backbone, dataset)
    monkeypatch.setattr(module, "center_crops", lambda *_: pytest.fail("computed again"))
    second = extract_features(backbone, dataset)
    assert np.array_equal(first.values, second.values)
    assert first.mean_confidence == second.mean_confidence
    with pytest.raises(pytest.fail.Exception):
        extract_features(backbone, dataset, "val")


def test_a_damaged_cache_entry_is_made_again(backbone, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("KINTUNE_CACHE", str(tmp_path))
    first = extract_features(backbone, dataset)
    kept = np.array(first.values)
    (entry,) = tmp_path.rglob("values.npy")
    entry.write_bytes(entry.read_bytes()[:-10])
    assert np.array_equal(extract_features(backbone, dataset).values, kept)


@pytest.mark.parametrize("name", ["values.npy", "outputs.npy", "manifest.json", "checksums.json"])
@pytest.mark.parametrize("damage", ["empty", "changed", "missing"])
def test_damaged_features_are_made_again(
    backbone, dataset, tmp_path, monkeypatch, capsys, name, damage
):
    monkeypatch.setenv("KINTUNE_CACHE", str(tmp_path))
    kept = np.array(extract_features(backbone, dataset).values)
    (path,) = tmp_path.rglob(name)
    content = bytearray(path.read_bytes())
    content[-2] ^= 64
    path.write_bytes(b"" if damage == "empty" else content)
    if damage == "missing":
        path.unlink()
    assert np.array_equal(extract_features(backbone, dataset).values, kept)
    assert "the features are made again" in capsys.readouterr().err
    assert np.array_equal(extract_features(backbone, dataset).values, kept)
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_an_error_that_names_the_cache(backbone, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("KINTUNE_CACHE", str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(DataError, match=f"{tmp_path}.*KINTUNE_CACHE"):
            extract_features(backbone, dataset)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_values_are_mapped_from_a_file_and_read_in_parts(backbone, dataset, monkeypatch):
    features = extract_features(backbone, dataset)
    assert isinstance(features.values, np.memmap)
    monkeypatch.setattr(module, "CHUNK_ROWS", 4)
    parts = [np.array(values) for _, values in features.chunks()]
    assert [len(part) for part in parts] == [4, 4, 2]
    assert np.array_equal(np.concatenate(parts), features.values)


def test_entropy_of_the_heads_outputs(backbone, dataset):
    features = extract_features(backbone, dataset)
    batch = normalized(center_crops(dataset.images, dataset.splits["train"], 32), backbone.input)
    with torch.inference_mode():
        shares = backbone.network(batch).softmax(1)
    expected = -(shares * shares.log()).sum(1).mean().item()
    assert features.mean_entropy == pytest.approx(expected, rel=1e-4)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """Fresh process: class means of 1.2 GB of mapped features, read in parts."""
    script = """
import resource, sys
import numpy as np
from kintune.similarity.features import Features
from kintune.similarity.prototypes import class_prototypes
n, d = 300_000, 1024
values = np.lib.format.open_memmap(sys.argv[1], "w+", np.float32, (n, d))
del values
features = Features(
    values=np.load(sys.argv[1], mmap_mode="r"),
    labels=np.arange(n) % 7,
    classes=tuple("abcdefg"),
    extractor="x",
)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
class_prototypes(features)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    path = tmp_path / "values.npy"
    ran = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) < 200 * 1024  # KiB; the features are 1.2 GB


def test_random_weights_are_not_cached(backbone, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("KINTUNE_CACHE", str(tmp_path))
    extract_features(dataclasses.replace(backbone, weights_sha256=""), dataset)
    assert not list((tmp_path / "features").rglob("*"))


def test_without_a_source_head_there_is_no_confidence(backbone, dataset):
    headless = dataclasses.replace(backbone, num_source_classes=None)
    assert extract_features(headless, dataset).mean_confidence is None


def test_the_network_is_left_as_it_was(dataset):
    backbone = load_backbone("pocket", pretrained=False)
    backbone.network.train()
    before = {name: tensor.clone() for name, tensor in backbone.network.state_dict().items()}
    extract_features(backbone, dataset)
    assert backbone.network.training
    after = backbone.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_an_empty_split(backbone, dataset):
    with pytest.raises(DataError, match="no images in its test split"):
        extract_features(backbone, dataset, "test")


def test_images_decoded_for_another_size(backbone, dataset):
    other = backbone.input.replace(image_size=64)
    with pytest.raises(IncomparableError, match="decoded at 32 px, pocket needs 64 px"):
        extract_features(dataclasses.replace(backbone, input=other), dataset)


def test_a_cache_that_cannot_be_written(backbone, dataset, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KINTUNE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot be written"):
        extract_features(backbone, dataset)
