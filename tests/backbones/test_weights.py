import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from kintune.backbones.pocket import PocketNet
from kintune.backbones.weights import load_weights, read_weights, weights_sha256
from kintune.errors import ModelError


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("/proc/should-never-run",)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": weights},
        lambda weights: {f"module.{name}": tensor for name, tensor in weights.items()},
        lambda weights: {"state_dict": {f"module.{n}": t for n, t in weights.items()}},
    ],
)
def test_every_form_of_a_checkpoint_gives_the_same_weights(
    wrap, pocket_weights, pocket_file, tmp_path
):
    torch.save(wrap(pocket_weights), tmp_path / "checkpoint.pth")
    hashes = set()
    for path in (pocket_file, tmp_path / "checkpoint.pth"):
        network = PocketNet(7)
        assert load_weights(network, read_weights(path), "fc")
        hashes.add(weights_sha256(network))
    assert len(hashes) == 1


def test_the_hash_is_of_values_not_of_layout_or_batch_counters(pocket_weights):
    network = PocketNet(7)
    network.load_state_dict(pocket_weights)
    expected = weights_sha256(network)
    network.get_buffer("norm.num_batches_tracked").add_(5)
    assert weights_sha256(network.to(memory_format=torch.channels_last)) == expected
    with torch.no_grad():
        network.fc.bias[0] += 1e-3
    assert weights_sha256(network) != expected


def test_a_file_that_would_run_code_is_refused_and_does_not_run_it(tmp_path):
    path = tmp_path / "bad.pth"
    path.write_bytes(pickle.dumps({"state_dict": RunsCode()}))
    with pytest.raises(ModelError, match=r"bad\.pth.*unpickling.*safetensors"):
        read_weights(path)
    torch.save({"state_dict": RunsCode()}, path)
    with pytest.raises(ModelError, match="unpickling"):
        read_weights(path)


@pytest.mark.parametrize("name", ["text.safetensors", "text.pth"])
def test_a_file_that_holds_no_weights(name, tmp_path):
    (tmp_path / name).write_text("these are not weights")
    with pytest.raises(ModelError, match=name):
        read_weights(tmp_path / name)


def test_a_cut_safetensors_file(pocket_file):
    pocket_file.write_bytes(pocket_file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        read_weights(pocket_file)


def test_a_checkpoint_of_other_things(tmp_path):
    torch.save({"epoch": 3, "loss": 0.1}, tmp_path / "log.pth")
    with pytest.raises(ModelError, match="no tensors: epoch, loss"):
        read_weights(tmp_path / "log.pth")


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        read_weights(tmp_path / "nothing.safetensors")


def test_weights_of_another_shape_name_the_tensors_and_count_the_rest(pocket_weights, tmp_path):
    weights = dict(pocket_weights)
    weights["stem.weight"] = torch.zeros(16, 3, 5, 5)
    del weights["norm.weight"], weights["norm.bias"]
    weights["extra.weight"] = torch.zeros(2)
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(ModelError) as caught:
        load_weights(PocketNet(7), read_weights(tmp_path / "other.safetensors"), "fc")
    text = str(caught.value)
    assert "stem.weight: [16, 3, 5, 5] in the file, [16, 3, 3, 3] in the network" in text
    assert "1 tensors of another shape" in text
    assert "2 missing from the file, e.g. norm.bias, norm.weight" in text
    assert "1 unexpected in the file, e.g. extra.weight" in text


def test_half_a_head_is_not_a_missing_head(pocket_weights, tmp_path):
    weights = {name: tensor for name, tensor in pocket_weights.items() if name != "fc.bias"}
    save_file(weights, tmp_path / "half.safetensors")
    with pytest.raises(ModelError, match=r"1 missing from the file, e\.g\. fc\.bias"):
        load_weights(PocketNet(7), read_weights(tmp_path / "half.safetensors"), "fc")
