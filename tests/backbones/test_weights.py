import argparse
import os
import pathlib
import pickle
import re
import sys
import types
import warnings
from collections import defaultdict, deque

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kintune.backbones.pocket import PocketNet
from kintune.backbones.weights import load_weights, storage_notes, weights_sha256, with_names_of
from kintune.backbones.weights_file import read_weights
from kintune.base.errors import ModelError


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("/proc/should-never-run",)


def prefixed(prefix, weights):
    return {f"{prefix}{name}": tensor for name, tensor in weights.items()}


def loaded(path):
    """A pocket network with a file's weights, and what was said about reading it."""
    network = PocketNet(7)
    file = with_names_of(network, read_weights(path), "fc")
    assert load_weights(network, file, "fc")
    return network, " ".join(file.notes)


def saved(content, path):
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda weights: weights, ""),
        (lambda weights: {"state_dict": weights, "epoch": 3}, ""),
        (lambda weights: {"model": weights}, ""),
        (lambda weights: {"model": {"state_dict": weights}}, ""),
        (lambda weights: {"generator": weights, "epoch": 3}, ""),
        (lambda weights: {**weights, "epoch": 3}, "Ignored what is no tensor .*: epoch"),
        (lambda weights: {"state_dict": weights, "args": argparse.Namespace(lr=0.1)}, ""),
        (lambda weights: {"state_dict": weights, "best": np.float64(3), "n": np.arange(3)}, ""),
        (lambda weights: {"state_dict": weights, "out": pathlib.Path("runs")}, ""),
        (lambda weights: {"state_dict": weights, "hub": defaultdict(list, a=[1])}, ""),
        (lambda weights: {"state_dict": weights, "last": deque([1, 2]), "c": slice(2)}, ""),
        (lambda weights: {"state_dict": weights, "a": frozenset([1]), "b": range(3)}, ""),
        (lambda weights: {"state_dict": weights, "args": types.SimpleNamespace(lr=0.1)}, ""),
        *(
            (lambda weights, prefix=prefix: prefixed(prefix, weights), f"Prefix {prefix} taken off")
            for prefix in ("module.", "model.", "backbone.", "net.", "model.net.module.encoder.")
        ),
        (lambda weights: prefixed("_orig_mod.", weights), ""),
        (lambda weights: prefixed("model._orig_mod.", weights), r"Prefix model\. taken off"),
        (lambda weights: {"state_dict": prefixed("module.", weights)}, "Prefix module"),
        (
            lambda weights: {**prefixed("backbone.", weights), "loss.scale": torch.ones(2)},
            r"Ignored 1 tensors of other modules, e\.g\. loss\.scale",
        ),
        (
            lambda weights: {n.replace("conv1", "_orig_mod.conv1"): t for n, t in weights.items()},
            "",
        ),
        (lambda weights: {n: t.double() for n, t in weights.items()}, ""),
    ],
)
def test_every_form_of_a_checkpoint_gives_the_same_weights(
    wrap, said, pocket_weights, pocket_file, tmp_path
):
    network, notes = loaded(saved(wrap(pocket_weights), tmp_path / "checkpoint.pth"))
    assert weights_sha256(network) == weights_sha256(loaded(pocket_file)[0])
    assert re.search(said, notes) if said else not notes


@pytest.mark.parametrize(
    "name", ["mmengine.logging.history_buffer.HistoryBuffer", "omegaconf.base.Metadata"]
)
def test_objects_of_other_packages_beside_the_weights_are_not_made(
    name, pocket_weights, tmp_path, monkeypatch
):
    module, _, kind = name.rpartition(".")
    made = type(kind, (), {"__module__": module})
    beside = made()
    beside.content = [1, {"a": None}]
    with monkeypatch.context() as installed:
        installed.setitem(sys.modules, module.partition(".")[0], types.SimpleNamespace())
        installed.setitem(sys.modules, module, types.SimpleNamespace(**{kind: made}))
        path = saved({"state_dict": pocket_weights, "beside": beside}, tmp_path / "w.pth")
    assert loaded(path)[1] == ""


def test_the_content_tells_the_format(pocket_file, pocket_weights, tmp_path):
    expected = weights_sha256(loaded(pocket_file)[0])
    pocket_file.rename(tmp_path / "a.pth")
    saved(pocket_weights, tmp_path / "b.safetensors")
    for name in ("a.pth", "b.safetensors"):
        assert weights_sha256(loaded(tmp_path / name)[0]) == expected


@pytest.mark.parametrize(
    "wrap",
    [
        lambda plain, averaged: {"state_dict": plain, "state_dict_ema": averaged},
        lambda plain, averaged: {"model": plain, "model_ema": prefixed("module.", averaged)},
        lambda plain, averaged: {
            "state_dict": prefixed("model.", plain) | prefixed("model_ema.module.", averaged)
        },
    ],
)
def test_averaged_weights_go_first_and_that_is_said(wrap, pocket_weights, tmp_path):
    averaged = {name: tensor + 1 for name, tensor in pocket_weights.items()}
    network, notes = loaded(saved(wrap(pocket_weights, averaged), tmp_path / "both.pth"))
    assert torch.equal(network.fc.bias.detach(), averaged["fc.bias"])
    assert re.search("taken.*ema.*also", notes) or re.search("ema.* taken.*also", notes)


