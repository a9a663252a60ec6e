import json
import os

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from kintune.backbones import (
    BackboneOverrides,
    build_network,
    load_backbone,
    normalized,
    penultimate_features,
    randomly_initialized,
    with_new_head,
)
from kintune.base.errors import ModelError, OptionError
from kintune.runs.inputs import InputSpec


class TestWhatIsKnown:
    def test_sidecar(self, pocket_file, describe):
        (pocket_file.parent / "names.txt").write_text("a\nb\nc\nd\ne\nf\ng\n")
        describe(
            architecture="pocket",
            mean=[0.1, 0.2, 0.3],
            std=[0.4, 0.5, 0.6],
            input_size=[3, 40, 40],
            crop_pct=0.8,
            interpolation="bicubic",
            label_file="names.txt",
            source="seven things",
            made_by="somebody",
        )
        backbone = load_backbone("pocket", weights=pocket_file)
        assert backbone.input == InputSpec(
            image_size=40,
            mean=(0.1, 0.2, 0.3),
            std=(0.4, 0.5, 0.6),
            crop_pct=0.8,
            interpolation="bicubic",
        )
        assert backbone.domain == "seven things"
        assert backbone.source_labels == tuple("abcdefg")
        assert backbone.num_source_classes == 7
        assert backbone.num_features == 192
        assert backbone.warnings == ()
        assert any(note.endswith("mine.json: made_by.") for note in backbone.notes)

    def test_flags_go_before_sidecar_before_header_before_defaults(
        self, pocket_weights, pocket_file, describe
    ):
        header = {
            "mean": "[0.3, 0.3, 0.3]",
            "std": "[0.3, 0.3, 0.3]",
            "crop_pct": "0.3",
            "source": "1001",
            "format": "pt",
        }
        save_file(pocket_weights, pocket_file, metadata=header)
        describe(mean=[0.2, 0.2, 0.2], std=[0.2, 0.2, 0.2])
        backbone = load_backbone(
            "pocket", weights=pocket_file, overrides=BackboneOverrides(mean=(0.1, 0.1, 0.1))
        )
        assert backbone.input.mean == (0.1, 0.1, 0.1)
        assert backbone.input.std == (0.2, 0.2, 0.2)
        assert backbone.input.crop_pct == 0.3
        assert backbone.input.interpolation == "bilinear"
        assert backbone.domain == "1001"
        notes = "\n".join(backbone.notes)
        assert "From the flags: mean [0.1, 0.1, 0.1]." in notes
        assert "mine.json: std [0.2, 0.2, 0.2]." in notes
        assert "mine.safetensors: crop_pct 0.3." in notes
        assert "From kintune's defaults for pocket: input_size [3, 32, 32]" in notes

    def test_guessed_statistics_are_warned_of(self, pocket_file):
        [warning] = load_backbone("pocket", weights=pocket_file).warnings
        assert "mean and std" in warning
        assert "mine.json" in warning

    def test_without_a_name_the_file_names_its_domain_and_classes_are_numbered(self, pocket_file):
        backbone = load_backbone("pocket", weights=pocket_file)
        assert backbone.domain == "mine"
        assert backbone.source_labels[-1] == "class 6"

    def test_labels_must_fit_the_head(self, pocket_file, describe):
        describe(labels=["a", "b"])
        with pytest.raises(ModelError, match=r"mine\.json: 2 labels, but the head has 7 rows"):
            load_backbone("pocket", weights=pocket_file)

    def test_label_file_by_flag(self, pocket_file, tmp_path):
        (tmp_path / "labels.txt").write_text("\n".join("gfedcba"))
        backbone = load_backbone(
            "pocket",
            weights=pocket_file,
            overrides=BackboneOverrides(labels=tmp_path / "labels.txt"),
        )
        assert backbone.source_labels == tuple("gfedcba")

    def test_all_faults_of_a_sidecar_at_once(self, pocket_file, describe):
        describe(mean=[0.5], crop_pct=3)
        with pytest.raises(ModelError, match=r"mine\.json: mean.*crop_pct"):
            load_backbone("pocket", weights=pocket_file)

    @pytest.mark.parametrize(
        ("facts", "said"),
        [
            ({"std": [0.5, 0, 0.5]}, "above 0"),
            ({"input_size": [1, 32, 32]}, r"only \[3, s, s\]"),
            ({"input_size": [3, 32, 48]}, r"only \[3, s, s\]"),
            ({"architecture": "resnet50.a1_in1k"}, "Pass --model resnet50.a1_in1k"),
            ({"std": [-1, -1, -1]}, "above 0"),
            ({"std": [1e-30, 1, 1]}, "divide values for 0 to 255 by 255"),
            ({"std": [58, 57, 57]}, "divide values for 0 to 255 by 255"),
            ({"mean": [123, 116, 103]}, "divide values for 0 to 255 by 255"),
            ({"mean": [1e300] * 3}, "mean"),
            ({"mean": [float("nan")] * 3}, "mean"),
            ({"mean": "0.5"}, "mean"),
            ({"input_size": [3, 0, 0]}, "8 to 4096"),
            ({"input_size": [3, 100000, 100000]}, "8 to 4096"),
            ({"input_size": [3, 32]}, "input_size"),
            ({"crop_pct": 1e-9}, "crop_pct"),
            ({"interpolation": "best"}, "interpolation"),
            ({"num_classes": 8}, "num_classes is 8, but the head has 7 rows"),
            ({"labels": "abcdefg"}, "labels"),
            ({"label": ["a"] * 7}, "unknown key label. Write labels"),
            ({"model_kwargs": ["a"]}, "model_kwargs"),
            ({"label_file": "nowhere.txt"}, r"nowhere\.txt"),
            ({"label_file": "../secret.txt"}, "outside the folder"),
            ({"label_file": "/etc/passwd"}, "outside the folder"),
            ({"label_file": "link.txt"}, "outside the folder"),
            ({"label_file": "folder/secret.txt"}, "outside the folder"),
            ({"label_file": "a\0b"}, "outside the folder|cannot be read"),
            ({"label_file": "."}, "cannot be read"),
        ],
    )
    def test_facts_that_cannot_be_used(self, facts, said, pocket_weights, tmp_path):
        (tmp_path / "model").mkdir()
        pocket_file = tmp_path / "model/mine.safetensors"
        save_file(pocket_weights, pocket_file)
        (tmp_path / "secret.txt").write_text("a\nb\nc\nd\ne\nf\ng\n")
        (tmp_path / "model/link.txt").symlink_to(tmp_path / "secret.txt")
        (tmp_path / "model/folder").symlink_to(tmp_path)
        pocket_file.with_suffix(".json").write_text(json.dumps(facts))
        with pytest.raises(ModelError, match=said):
            load_backbone("pocket", weights=pocket_file)

    def test_the_label_file_of_a_header_stays_in_the_folder_too(self, pocket_weights, pocket_file):
        save_file(pocket_weights, pocket_file, metadata={"label_file": "../secret.txt"})
        with pytest.raises(ModelError, match="outside the folder"):
            load_backbone("pocket", weights=pocket_file)

    @pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe{", b"[" * 100_000])
    def test_a_sidecar_that_is_not_json(self, content, pocket_file):
        pocket_file.with_suffix(".json").write_bytes(content)
        with pytest.raises(ModelError, match=r"mine\.json: cannot be read as JSON"):
            load_backbone("pocket", weights=pocket_file)

    @pytest.mark.parametrize("content", ["[]", "3", "null"])
    def test_a_sidecar_that_is_no_object(self, content, pocket_file):
        pocket_file.with_suffix(".json").write_text(content)
        with pytest.raises(ModelError, match=r"mine\.json: record"):
            load_backbone("pocket", weights=pocket_file)

    def test_a_sidecar_that_is_no_file(self, pocket_file):
        os.mkfifo(pocket_file.with_suffix(".json"))
        with pytest.raises(ModelError, match=r"mine\.json: not a file"):
            load_backbone("pocket", weights=pocket_file)

    def test_a_file_as_the_model_names_its_architecture(self, pocket_file, describe):
        describe(architecture="pocket")
        by_file = load_backbone(str(pocket_file))
        by_name = load_backbone("pocket", weights=pocket_file)
        assert by_file.name == "pocket"
        assert by_file.weights_path == by_name.weights_path == pocket_file
        assert by_file.weights_sha256 == by_name.weights_sha256
        with pytest.raises(OptionError, match="omit --weights"):
            load_backbone(str(pocket_file), weights=pocket_file.with_name("other.pth"))

    def test_a_file_that_does_not_name_its_architecture(self, pocket_file):
        with pytest.raises(ModelError, match="--model NAME --weights"):
            load_backbone(str(pocket_file))

    def test_a_missing_file_as_the_model(self, tmp_path):
        with pytest.raises(ModelError, match="no such file"):
            load_backbone(str(tmp_path / "missing.safetensors"))

    def test_weights_that_give_no_numbers(self, pocket_weights, pocket_file):
        save_file(
            dict(pocket_weights) | {"norm.running_var": torch.full((192,), -1.0)}, pocket_file
        )
        with pytest.raises(ModelError, match=r"mine\.safetensors.*NaN or infinite"):
            load_backbone("pocket", weights=pocket_file)

    def test_model_arguments_are_merged_key_by_key(self, pocket_file, describe):
        describe(model_kwargs={"a": 1, "b": 2})
        with pytest.raises(ModelError, match=r"--model-kwargs a=1, b=3: cannot be built"):
            load_backbone(
                "pocket", weights=pocket_file, overrides=BackboneOverrides(model_kwargs=("b=3",))
            )

    @pytest.mark.parametrize("pair", ["pad_type", "=same", "two words=1"])
    def test_model_arguments_are_pairs(self, pair):
        with pytest.raises(OptionError, match="expected key=value"):
            load_backbone(
                "pocket", pretrained=False, overrides=BackboneOverrides(model_kwargs=(pair,))
            )

    @pytest.mark.parametrize("key", ["checkpoint_path", "num_classes", "pretrained"])
    def test_model_arguments_load_no_other_weights(self, key):
        with pytest.raises(ModelError, match=f"{key} cannot be given here"):
            build_network("pocket", {key: "x"}, 3)

    def test_flags_are_checked(self):
        for size in (0, 4, 5000, 2**64):
            with pytest.raises(ValidationError, match="image_size"):
                BackboneOverrides(image_size=size)


class TestHead:
    def test_rows_are_read_from_the_file(self, pocket_weights, tmp_path):
        weights = dict(pocket_weights)
        weights["fc.weight"], weights["fc.bias"] = torch.randn(5, 192), torch.zeros(5)
        save_file(weights, tmp_path / "five.safetensors")
        backbone = load_backbone("pocket", weights=tmp_path / "five.safetensors")
        assert backbone.num_source_classes == 5
        head = backbone.network.get_submodule(backbone.head_name)
        assert torch.equal(head.get_parameter("weight"), weights["fc.weight"])

    @pytest.mark.parametrize("device", ["cpu", "meta"])
    def test_a_head_larger_than_its_file_is_refused_before_it_is_built(
        self, device, pocket_weights, tmp_path, monkeypatch
    ):
        row = pocket_weights["fc.weight"][:1].to(device)
        head = {"fc.weight": row.expand(10**5, -1), "fc.bias": torch.zeros(10**5)}
        torch.save({**pocket_weights, **head}, tmp_path / "w.pth")

        def build(model, model_kwargs, num_classes=None):
            assert num_classes is None
            return build_network(model, model_kwargs)

        monkeypatch.setattr("kintune.backbones.backbone.build_network", build)
        with pytest.raises(ModelError, match=r"fc\.weight is not a plain tensor"):
            load_backbone("pocket", weights=tmp_path / "w.pth")

    def test_a_missing_head_is_said(self, pocket_weights, tmp_path):
        body = {name: t for name, t in pocket_weights.items() if not name.startswith("fc.")}
        save_file(body, tmp_path / "body.safetensors")
        backbone = load_backbone("pocket", weights=tmp_path / "body.safetensors")
        assert backbone.num_source_classes is None
        assert backbone.source_labels == ()
        assert any("head was not loaded" in warning for warning in backbone.warnings)

    def test_a_sidecar_may_say_that_there_is_no_head(self, pocket_weights, tmp_path):
        body = {name: t for name, t in pocket_weights.items() if not name.startswith("fc.")}
        save_file(body, tmp_path / "body.safetensors")
        (tmp_path / "body.json").write_text(json.dumps({"num_classes": 0}))
        backbone = load_backbone("pocket", weights=tmp_path / "body.safetensors")
        assert backbone.num_source_classes is None

    def test_a_new_head_is_drawn_from_its_seed_and_leaves_the_backbone_alone(self, pocket_file):
        backbone = load_backbone("pocket", weights=pocket_file)
        before = backbone.network.get_submodule("fc")
        network = with_new_head(backbone, 400, seed=1)
        head = network.get_submodule("fc")
        weight = head.get_parameter("weight")
        assert weight.shape == (400, 192)
        assert weight.std().item() == pytest.approx(0.01, rel=0.02)
        assert weight.mean().item() == pytest.approx(0, abs=1e-4)
        assert not head.get_parameter("bias").any()
        assert weight.requires_grad
        again = with_new_head(backbone, 400, seed=1).get_submodule("fc")
        assert torch.equal(again.get_parameter("weight"), weight)
        other = with_new_head(backbone, 400, seed=2).get_submodule("fc")
        assert not torch.equal(other.get_parameter("weight"), weight)
        assert backbone.network.get_submodule("fc") is before
        with torch.no_grad():
            network.get_parameter("stem.weight").zero_()
        assert backbone.network.get_parameter("stem.weight").any()

    def test_features_are_the_input_of_the_head(self, pocket_file):
        backbone = load_backbone("pocket", weights=pocket_file)
        with torch.inference_mode():
            features, logits = penultimate_features(
                backbone.network, backbone.head_name, torch.randn(3, 3, 32, 32)
            )
            assert features.shape == (3, 192)
            assert torch.allclose(backbone.network.get_submodule("fc")(features), logits)


class TestRandomWeights:
    def test_no_global_random_state_changes(self, pocket_file):
        state = torch.get_rng_state()
        backbone = load_backbone("pocket", weights=pocket_file)
        randomly_initialized(backbone, 4, seed=0)
        with_new_head(backbone, 4, seed=0)
        assert torch.equal(torch.get_rng_state(), state)

    def test_from_scratch_depends_on_the_seed_alone(self, pocket_file):
        backbone = load_backbone("pocket", weights=pocket_file)
        first, again, other = (randomly_initialized(backbone, 4, seed) for seed in (5, 5, 6))
        torch.rand(1)
        name = "stages.0.conv1.weight"
        assert torch.equal(first.get_parameter(name), again.get_parameter(name))
        assert not torch.equal(first.get_parameter(name), other.get_parameter(name))
        assert not torch.equal(first.get_parameter(name), backbone.network.get_parameter(name))
        head = with_new_head(backbone, 4, seed=5).get_parameter("fc.weight")
        assert torch.equal(first.get_parameter("fc.weight"), head)

    def test_have_no_hash_no_classes_and_are_said(self):
        backbone = load_backbone("pocket", pretrained=False)
        assert backbone.weights_sha256 == ""
        assert backbone.num_source_classes is None
        assert backbone.notes[0] == "Random weights."


def test_the_extractor_names_weights_and_input(pocket_file, pocket_weights, tmp_path):
    one = load_backbone("pocket", weights=pocket_file)
    same = load_backbone("pocket", weights=pocket_file)
    larger = load_backbone(
        "pocket", weights=pocket_file, overrides=BackboneOverrides(image_size=40)
    )
    save_file(dict(pocket_weights) | {"fc.bias": torch.ones(7)}, tmp_path / "other.safetensors")
    other = load_backbone("pocket", weights=tmp_path / "other.safetensors")
    assert one.extractor == same.extractor
    assert len({one.extractor, larger.extractor, other.extractor}) == 3
    assert one.extractor.startswith("pocket@32px-")
    assert (larger.input.image_size, larger.pretraining_size) == (40, 32)


def test_normalized():
    spec = InputSpec(image_size=8, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    images = torch.ones(2, 3, 8, 8)
    expected = torch.tensor([1.0, 1.0, 0.0]).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    result = normalized(images, spec)
    assert torch.equal(result, expected)
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalized_is_the_same_of_bytes_and_in_either_layout(layout):
    spec = InputSpec(image_size=8, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
    crops = torch.randint(256, (2, 3, 8, 9), generator=torch.Generator().manual_seed(0))
    images = crops / 255
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (spec.mean, spec.std))
    for given in (images, crops.to(torch.uint8)):
        assert torch.equal(
            normalized(given.contiguous(memory_format=layout), spec), (images - mean) / std
        )


def test_unknown_models_have_near_matches():
    with pytest.raises(ModelError, match=r"mobilnetv2_100.*Near matches: mobilenetv2_100"):
        load_backbone("mobilnetv2_100")
    with pytest.raises(ModelError, match=r"Near matches: torchvision:resnet18"):
        load_backbone("torchvision:resnet19")
    with pytest.raises(ModelError, match="no network of this name"):
        load_backbone("resnet50.no_such_tag")


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "torchvision:swin_t", "mobilevit_xxs"])
def test_transformers_are_refused(model):
    with pytest.raises(ModelError, match="transformers and AdamW are not covered yet"):
        load_backbone(model, pretrained=False, overrides=BackboneOverrides(image_size=32))


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "torchvision:swin_t"])
def test_transformers_are_refused_before_anything_is_downloaded(model):
    with pytest.raises(ModelError, match="transformers and AdamW are not covered yet"):
        load_backbone(model)


