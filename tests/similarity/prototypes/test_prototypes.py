import dataclasses
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save
from safetensors.torch import save_file

from kintune.backbones import Backbone, load_backbone
from kintune.base.errors import DataError, IncomparableError, ModelError
from kintune.similarity.features import Features, extract_features
from kintune.similarity.prototypes import (
    SourceSpec,
    class_prototypes,
    head_prototypes,
    load_prototypes,
    save_prototypes,
    source_prototypes,
)
from kintune.similarity.prototypes import source as module


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    """`pocket` as if its random weights had been loaded from a file with three labels."""
    random = load_backbone("pocket", pretrained=False)
    return dataclasses.replace(
        random,
        name="pocket",
        weights_sha256="a" * 64,
        num_source_classes=80,
        source_labels=tuple(f"label {index}" for index in range(80)),
        domain="eighty things",
    )


def features(values, labels, classes=("a", "b", "c")) -> Features:
    return Features(
        values=np.array(values, np.float32),
        labels=np.array(labels, np.int64),
        classes=classes,
        extractor="x",
    )


class TestClassPrototypes:
    def test_means_weights_and_center(self):
        made = class_prototypes(features([[0, 0], [2, 4], [9, 9]], [0, 0, 1]), domain="d")
        assert made.means.tolist() == [[1, 2], [9, 9]]
        assert made.weights.tolist() == pytest.approx([2 / 3, 1 / 3])
        assert made.counts is not None
        assert made.counts.tolist() == [2, 1]
        assert made.classes == ("a", "b")  # c has no image
        assert made.center is not None
        assert made.center.tolist() == pytest.approx([11 / 3, 13 / 3])
        assert (made.origin, made.domain, made.extractor) == ("images", "d", "x")

    def test_small_classes_are_left_out(self):
        made = class_prototypes(features([[0.0], [2.0], [9.0]], [0, 0, 1]), min_images=2)
        assert made.classes == ("a",)
        assert made.weights.tolist() == [1]

    def test_no_class_is_large_enough(self):
        with pytest.raises(DataError, match="no class has 5 images; the largest has 2"):
            class_prototypes(features([[0.0], [2.0]], [0, 0]), min_images=5)

    def test_any_order_and_parts_give_the_same_means(self, monkeypatch):
        rng = np.random.default_rng(0)
        values, labels = rng.normal(size=(50, 3)), rng.integers(0, 3, 50)
        whole = class_prototypes(features(values, labels))
        expected = [values[labels == label].mean(0) for label in range(3)]
        np.testing.assert_allclose(whole.means, expected, rtol=1e-5)
        monkeypatch.setattr("kintune.similarity.features.CHUNK_ROWS", 7)
        np.testing.assert_allclose(class_prototypes(features(values, labels)).means, whole.means)

    def test_small_classes_can_be_left_out_afterwards(self):
        made = class_prototypes(features([[0.0], [2.0], [9.0], [7.0], [5.0]], [0, 0, 1, 2, 2]))
        larger = made.with_min_images(2)
        direct = class_prototypes(
            features([[0.0], [2.0], [9.0], [7.0], [5.0]], [0, 0, 1, 2, 2]), min_images=2
        )
        assert larger.classes == direct.classes == ("a", "c")
        assert larger.weights.tolist() == direct.weights.tolist() == [0.5, 0.5]
        assert larger.center.tolist() == direct.center.tolist()
        assert larger.min_images == 2
        with pytest.raises(DataError, match=r"--min-images 3.*the largest has 2"):
            made.with_min_images(3)

    def test_sums_are_exact_where_float32_sums_are_not(self):
        values = np.full((200_000, 1), 0.1, np.float32)
        made = class_prototypes(features(values, np.zeros(200_000)))
        assert made.means[0, 0] == np.float32(0.1)