def test_an_unused_entry_for_averaged_weights_is_passed_over(pocket_weights, tmp_path):
    content = {"model": pocket_weights, "model_ema": None, "optimizer": {"state": {}}}
    network, notes = loaded(saved(content, tmp_path / "c.pth"))
    assert torch.equal(network.fc.bias.detach(), pocket_weights["fc.bias"])
    assert notes == ""


def test_two_networks_in_one_file_are_not_chosen_between(pocket_weights, tmp_path):
    both = prefixed("student.", pocket_weights) | prefixed("teacher.", pocket_weights)
    with pytest.raises(ModelError, match=r"2 times, with the prefixes 'student\.', 'teacher\.'"):
        loaded(saved(both, tmp_path / "both.pth"))
    nested = {"student": pocket_weights, "teacher": pocket_weights}
    with pytest.raises(ModelError, match="several dictionaries of tensors: student, teacher"):
        read_weights(saved(nested, tmp_path / "nested.pth"))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_used_as_float32_and_said(kind, pocket_weights, tmp_path):
    path = saved({n: t.to(kind) for n, t in pocket_weights.items()}, tmp_path / "w.pth")
    network, _ = loaded(path)
    assert network.fc.weight.dtype == torch.float32
    notes = storage_notes(read_weights(path))
    assert notes == (f"Weights stored as {str(kind)[6:]} are used as float32.",)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.full((7,), float("nan")), "7 of the 7 values of fc.bias are NaN or infinite"),
        (torch.tensor([0, float("inf"), 0, 0, 0, 0, 0]), "1 of the 7 values"),
        (torch.full((7,), 1e300, dtype=torch.float64), "7 of the 7 values"),
        (torch.zeros(7, dtype=torch.int8), "fc.bias: int8 in the file, float32 in the network"),
        (torch.zeros(7, dtype=torch.complex64), "complex64 in the file"),
        (torch.zeros(7).to_sparse(), "not a plain tensor"),
        (torch.zeros(7, device="meta"), "not a plain tensor"),
        (torch.zeros(1).expand(7), "not a plain tensor"),
        (torch.tensor(1.0), r"fc\.bias: \[\] in the file, \[7\]"),
    ],
)
def test_tensors_that_cannot_be_used(value, said, pocket_weights, tmp_path):
    with pytest.raises(ModelError, match=said):
        loaded(saved({**pocket_weights, "fc.bias": value}, tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({1: torch.zeros(3)}, "keys are not the names of tensors: 1"),
        ({"state_dict": {("a", 1): torch.zeros(3)}}, "keys are not the names of tensors"),
        ({"epoch": 3, "loss": 0.1}, "holds no tensors: epoch, loss"),
        ({}, "holds no dictionary of tensors, but dict"),
        ([torch.zeros(3)], "but list"),
        (torch.zeros(3), "but Tensor"),
    ],
)
def test_checkpoints_without_a_state_dict(content, said, tmp_path):
    with pytest.raises(ModelError, match=said):
        read_weights(saved(content, tmp_path / "odd.pth"))


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
    for zipped in (True, False):
        content = {"state_dict": RunsCode(), "args": argparse.Namespace(run=RunsCode())}
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ModelError, match=r"posix\.mkdir.*unpickling"):
            read_weights(path)


def test_a_whole_module_and_a_torchscript_archive_are_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(ModelError, match=r"objects of torch\.nn.*state_dict"):
        read_weights(tmp_path / "module.pth")
    with warnings.catch_warnings(action="ignore"):
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pt")
    with pytest.raises(ModelError, match=r"TorchScript archive.*state_dict"):
        read_weights(tmp_path / "script.pt")


@pytest.mark.parametrize("name", ["text.safetensors", "text.pth"])
@pytest.mark.parametrize(
    "content",
    [b"these are not weights", b"", b"<!DOCTYPE html>", b"PK\x03\x04", b"\x80\x02}", b"12345678{}"],
)
def test_a_file_that_holds_no_weights(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=name) as caught:
        read_weights(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_what_is_no_file(tmp_path):
    with pytest.raises(ModelError, match="not a file"):
        read_weights(tmp_path)
    os.mkfifo(tmp_path / "fifo.pth")
    with pytest.raises(ModelError, match="not a file"):
        read_weights(tmp_path / "fifo.pth")
    with pytest.raises(ModelError, match="cannot be read"):
        read_weights(tmp_path / ("long" * 100))


def test_a_git_lfs_pointer(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(ModelError, match="git lfs pull"):
        read_weights(path)


def test_a_cut_safetensors_file(pocket_file):
    pocket_file.write_bytes(pocket_file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        read_weights(pocket_file)


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
    assert "1 tensors of another shape or kind" in text
    assert "2 missing from the file, e.g. norm.bias, norm.weight" in text
    assert "1 unexpected in the file, e.g. extra.weight" in text


def test_half_a_head_is_not_a_missing_head(pocket_weights, tmp_path):
    weights = {name: tensor for name, tensor in pocket_weights.items() if name != "fc.bias"}
    save_file(weights, tmp_path / "half.safetensors")
    with pytest.raises(ModelError, match=r"1 missing from the file, e\.g\. fc\.bias"):
        load_weights(PocketNet(7), read_weights(tmp_path / "half.safetensors"), "fc")
