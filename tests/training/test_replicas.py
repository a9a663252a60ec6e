"""Two processes, as torchrun starts them, against one with the whole batch."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kintune.base.errors import OptionError
from kintune.runs import read_result
from kintune.training import fine_tune
from kintune.training.optimizers import NesterovSGD
from kintune.training.start import starting_network
from kintune.training.steps import batch_bounds, training_batches, training_step

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GRADIENTS = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from kintune.backbones import BackboneOverrides, load_backbone
from kintune.data import load_dataset
from kintune.runs import RunConfig
from kintune.training import NesterovSGD, joined_replicas
from kintune.training.start import starting_network
from kintune.training.steps import training_batches, training_step

images, config, output = sys.argv[1:]
config = RunConfig.read(Path(config))
backbone = load_backbone("pocket", overrides=BackboneOverrides(image_size=16), pretrained=False)
dataset = load_dataset(images, backbone.input)
with joined_replicas() as here:
    network = starting_network(backbone, 3, config, "cpu").double().eval()
    model = here.wrapped(network)
    optimizer = NesterovSGD(network.parameters(), 1e-3)
    for epoch in range(2):
        for batch in training_batches(dataset, config, epoch, 0, torch.device("cpu")):
            double = batch._replace(images=batch.images.double())
            training_step(model, optimizer, double, micro_batch_size=config.micro_batch_size)
    gradients = {n: p.grad.contiguous() for n, p in network.named_parameters()}
    weights = {f"weight.{n}": p.detach().contiguous() for n, p in network.named_parameters()}
    save_file({**gradients, **weights}, f"{output}-{here.rank}.safetensors")
"""

TRAIN = """
import sys
from pathlib import Path
from kintune.backbones import BackboneOverrides, load_backbone
from kintune.data import load_dataset
from kintune.executors import run_guarded
from kintune.runs import RunConfig
from kintune.training import joined_replicas

images, config, folder = sys.argv[1:]
backbone = load_backbone("pocket", overrides=BackboneOverrides(image_size=16), pretrained=False)
dataset = load_dataset(images, backbone.input)
with joined_replicas():
    result = run_guarded(backbone, dataset, RunConfig.read(Path(config)), Path(folder))
    print(result.model_dump_json(), flush=True)
"""


def torchrun(program: str, tmp_path: Path, *arguments: object) -> subprocess.Popen[str]:
    script = tmp_path / "program.py"
    script.write_text(program)
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(script), *(str(a) for a in arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("micro_batch_size", [None, 2])
def test_gradients_are_those_of_one_process_with_the_whole_batch(
    backbone, dataset, image_folder, make_config, tmp_path, micro_batch_size
):
    """Batches of 9 and a last one of 6, so that shares differ in size; statistics frozen."""
    config = make_config(batch_size=9, devices=2, micro_batch_size=micro_batch_size)
    (tmp_path / "config.json").write_text(config.model_dump_json())

    with torchrun(
        GRADIENTS, tmp_path, image_folder, tmp_path / "config.json", tmp_path / "out"
    ) as process:
        errors = process.communicate()[1]
    assert process.returncode == 0, errors

    network = starting_network(backbone, 3, config, "cpu").double().eval()
    optimizer = NesterovSGD(network.parameters(), 1e-3)
    for epoch in range(2):
        for batch in training_batches(dataset, config, epoch, 0, torch.device("cpu")):
            training_step(network, optimizer, batch._replace(images=batch.images.double()))
    found = [load_file(tmp_path / f"out-{rank}.safetensors") for rank in (0, 1)]
    for name, parameter in network.named_parameters():
        for replica in found:
            torch.testing.assert_close(replica[name], parameter.grad, rtol=0, atol=1e-12)
        weights = [replica[f"weight.{name}"] for replica in found]
        assert torch.equal(*weights)
        torch.testing.assert_close(weights[0], parameter.detach(), rtol=0, atol=1e-12)


def test_a_run_of_two_stops_goes_on_and_ends_as_one_that_was_not_stopped(
    image_folder, make_config, tmp_path
):
    config = make_config(devices=2, epochs=30, lr=0.02)
    (tmp_path / "config.json").write_text(config.model_dump_json())

    def start(folder: str):
        return torchrun(TRAIN, tmp_path, image_folder, tmp_path / "config.json", tmp_path / folder)

    with start("whole") as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    first, second = output.strip().splitlines()
    assert first == second  # both processes return the result

    with start("stopped") as process:
        while not (tmp_path / "stopped" / "metrics.csv").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert not (tmp_path / "stopped" / "result.json").exists()
    assert (tmp_path / "stopped" / "checkpoint.safetensors").exists()
    with start("stopped") as process:
        errors = process.communicate()[1]
    assert process.returncode == 0, errors

    for folder in ("whole", "stopped"):
        result = read_result(tmp_path / folder)
        assert result is not None
        assert result.validation_top1_error is not None
        assert result.validation_top1_error <= 1 / 3
    assert losses(tmp_path / "stopped") == pytest.approx(losses(tmp_path / "whole"), rel=1e-12)
    weights = [tmp_path / name / "model/model.safetensors" for name in ("whole", "stopped")]
    assert weights[0].read_bytes() == weights[1].read_bytes()

    # Another configuration is refused by both, and the finished run stays.
    other = config.replace(seed=1)
    (tmp_path / "config.json").write_text(other.model_dump_json())
    result = (tmp_path / "whole/result.json").read_bytes()
    with start("whole") as process:
        errors = process.communicate()[1]
    assert process.returncode != 0
    assert "seed is 0 there and 1 here" in errors
    assert (tmp_path / "whole/result.json").read_bytes() == result


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return [float(row["train_loss"]) for row in csv.DictReader(stream)]


def test_a_configuration_of_two_devices_is_not_trained_by_one(
    backbone, dataset, make_config, tmp_path
):
    with pytest.raises(OptionError, match="torchrun --nproc-per-node 2"):
        fine_tune(backbone, dataset, make_config(devices=2), tmp_path)


def test_the_last_batch_leaves_no_device_with_a_single_image():
    assert batch_bounds(11, 8, devices=2) == [(0, 5), (5, 11)]
    assert batch_bounds(11, 8, devices=4) == [(0, 11)]
    assert batch_bounds(12, 8, devices=2) == [(0, 6), (6, 12)]
