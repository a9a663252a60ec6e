"""One target and several candidate sources, through the command line's options."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from kintune.backbones import POCKET_WEIGHTS, load_backbone
from kintune.base.errors import DataError, IncomparableError, ModelError, OptionError
from kintune.options import PrototypesOptions, SimilarityOptions
from kintune.similarity import Similarity, SourceRanking
from kintune.similarity.candidates import candidates, measure_candidates, write_prototypes


def write_images(folder, colors, per_class=6, seed=0):
    rng = np.random.default_rng(seed)
    for name, shade in colors.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            pixels = np.clip(shade + rng.normal(0, 25, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three sets: two alike in their colors, one other, and one without class folders."""
    root = tmp_path_factory.mktemp("images")
    red, blue = np.array([200, 40, 40]), np.array([40, 40, 200])
    green, yellow = np.array([40, 200, 40]), np.array([220, 220, 40])
    write_images(root / "target", {"red": red, "blue": blue})
    write_images(root / "alike", {"a": red, "b": blue}, seed=1)
    write_images(root / "other", {"a": green, "b": yellow}, seed=2)
    write_images(root / "flat", {"": red}, per_class=9, seed=3)
    return root


@pytest.fixture(scope="module")
def other_network(tmp_path_factory):
    """`pocket` with changed weights, in a file whose sidecar says what it is."""
    path = tmp_path_factory.mktemp("weights") / "other.safetensors"
    network = load_backbone("pocket").network
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    tensors["fc.weight"] += 0.3
    save_file(tensors, path)
    facts = json.loads(POCKET_WEIGHTS.with_suffix(".json").read_text())
    facts |= {"architecture": "pocket", "source": "elsewhere"}
    path.with_suffix(".json").write_text(json.dumps(facts))
    return path


def similarity(data, **flags) -> Similarity:
    measured = measure_candidates(SimilarityOptions(data=str(data), **flags))
    assert isinstance(measured, Similarity)
    return measured


def ranking(data, **flags) -> SourceRanking:
    measured = measure_candidates(SimilarityOptions(data=str(data), **flags))
    assert isinstance(measured, SourceRanking)
    return measured


class TestWhichCandidates:
    def named(self, **flags):
        found = candidates(SimilarityOptions(data="x", **flags))
        return [
            (each.model, each.weights and str(each.weights), each.source and str(each.source))
            for each in found
        ]

    def test_one_network_with_several_weights(self):
        found = self.named(model="net", weights=(Path("a"), Path("b")))
        assert found == [("net", "a", None), ("net", "b", None)]

    def test_each_network_with_its_weights_and_source(self):
        flags = {"model": ("m", "n"), "weights": (Path("a"), Path("b"))}
        found = self.named(**flags, source=(Path("s"), Path("t")))
        assert found == [("m", "a", "s"), ("n", "b", "t")]

    def test_one_network_and_several_sources(self):
        found = self.named(extractor="net", source=(Path("s"), Path("t")))
        assert found == [("net", None, "s"), ("net", None, "t")]

    def test_a_weights_file_names_its_network(self, other_network):
        found = self.named(model=("pocket", str(other_network)))
        assert found == [("pocket", None, None), ("pocket", str(other_network), None)]

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            ({}, "--model: name at least one"),
            ({"model": ("a", "b", "c"), "weights": (Path("x"), Path("y"))}, "--weights 2 times"),
            ({"extractor": "a", "model": "b"}, "exclude each other"),
            ({"extractor": "a"}, "--source FOLDER"),
            ({"extractor": "a", "weights": ("x", "y"), "source": "s"}, "--weights once"),
        ],
    )
    def test_flags_that_do_not_fit(self, flags, words):
        with pytest.raises(OptionError, match=words):
            self.named(**flags)

    def test_a_weights_file_without_an_architecture(self, tmp_path):
        path = tmp_path / "w.safetensors"
        save_file(load_backbone("pocket").network.state_dict(), path)
        with pytest.raises(ModelError, match="--model NAME --weights"):
            self.named(model=str(path))
        with pytest.raises(OptionError, match="omit --weights"):
            self.named(model=str(path), weights=path)


def test_candidates_are_measured_by_their_heads_and_ranked(images, other_network):
    found = ranking(images / "target", model=("pocket", str(other_network)))
    assert {each.source for each in found.ranked} == {"CIFAR-100, 80 classes", "elsewhere"}
    assert {each.prototypes_from for each in found.ranked} == {"head"}
    values = [each.relative_distance for each in found.ranked]
    assert values == sorted(values)


def test_one_extractor_finds_the_source_that_is_alike(images):
    sources = (images / "other", images / "alike")
    for by in ("relative_distance", "distance"):
        found = ranking(images / "target", extractor="pocket", source=sources, by=by)
        assert [each.source for each in found.ranked] == ["alike", "other"]
        assert len({each.extractor for each in found.ranked}) == 1


def test_a_set_against_itself_is_at_zero(images):
    measured = similarity(images / "target", model="pocket", source=images / "target")
    assert measured.distance == pytest.approx(0, abs=1e-6)
    assert measured.similarity == pytest.approx(1)
    assert measured.relative_distance == pytest.approx(0, abs=1e-6)


def test_flat_folders_are_grouped_on_either_side(images):
    flat = images / "flat"
    measured = similarity(flat, model="pocket", source=flat, clusters=3)
    assert (measured.prototypes_from, measured.target_prototypes_from) == ("clusters", "clusters")
    assert (measured.images, measured.classes) == (9, 3)
    assert measured.relative_distance == pytest.approx(0, abs=1e-6)
    assert similarity(flat, model="pocket").classes == 1  # nine images


def test_clusters_without_anything_to_group_are_refused(images):
    with pytest.raises(OptionError, match="--clusters 3: groups images without class folders"):
        similarity(images / "target", model="pocket", clusters=3)


def test_a_source_of_one_cluster_is_refused(images):
    with pytest.raises(DataError, match="one class only"):
        similarity(images / "target", model="pocket", source=images / "flat")


def test_images_and_heads_are_not_ranked_together(images, other_network, tmp_path):
    head = tmp_path / "head.safetensors"
    from kintune.similarity.prototypes import head_prototypes, save_prototypes

    backbone = load_backbone("pocket")
    save_prototypes(head_prototypes(backbone), head, backbone)
    with pytest.raises(IncomparableError, match="head and images"):
        ranking(images / "target", model="pocket", source=(head, images / "other"))


def test_prototypes_written_once_serve_as_the_source(images, tmp_path):
    path = tmp_path / "alike.safetensors"
    written = write_prototypes(
        PrototypesOptions(data=str(images / "alike"), model="pocket", output=path)
    )
    assert (written.classes, written.images, written.domain) == (2, 12, "alike")
    from_file = similarity(images / "target", model="pocket", source=path)
    from_folder = similarity(images / "target", model="pocket", source=images / "alike")
    assert from_file == from_folder
    with pytest.raises(IncomparableError, match="made by"):
        similarity(images / "target", model="pocket", source=path, mean=(0.4, 0.4, 0.4))


def test_small_source_classes_are_left_out_on_request_and_it_is_recorded(images, tmp_path):
    source = tmp_path / "source"
    write_images(source, {"a": np.array([40, 200, 40]), "b": np.array([220, 220, 40])})
    write_images(source, {"c": np.array([200, 40, 40])}, per_class=2)
    measured = similarity(images / "target", model="pocket", source=source, min_images=3)
    assert measured.min_images == 3
    assert {each.source_class for each in measured.nearest_source_classes} == {"a", "b"}
    assert any("left out 1 classes under 3 images" in note for note in measured.notes)