class TestHeadPrototypes:
    def test_directions_are_the_centered_rows_around_the_mean_feature(self, backbone):
        made = head_prototypes(backbone)
        rows = backbone.network.get_parameter("fc.weight").detach().double().numpy()
        assert made.center is not None
        directions = made.means - made.center
        np.testing.assert_allclose(directions, rows - rows.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(directions.mean(axis=0), 0, atol=1e-6)
        assert made.weights.sum() == pytest.approx(1)
        assert made.classes == backbone.source_labels
        assert (made.origin, made.domain) == ("head", "eighty things")
        assert made.notes

    def test_without_a_source_head(self, backbone):
        with pytest.raises(ModelError, match=r"no source head.*--source"):
            head_prototypes(dataclasses.replace(backbone, num_source_classes=None))


class TestFile:
    @pytest.mark.parametrize("origin", ["images", "head"])
    def test_round_trip(self, origin, backbone, tmp_path):
        made = (
            head_prototypes(backbone)
            if origin == "head"
            else class_prototypes(features([[0, 0], [2, 4]], [0, 1], ("ä", "b")), domain="d")
        )
        made = dataclasses.replace(made, extractor=backbone.extractor)
        path = tmp_path / "p.safetensors"
        save_prototypes(made, path, backbone)
        read = load_prototypes(path)
        for field in dataclasses.fields(made):
            wanted, got = getattr(made, field.name), getattr(read, field.name)
            if isinstance(wanted, np.ndarray):
                assert np.array_equal(wanted, got), field.name
                assert wanted.dtype == got.dtype, field.name
            else:
                assert wanted == got, field.name

    def test_the_header_says_how_they_came_about(self, backbone, tmp_path):
        made = class_prototypes(features([[0.0], [2.0], [9.0]], [0, 0, 1]), min_images=2)
        made = dataclasses.replace(made, extractor=backbone.extractor)
        path = tmp_path / "p.safetensors"
        save_prototypes(made, path, backbone)
        with safe_open(path, framework="numpy") as file:
            header = file.metadata()
            assert file.get_tensor("counts").tolist() == [2]
        assert header["model"] == "pocket"
        assert header["weights_sha256"] == "a" * 64
        assert json.loads(header["input"]) == backbone.input.to_json()
        assert header["min_images"] == "2"

    def test_prototypes_of_another_network_are_not_written(self, backbone, tmp_path):
        made = class_prototypes(features([[0.0], [2.0]], [0, 1]))
        with pytest.raises(IncomparableError, match="not by"):
            save_prototypes(made, tmp_path / "p.safetensors", backbone)

    def test_other_files_are_refused(self, tmp_path):
        text = tmp_path / "p.safetensors"
        text.write_text("no")
        with pytest.raises(DataError, match=r"p\.safetensors: not a prototype file"):
            load_prototypes(text)
        weights = tmp_path / "weights.safetensors"
        save_file({"w": torch.zeros(2)}, weights)
        with pytest.raises(DataError, match="not a prototype file"):
            load_prototypes(weights)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (lambda arrays, _: arrays["means"].__setitem__((0, 0), 7), "checksum"),
            (lambda arrays, header: None, None),  # as earlier versions wrote it
            (lambda arrays, _: arrays["means"].__setitem__((0, 0), np.nan), "not finite"),
            (lambda arrays, _: arrays.update(weights=np.ones(3)), "not of 2 classes"),
            (lambda arrays, _: arrays.update(weights=np.ones(2)), "no shares"),
            (lambda arrays, _: arrays.update(others=np.ones(2)), "others"),
            (lambda _, header: header.update(classes="2"), "not iterable"),
        ],
    )
    def test_damaged_files_are_refused(self, backbone, tmp_path, change, told):
        path = tmp_path / "p.safetensors"
        made = class_prototypes(features([[0, 0], [2, 4]], [0, 1], ("a", "b")))
        save_prototypes(dataclasses.replace(made, extractor=backbone.extractor), path, backbone)
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name).copy() for name in file.keys()}  # noqa: SIM118
            header = dict(file.metadata())
        if told != "checksum":
            del header["sha256"]
        change(arrays, header)
        path.write_bytes(save(arrays, header))
        if told is None:
            assert load_prototypes(path).classes == ("a", "b")
            return
        with pytest.raises(DataError, match=f"not a prototype file .*{told}"):
            load_prototypes(path)

    @pytest.mark.timeout(20)
    def test_a_fifo_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "p.safetensors")
        with pytest.raises(DataError, match="not a regular file"):
            load_prototypes(tmp_path / "p.safetensors")

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(DataError, match="not a prototype file"):
            load_prototypes(tmp_path / "nothing.safetensors")


