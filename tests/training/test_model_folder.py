import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from kintune.backbones import load_backbone, with_new_head
from kintune.base.errors import ModelError
from kintune.training import evaluate_model_folder, load_model_folder, write_model_folder

CLASSES = ("cat", "dog", "eel")


@pytest.fixture
def folder(backbone, tmp_path):
    write_model_folder(tmp_path, with_new_head(backbone, 3, seed=1), backbone, CLASSES)
    return tmp_path


def test_loads_what_was_written(folder, backbone):
    model = load_model_folder(folder)

    images = torch.linspace(-1, 1, 2 * 3 * 16 * 16).view(2, 3, 16, 16)
    expected = with_new_head(backbone, 3, seed=1).eval()(images)
    assert torch.equal(model.network(images), expected)
    assert not model.network.training
    assert model.classes == CLASSES
    assert model.input == backbone.input


def test_is_a_backbone_for_the_next_fine_tuning(folder, backbone):
    again = load_backbone("pocket", weights=folder / "model.safetensors")

    assert again.num_source_classes == 3
    assert again.source_labels == CLASSES
    assert again.input == backbone.input


@pytest.mark.timeout(120)
def test_timm_loads_the_weights_of_a_timm_network(tmp_path):
    import timm

    source = load_backbone("mobilenetv2_035", pretrained=False)
    write_model_folder(tmp_path, with_new_head(source, 3, seed=0), source, CLASSES)

    facts = json.loads((tmp_path / "model.json").read_text())
    network = timm.create_model(
        facts["architecture"], num_classes=facts["num_classes"], **facts["model_kwargs"]
    )
    network.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    assert facts["labels"] == list(CLASSES)


def test_keeps_any_json_value_as_an_argument_of_the_architecture(backbone, tmp_path):
    kwargs = {"layers": [3, 4, 6, 3], "act_layer": None, "block_args": {"attn_layer": "se"}}
    given = dataclasses.replace(backbone, model_kwargs=kwargs)

    write_model_folder(tmp_path, with_new_head(backbone, 3, seed=1), given, CLASSES)

    assert json.loads((tmp_path / "model.json").read_text())["model_kwargs"] == kwargs


def test_names_what_is_missing(tmp_path):
    with pytest.raises(ModelError, match=r"not a model folder.*model\.json"):
        load_model_folder(tmp_path)


def test_names_what_is_wrong_in_the_description(folder):
    facts = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**facts, "crop_pct": 2, "num_classes": "x"}))

    with pytest.raises(ModelError, match=r"num_classes.*crop_pct"):
        load_model_folder(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": ["a"]}, "1 labels, but the head has 3 rows"),
        ({"labels": []}, "0 labels, but the head has 3 rows"),
        ({"labels": [*CLASSES, "x"]}, "4 labels, but the head has 3 rows"),
        ({"labels": None}, "lacks labels"),
        ({"num_classes": 4}, "num_classes is 4, but the head has 3 rows"),
        ({"std": [0, 0, 0]}, "above 0"),
        ({"std": [-1, -1, -1]}, "above 0"),
        ({"mean": [1e300] * 3}, "mean"),
        ({"input_size": [1, 32, 32]}, r"only \[3, s, s\]"),
        ({"input_size": [3, 32, 64]}, r"only \[3, s, s\]"),
        ({"architecture": "no_such_network"}, "no network of this name"),
        ({"architecture": None}, "lacks architecture"),
        ({"model_kwargs": {"width": 2}}, "width=2: cannot be built"),
        ({"lables": ["a"], "labels": None}, "Write labels"),
    ],
)
def test_refuses_what_load_backbone_refuses(change, said, folder):
    facts = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**facts, **change}))

    with pytest.raises(ModelError, match=said):
        load_model_folder(folder)


def test_refuses_weights_that_are_not_finite(folder):
    weights = load_file(folder / "model.safetensors")
    weights["fc.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors")

    with pytest.raises(ModelError, match=r"fc\.weight are NaN"):
        load_model_folder(folder)


@pytest.mark.parametrize("name", ["best", "model"])
def test_takes_the_output_folder_or_the_weights_for_the_model(name, folder, tmp_path):
    output = tmp_path / "output"
    (output / name).mkdir(parents=True)
    for file in ("model.safetensors", "model.json"):
        (folder / file).rename(output / name / file)

    for path in (output, output / name, output / name / "model.safetensors"):
        assert load_model_folder(path).classes == CLASSES


def test_names_weights_that_are_no_safetensors_file(folder):
    (folder / "model.safetensors").write_bytes(b"nothing")

    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_model_folder(folder)


def test_names_weights_of_another_network(folder):
    save_file({"stem.weight": torch.zeros(3)}, folder / "model.safetensors")

    with pytest.raises(ModelError, match="another network"):
        load_model_folder(folder)


def test_refuses_to_evaluate_on_other_classes(folder, dataset):
    with pytest.raises(ModelError, match="classes"):
        evaluate_model_folder(folder, dataset, "val")
