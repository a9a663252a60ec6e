"""Training, resuming and features on a CUDA device, beside the CPU where the two must agree."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kintune.similarity.features import extract_features
from kintune.training import fine_tune, read_metrics

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def test_a_run_on_the_device_learns_and_agrees_with_the_cpu(
    backbone, dataset, make_config, tmp_path
):
    config = make_config(device=DEVICE)
    here = fine_tune(backbone, dataset, config, tmp_path / "device", device=DEVICE)
    there = fine_tune(backbone, dataset, make_config(), tmp_path / "cpu")
    assert here.status == there.status == "complete"
    losses = [
        [row.train_loss for row in read_metrics(tmp_path / name)] for name in ("device", "cpu")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0][-1] < losses[0][0]


def test_a_stopped_run_is_resumed_on_the_device(backbone, dataset, make_config, tmp_path):
    config = make_config(device=DEVICE)
    stopped = fine_tune(
        backbone, dataset, config, tmp_path / "run", device=DEVICE, watch=lambda _: "enough"
    )
    assert stopped.status == "stopped"
    resumed = fine_tune(backbone, dataset, config, tmp_path / "run", device=DEVICE)
    whole = fine_tune(backbone, dataset, config, tmp_path / "whole", device=DEVICE)
    assert resumed.status == whole.status == "complete"
    assert [row.epoch for row in read_metrics(tmp_path / "run")] == [1, 2, 3]
    one, other = weights(tmp_path / "run"), weights(tmp_path / "whole")
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-2, atol=1e-3, msg=name)


def test_a_run_in_bfloat16_ends(backbone, dataset, make_config, tmp_path):
    config = make_config(device=DEVICE, precision="bfloat16", micro_batch_size=4)
    result = fine_tune(backbone, dataset, config, tmp_path, device=DEVICE)
    assert result.status == "complete"
    assert all(value.isfinite().all() for value in weights(tmp_path).values())


def test_features_agree_with_those_of_the_cpu(backbone, dataset):
    here = extract_features(backbone, dataset, device=DEVICE)
    there = extract_features(backbone, dataset)
    np.testing.assert_allclose(here.values, there.values, rtol=1e-2, atol=1e-3)