class TestSource:
    def test_a_file_of_the_same_extractor(self, backbone, tmp_path):
        path = tmp_path / "p.safetensors"
        save_prototypes(
            dataclasses.replace(head_prototypes(backbone), domain="mine"), path, backbone
        )
        assert source_prototypes(backbone, SourceSpec(path=path)).domain == "mine"

    def test_a_file_of_another_extractor_names_both(self, backbone, tmp_path):
        path = tmp_path / "p.safetensors"
        save_prototypes(head_prototypes(backbone), path, backbone)
        other = dataclasses.replace(backbone, weights_sha256="b" * 64)
        with pytest.raises(IncomparableError) as caught:
            source_prototypes(other, SourceSpec(path=path))
        assert backbone.extractor in str(caught.value)
        assert other.extractor in str(caught.value)

    def test_a_folder_of_images(self, backbone, tmp_path):
        rng = np.random.default_rng(0)
        for name, count in (("cat", 5), ("dog", 10)):
            (tmp_path / "pets" / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{index}.png")
        made = source_prototypes(backbone, SourceSpec(path=tmp_path / "pets"))
        assert (made.classes, made.domain, made.origin) == (("cat", "dog"), "pets", "images")
        assert made.weights.tolist() == pytest.approx([1 / 3, 2 / 3])
        assert made.extractor == backbone.extractor
        assert made.counts is not None
        assert made.counts.tolist() == [5, 10]

    def test_a_folder_may_hold_one_image_of_a_class_and_files_to_skip(self, backbone, tmp_path):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / name).mkdir(parents=True)
            Image.new("RGB", (40, 40), "red").save(tmp_path / "pets" / name / "0.png")
        (tmp_path / "pets" / "dog" / "1.png").write_text("no image")
        with pytest.raises(DataError, match="cannot be read"):
            source_prototypes(backbone, SourceSpec(path=tmp_path / "pets"))
        made = source_prototypes(backbone, SourceSpec(path=tmp_path / "pets", skip_unreadable=True))
        assert made.counts is not None
        assert made.counts.tolist() == [1, 1]
        assert made.notes == ("pets: left out 1 unreadable file",)

    def test_a_folder_goes_through_the_network_on_the_device(self, backbone, tmp_path, monkeypatch):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / name).mkdir(parents=True)
            Image.new("RGB", (40, 40), "blue").save(tmp_path / "pets" / name / "0.png")
        devices: list[str] = []

        def extract(backbone, dataset, *, device):
            devices.append(device)
            return extract_features(backbone, dataset)

        monkeypatch.setattr(module, "extract_features", extract)
        source_prototypes(backbone, SourceSpec(path=tmp_path / "pets"), device="cuda:1")
        assert devices == ["cuda:1"]

    def test_shipped_prototypes_serve_the_network_they_belong_to(
        self, backbone, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(module, "POCKET_PROTOTYPES", tmp_path / "shipped.safetensors")
        assert source_prototypes(backbone).domain == "eighty things"
        shipped = dataclasses.replace(head_prototypes(backbone), domain="shipped")
        save_prototypes(shipped, tmp_path / "shipped.safetensors", backbone)
        assert source_prototypes(backbone).domain == "shipped"
        fine_tuned = dataclasses.replace(backbone, weights_sha256="b" * 64)
        assert source_prototypes(fine_tuned).domain == "eighty things"

    def test_the_head_can_be_asked_for(self, backbone, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "POCKET_PROTOTYPES", tmp_path / "shipped.safetensors")
        shipped = dataclasses.replace(head_prototypes(backbone), domain="shipped")
        save_prototypes(shipped, tmp_path / "shipped.safetensors", backbone)
        assert source_prototypes(backbone, SourceSpec(origin="head")).domain == "eighty things"

    def test_a_head_has_no_images_to_count(self, backbone):
        with pytest.raises(DataError, match=r"--min-images 5.*head"):
            source_prototypes(backbone, SourceSpec(min_images=5, origin="head"))

    def test_images_without_classes_are_grouped(self, backbone, tmp_path):
        for index, color in enumerate(["red"] * 6 + ["blue"] * 3):
            (tmp_path / "flat").mkdir(exist_ok=True)
            image = Image.new("RGB", (40, 40), color)
            image.putpixel((index, 0), (255, 255, 255))
            image.save(tmp_path / "flat" / f"{index}.png")
        made = source_prototypes(backbone, SourceSpec(path=tmp_path / "flat", clusters=2))
        assert made.origin == "clusters"
        assert sorted(made.counts.tolist()) == [3, 6]
        assert "2 k-means clusters" in made.notes[0]
