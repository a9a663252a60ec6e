"""The main job on real images with a real network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900)]


def kintune(*words):
    done = subprocess.run(
        [sys.executable, "-m", "kintune", *map(str, words), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def images_and_network(real_data, real_models):
    """Five kinds of butterfly, and a network trained on ImageNet; all else is in its sidecar."""
    weights = real_models / "mobilenetv2_100.in1k.safetensors"
    network = ("--model", "mobilenetv2_100", "--weights", weights, "--image-size", 96)
    return (real_data / "insects", *network, "--epochs", 6)


def test_tune_learns_and_its_model_predicts(images_and_network, tmp_path):
    answer = kintune("tune", *images_and_network, "--runs", 2, "--output", tmp_path / "out")
    best = answer["best"]
    # Guessing gives 0.8; from scratch six epochs of 247 images teach little.
    assert best["test_top1_error"] < 0.3
    assert len(answer["runs"]) == 2
    assert answer["facts"]["model"]["domain"] == "ImageNet-1k"
    evaluation = json.loads((tmp_path / "out/evaluation.json").read_text())
    predictions = kintune("predict", answer["model_path"], *evaluation["paths"])["predictions"]
    labels = [each["label"] for each in predictions]
    tested = [evaluation["classes"][index] for index in evaluation["predictions"]]
    assert labels == tested


def test_the_same_run_again_gives_the_same_model_bit_for_bit(images_and_network, tmp_path):
    words = ("finetune", *images_and_network, "--epochs", 1, "--lr", 0.001, "--threads", 2)
    models = [
        kintune(*words, "--output", tmp_path / name)["model_path"] for name in ("first", "second")
    ]
    first, second = (Path(path, "model.safetensors").read_bytes() for path in models)
    assert first == second