def test_a_head_that_cannot_be_replaced_is_refused():
    with pytest.raises(ModelError, match="no head that can be replaced"):
        load_backbone("torchvision:squeezenet1_0", pretrained=False)


def test_an_image_size_that_the_network_does_not_take():
    with pytest.raises(ModelError, match="does not take images of 8 px"):
        load_backbone(
            "torchvision:densenet121", pretrained=False, overrides=BackboneOverrides(image_size=8)
        )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("foo", 1),
        ("act_layer", "os.system"),
        ("norm_layer", "os.system"),
        ("in_chans", "x"),
    ],
)
def test_arguments_that_timm_does_not_take(key, value):
    kwargs = {"drop_path_rate": 0.1, key: value}
    with pytest.raises(ModelError, match=f"--model-kwargs {key}={value}: cannot be built"):
        build_network("mobilenetv2_035", kwargs, 3)


@pytest.mark.parametrize("pair", ["drop_rate=7", "drop_rate=much", "drop_path_rate=7"])
def test_arguments_that_fail_in_training_alone(pair):
    overrides = BackboneOverrides(image_size=32, model_kwargs=(pair,))
    with pytest.raises(ModelError, match=f"--model-kwargs {pair}: cannot be"):
        load_backbone("mobilenetv2_035", pretrained=False, overrides=overrides)


@pytest.mark.parametrize("channels", [1, 4])
def test_networks_of_other_channels_are_told_that_three_are_needed(channels):
    overrides = BackboneOverrides(image_size=32, model_kwargs=(f"in_chans={channels}",))
    with pytest.raises(ModelError, match=f"images of {channels} channels.*three.*omit in_chans"):
        load_backbone("mobilenetv2_035", pretrained=False, overrides=overrides)


def test_weights_named_as_in_torchvision_say_so_to_timm(tmp_path):
    torch.save(build_network("torchvision:mobilenet_v2", {}, 5).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"another network(.|\n)*--model torchvision:mobilenet_v2"):
        load_backbone(
            "mobilenetv2_100",
            weights=tmp_path / "w.pth",
            overrides=BackboneOverrides(image_size=32),
        )


def test_an_image_that_does_not_fit_into_memory(monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")

    monkeypatch.setattr("kintune.backbones.pocket.PocketNet.forward", fail)
    with pytest.raises(ModelError, match="32 px does not fit into memory"):
        load_backbone("pocket", pretrained=False)


@pytest.mark.parametrize(
    ("model", "head"),
    [
        ("mobilenetv2_035", nn.Linear),
        ("resnetv2_18", nn.Conv2d),  # a 1x1 convolution of the pooled features
        ("torchvision:mobilenet_v2", nn.Linear),
    ],
)
def test_heads_of_the_field_can_be_replaced(model, head):
    backbone = load_backbone(model, pretrained=False, overrides=BackboneOverrides(image_size=32))
    network = with_new_head(backbone, 3, seed=0)
    assert isinstance(network.get_submodule(backbone.head_name), head)
    with torch.inference_mode():
        features, logits = penultimate_features(
            network, backbone.head_name, torch.randn(2, 3, 32, 32)
        )
    assert features.shape == (2, backbone.num_features)
    assert logits.shape == (2, 3)
