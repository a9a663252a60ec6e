"""One tiny run: its losses, its result, how it stops and how it goes on."""

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

from kintune.backbones import Backbone
from kintune.base.errors import OptionError
from kintune.base.files import TEMPORARY
from kintune.data import ImageDataset
from kintune.runs import OUTPUT_MARK, RunConfig, RunResult, read_result
from kintune.training import evaluate, evaluate_model_folder, fine_tune, load_model_folder, loop
from kintune.training.checkpoint import NAME as CHECKPOINT
from kintune.training.start import (
    run_conditions,
    starting_network,
    starting_optimizer,
    starting_state,
)
from kintune.training.steps import training_batches, training_step

GOLDEN_LOSSES = [1.1272228161493938, 1.0643191734949748, 0.9356996615727743]
"""In float64."""


def at_step(number: int, action: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something in the middle of step `number` (from 1) of the next run."""
    steps = iter(range(1, 1000))

    def step(*arguments, **keywords):
        if next(steps) == number:
            action()
        return training_step(*arguments, **keywords)

    monkeypatch.setattr(loop, "training_step", step)


def metrics(folder: Path) -> list[dict[str, str]]:
    """`metrics.csv` without its times."""
    with (folder / "metrics.csv").open(newline="") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


def losses(folder: Path) -> list[float]:
    return [float(row["train_loss"]) for row in metrics(folder)]


def model_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "model").iterdir()}


def train_in_float64(
    backbone: Backbone, dataset: ImageDataset, config: RunConfig, folder: Path
) -> nn.Module:
    """The training of `fine_tune` where rounding hides nothing and processors agree."""
    state = starting_state(backbone, dataset, config, "cpu")
    state.network.double().register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    with run_conditions(config, "cpu"):
        loop.train(state, dataset, config, folder)
    return state.network


def fail() -> None:
    raise RuntimeError("torn")


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


class TestResult:
    def test_golden_losses_in_float64(self, backbone, dataset, make_config, tmp_path):
        """A refactoring gives identical losses. In float32 every processor has its own: a ReLU
        whose input is nearly zero may open on one and not on another."""
        train_in_float64(backbone, dataset, make_config(), tmp_path)

        # Losses are recorded in float32.
        assert losses(tmp_path) == pytest.approx(GOLDEN_LOSSES, rel=1e-6)

    def test_golden_losses(self, backbone, dataset, make_config, tmp_path):
        fine_tune(backbone, dataset, make_config(), tmp_path)

        assert losses(tmp_path) == pytest.approx(GOLDEN_LOSSES, rel=1e-3)

    def test_learns_to_tell_colors_apart(self, backbone, dataset, make_config, tmp_path):
        config = make_config(epochs=8, augmentation="flip")

        result = fine_tune(backbone, dataset, config, tmp_path)

        assert result.status == "complete"
        assert result.validation_top1_error == 0
        assert result.train_loss == losses(tmp_path)[-1] < 0.2

    def test_reports_the_end_of_training_and_the_best_epoch_beside(
        self, backbone, dataset, make_config, tmp_path
    ):
        result = fine_tune(backbone, dataset, make_config(epochs=4), tmp_path)

        errors = [float(row["validation_top1_error"]) for row in metrics(tmp_path)]
        assert len(errors) == 4
        assert result.validation_top1_error == errors[-1]
        assert result.best_epoch == errors.index(min(errors)) + 1
        assert result.best_epoch_validation_top1_error == min(errors)
        saved = evaluate_model_folder(tmp_path / "model", dataset, "val")
        assert saved.top1_error == errors[-1]

    def test_writes_what_the_folder_promises(self, backbone, dataset, make_config, tmp_path):
        config = make_config()

        result = fine_tune(backbone, dataset, config, tmp_path)

        assert read_result(tmp_path) == result
        assert result.id == config.id
        assert not (tmp_path / CHECKPOINT).exists()
        assert [row["lr"] for row in metrics(tmp_path)] == ["0.01", "0.001", "0.0001"]
        assert list((tmp_path / "tensorboard").iterdir())
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {
            *("config.json", "environment.json", "lock", "metrics.csv"),
            *("model", "result.json", "tensorboard", OUTPUT_MARK),
        }

    def test_a_finished_run_is_not_run_again(
        self, backbone, dataset, make_config, tmp_path, monkeypatch
    ):
        first = fine_tune(backbone, dataset, make_config(), tmp_path)
        at_step(1, lambda: pytest.fail("trained again"), monkeypatch)

        assert fine_tune(backbone, dataset, make_config(), tmp_path) == first

    def test_a_result_of_another_run_is_set_aside_and_said(
        self, backbone, dataset, make_config, tmp_path
    ):
        other = fine_tune(backbone, dataset, make_config(seed=1, epochs=1), tmp_path / "other")
        folder = tmp_path / "run"
        first = fine_tune(backbone, dataset, make_config(epochs=1), folder)
        shutil.copy(tmp_path / "other/result.json", folder)

        again = fine_tune(backbone, dataset, make_config(epochs=1), folder)

        assert again.id == first.id
        assert f"result.json was of run {other.id} and is not counted" in again.notes[0]
        assert RunResult.read(folder / f"result-{other.id}.json") == other

    def test_another_number_of_threads_is_the_same_run_and_is_said(
        self, backbone, dataset, make_config, tmp_path
    ):
        threads, config = torch.get_num_threads(), make_config(epochs=2)
        fine_tune(backbone, dataset, config, tmp_path, watch=lambda _: "enough")
        torch.set_num_threads(threads + 1)
        try:
            result = fine_tune(backbone, dataset, config, tmp_path)
        finally:
            torch.set_num_threads(threads)

        assert result.status == "complete"
        assert f"threads {threads} -> {threads + 1}" in result.notes[0]

    def test_another_kind_of_device_is_refused(self, backbone, dataset, make_config, tmp_path):
        with pytest.raises(OptionError, match=r"--device cpu: .* of a run on cuda"):
            fine_tune(backbone, dataset, make_config(device="cuda"), tmp_path)

    def test_equal_configurations_give_equal_bytes(self, backbone, dataset, make_config, tmp_path):
        for name in ("here", "there"):
            fine_tune(backbone, dataset, make_config(epochs=1), tmp_path / name)

        assert model_bytes(tmp_path / "here") == model_bytes(tmp_path / "there")

    def test_leaves_network_and_randomness_as_they_were(
        self, backbone, dataset, make_config, tmp_path
    ):
        weights = {name: value.clone() for name, value in backbone.network.state_dict().items()}
        random_state = torch.get_rng_state()
        handler = signal.getsignal(signal.SIGINT)

        fine_tune(backbone, dataset, make_config(epochs=1), tmp_path)

        assert torch.equal(torch.get_rng_state(), random_state)
        assert signal.getsignal(signal.SIGINT) is handler
        for name, value in backbone.network.state_dict().items():
            assert torch.equal(value, weights[name])

    def test_runs_outside_the_main_thread(self, backbone, dataset, make_config, tmp_path):
        def work() -> None:
            fine_tune(backbone, dataset, make_config(epochs=1), tmp_path)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

        assert read_result(tmp_path) is not None


class TestSettings:
    def test_head_only_leaves_the_body_and_its_statistics(
        self, backbone, dataset, make_config, tmp_path
    ):
        config = make_config(trainable="head", epochs=2)

        fine_tune(backbone, dataset, config, tmp_path)

        before = starting_network(backbone, 3, config, "cpu").state_dict()
        after = load_model_folder(tmp_path / "model").network.state_dict()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed == {"fc.weight", "fc.bias"}

    def test_random_initialization_starts_from_other_weights(
        self, backbone, dataset, make_config, tmp_path
    ):
        for kind in ("pretrained", "random"):
            config = make_config(initialization=kind, seed=1, epochs=1)
            fine_tune(backbone, dataset, config, tmp_path / kind)

        assert losses(tmp_path / "random") != pytest.approx(
            losses(tmp_path / "pretrained"), rel=1e-3
        )

    @pytest.mark.parametrize("name", ["l2", "l2-sp"])
    def test_the_regularizer_reaches_the_weights(
        self, backbone, dataset, make_config, tmp_path, name
    ):
        norms = {}
        for kind in ("none", name):
            config = make_config(regularizer=kind, weight_decay=10.0, schedule="constant")
            fine_tune(backbone, dataset, config, tmp_path / kind)
            norms[kind] = float(metrics(tmp_path / kind)[-1]["weight_norm"])

        start = [p.detach() for p in starting_network(backbone, 3, config, "cpu").parameters()]
        start_norm = torch.nn.utils.get_total_norm(start).item()
        if name == "l2":
            # Nine steps each take ηλ = 0.1 away.
            assert norms["l2"] == pytest.approx(0.9**9 * start_norm, rel=0.1)
        else:
            assert abs(norms["l2-sp"] - start_norm) < abs(norms["none"] - start_norm)

    def test_l2sp_needs_pretrained_weights(self, backbone, dataset, make_config, tmp_path):
        config = make_config(initialization="random", regularizer="l2-sp")

        with pytest.raises(OptionError, match="l2-sp"):
            fine_tune(backbone, dataset, config, tmp_path)

    @pytest.mark.parametrize("field", ["data_sha256", "weights_sha256"])
    def test_refuses_a_configuration_of_other_inputs(
        self, backbone, dataset, make_config, tmp_path, field
    ):
        with pytest.raises(OptionError, match="not those of the configuration"):
            fine_tune(backbone, dataset, make_config(**{field: "0" * 64}), tmp_path)

    def test_rare_validation_where_it_is_dear(
        self, backbone, dataset, make_config, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(loop, "VALIDATION_SHARE", 0.05)  # 6 of 24 images forward: 1/12

        result = fine_tune(backbone, dataset, make_config(), tmp_path)

        errors = [row["validation_top1_error"] for row in metrics(tmp_path)]
        assert [error == "" for error in errors] == [True, False, False]
        assert result.validation_top1_error == float(errors[-1])


class TestEngine:
    """What the settings do inside a run."""

    def test_iterations_end_in_the_middle_of_an_epoch_and_go_on_from_there(
        self, backbone, dataset, make_config, tmp_path, monkeypatch
    ):
        """Seven steps of three an epoch; the third epoch has one."""
        config = make_config(iterations=7, epochs=3, milestones=(3 / 7,))
        steps: list[int] = []
        at_step(7, lambda: steps.append(7), monkeypatch)
        fine_tune(backbone, dataset, config, tmp_path / "whole")
        assert steps == [7]
        monkeypatch.undo()

        at_step(6, interrupt, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(backbone, dataset, config, tmp_path / "stopped")
        monkeypatch.undo()
        at_step(2, lambda: pytest.fail("an eighth step"), monkeypatch)
        fine_tune(backbone, dataset, config, tmp_path / "stopped")

        assert [row["lr"] for row in metrics(tmp_path / "whole")] == ["0.01", "0.001", "0.001"]
        assert metrics(tmp_path / "stopped") == metrics(tmp_path / "whole")
        assert model_bytes(tmp_path / "stopped") == model_bytes(tmp_path / "whole")

    def test_iterations_and_epochs_must_agree(self, backbone, dataset, make_config, tmp_path):
        with pytest.raises(OptionError, match="configure epochs=3"):
            fine_tune(backbone, dataset, make_config(iterations=7, epochs=9), tmp_path)

    def test_the_head_learns_at_its_own_rate(self, backbone, dataset, make_config):
        moved = {}
        for factor in (1.0, 10.0):
            config = make_config(head_lr_factor=factor, momentum=0.0, weight_decay=0.0)
            moved[factor] = one_step(backbone, dataset, config)

        for name, change in moved[1.0].items():
            expected = 10 * change if name.startswith("fc.") else change
            torch.testing.assert_close(moved[10.0][name], expected, rtol=0, atol=1e-12)

    def test_exempt_parameters_do_not_decay(self, backbone, dataset, make_config):
        moved = {}
        for exempt in (False, True):
            config = make_config(exempt_bias_and_norm=exempt, momentum=0.0, weight_decay=0.5)
            moved[exempt] = one_step(backbone, dataset, config)
        plain = one_step(backbone, dataset, make_config(momentum=0.0, weight_decay=0.0))

        network = starting_network(backbone, 3, make_config(), "cpu").double()
        start = dict(network.named_parameters())
        for name, change in plain.items():
            decayed = change - 0.01 * 0.5 * start[name].detach()
            torch.testing.assert_close(moved[False][name], decayed, rtol=0, atol=1e-12)
            exempt = change if start[name].ndim == 1 else decayed
            torch.testing.assert_close(moved[True][name], exempt, rtol=0, atol=1e-12)

    def test_torchs_convention_trains_as_torchs_optimizer(
        self, backbone, dataset, make_config, tmp_path
    ):
        """In float64: in float32 a ReLU whose input is nearly zero may open on one side alone."""
        config = make_config(convention="torch", weight_decay=0.01, schedule="constant")
        trained = train_in_float64(backbone, dataset, config, tmp_path).state_dict()

        network = starting_network(backbone, 3, config, "cpu").double().train()
        sgd = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=0.01, nesterov=True)
        with run_conditions(config, "cpu"):
            for epoch in range(3):
                for batch in training_batches(dataset, config, epoch, 0, torch.device("cpu")):
                    logits = network(batch.images.double())
                    loss = torch.nn.functional.cross_entropy(logits, batch.labels)
                    sgd.zero_grad()
                    loss.backward()
                    sgd.step()

        for name, value in network.state_dict().items():
            torch.testing.assert_close(trained[name], value, rtol=0, atol=1e-11)

    def test_bfloat16_learns_too(self, backbone, dataset, make_config, tmp_path):
        config = make_config(precision="bfloat16", epochs=8, augmentation="flip")

        result = fine_tune(backbone, dataset, config, tmp_path)

        assert result.validation_top1_error == 0
        weights = load_model_folder(tmp_path / "model").network.state_dict()
        assert {value.dtype for value in weights.values()} <= {torch.float32, torch.int64}


def one_step(backbone, dataset, config) -> dict[str, torch.Tensor]:
    """What each parameter changes by in the first step, in float64."""
    network = starting_network(backbone, 3, config, "cpu").double().train()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = starting_optimizer(network, backbone.head_name, config)
    loop.set_lr(optimizer, config.hyperparameters.lr)
    batch = next(training_batches(dataset, config, 0, 0, torch.device("cpu")))
    training_step(network, optimizer, batch._replace(images=batch.images.double()))
    return {name: p.detach() - before[name] for name, p in network.named_parameters()}


class TestGivingUp:
    def test_a_watched_run_may_be_stopped_and_gone_on_with(
        self, backbone, dataset, make_config, tmp_path
    ):
        seen: list[int] = []

        def lost(rows):
            seen.append(len(rows))
            return "others are far ahead" if len(rows) == 2 else None

        stopped = fine_tune(backbone, dataset, make_config(), tmp_path / "watched", watch=lost)

        assert seen == [1, 2]
        assert (stopped.status, stopped.reason) == ("stopped", "others are far ahead")
        assert stopped.validation_top1_error is None
        assert stopped.stopped_at_epoch == 2
        errors = [row["validation_top1_error"] for row in metrics(tmp_path / "watched")]
        assert stopped.stopped_at_validation_top1_error == float(errors[-1])
        assert read_result(tmp_path / "watched") == stopped

        result = fine_tune(backbone, dataset, make_config(), tmp_path / "watched")

        assert result.status == "complete"
        fine_tune(backbone, dataset, make_config(), tmp_path / "whole")
        assert model_bytes(tmp_path / "watched") == model_bytes(tmp_path / "whole")

    def test_a_run_that_reached_its_end_is_not_given_up(
        self, backbone, dataset, make_config, tmp_path
    ):
        result = fine_tune(
            backbone, dataset, make_config(epochs=1), tmp_path, watch=lambda _: "lost"
        )

        assert result.status == "complete"


class TestDivergence:
    def test_weights_that_are_not_finite_are_a_result(
        self, backbone, dataset, make_config, tmp_path, monkeypatch
    ):
        """Only the last update of an epoch without validation broke them: no loss shows it."""

        def step(network, *arguments, **keywords):
            loss = training_step(network, *arguments, **keywords)
            next(network.parameters()).data.fill_(float("nan"))
            return loss

        monkeypatch.setattr(loop, "training_step", step)
        monkeypatch.setattr(loop, "VALIDATION_SHARE", 1e-3)
        config = make_config(batch_size=24, epochs=2)

        result = fine_tune(backbone, dataset, config, tmp_path)

        assert (result.status, result.reason) == (
            "diverged",
            "the weights after epoch 1 were not finite",
        )

    def test_a_loss_that_is_not_finite_is_a_result(self, backbone, dataset, make_config, tmp_path):
        config = make_config(lr=1e30)

        result = fine_tune(backbone, dataset, config, tmp_path)

        assert result.status == "diverged"
        assert result.reason is not None
        assert "not finite" in result.reason
        assert result.validation_top1_error is None
        assert result.train_loss is None
        assert read_result(tmp_path) == result
        assert not (tmp_path / "model").exists()
        assert not (tmp_path / CHECKPOINT).exists()

    def test_a_loss_far_above_that_of_a_guess_stops_early(
        self, backbone, dataset, make_config, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(loop, "DIVERGED_FACTOR", 0.5)

        result = fine_tune(backbone, dataset, make_config(), tmp_path)

        assert result.status == "diverged"
        assert "epoch 2" in str(result.reason)
        assert len(metrics(tmp_path)) == 1


class TestGoingOn:
    @pytest.fixture
    def uninterrupted(self, backbone, dataset, make_config, tmp_path) -> Path:
        fine_tune(backbone, dataset, make_config(), tmp_path / "uninterrupted")
        return tmp_path / "uninterrupted"

    @pytest.mark.parametrize("step", [1, 5, 6, 9])
    def test_stopped_in_any_step_ends_with_the_same_bytes(
        self, backbone, dataset, make_config, tmp_path, monkeypatch, uninterrupted, step
    ):
        folder = tmp_path / "stopped"
        at_step(step, interrupt, monkeypatch)
        with pytest.raises(KeyboardInterrupt, match="same command goes on"):
            fine_tune(backbone, dataset, make_config(), folder)
        assert (folder / CHECKPOINT).exists()
        monkeypatch.undo()

        fine_tune(backbone, dataset, make_config(), folder)

        assert model_bytes(folder) == model_bytes(uninterrupted)
        assert metrics(folder) == metrics(uninterrupted)

    def test_torn_out_of_a_step_goes_on_from_the_last_epoch(
        self, backbone, dataset, make_config, tmp_path, monkeypatch, uninterrupted
    ):
        folder = tmp_path / "torn"
        at_step(5, fail, monkeypatch)
        with pytest.raises(RuntimeError, match="torn"):
            fine_tune(backbone, dataset, make_config(), folder)
        assert len(metrics(folder)) == 1
        monkeypatch.undo()

        done: list[int] = []
        at_step(1, lambda: done.append(1), monkeypatch)
        fine_tune(backbone, dataset, make_config(), folder)

        assert done == [1]
        assert model_bytes(folder) == model_bytes(uninterrupted)
        assert metrics(folder) == metrics(uninterrupted)

    def test_sigterm_checkpoints_and_exits(
        self, backbone, dataset, make_config, tmp_path, monkeypatch
    ):
        at_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM), monkeypatch)

        with pytest.raises(SystemExit, match="same command goes on"):
            fine_tune(backbone, dataset, make_config(), tmp_path)

        assert (tmp_path / CHECKPOINT).exists()

    def test_a_second_interrupt_acts_at_once(
        self, backbone, dataset, make_config, tmp_path, monkeypatch
    ):
        usual = signal.default_int_handler

        def twice() -> None:
            interrupt()
            while signal.getsignal(signal.SIGINT) is not usual:
                time.sleep(0.001)  # two signals that Python sees at once are one
            interrupt()

        at_step(2, twice, monkeypatch)

        # Where tests run in a shell's background, they are started with SIGINT ignored.
        before = signal.signal(signal.SIGINT, usual)
        try:
            with pytest.raises(KeyboardInterrupt) as stopped:
                fine_tune(backbone, dataset, make_config(), tmp_path)
        finally:
            signal.signal(signal.SIGINT, before)

        assert "same command" not in str(stopped.value)

    def test_interrupted_in_the_last_evaluation_stops_and_then_only_finishes(
        self, backbone, dataset, make_config, tmp_path, monkeypatch, uninterrupted
    ):
        def evaluate_and_interrupt(*arguments):
            interrupt()
            return evaluate(*arguments)

        folder = tmp_path / "stopped"
        monkeypatch.setattr(loop, "VALIDATION_SHARE", 1e-3)  # only at the end
        monkeypatch.setattr(loop, "evaluate", evaluate_and_interrupt)
        with pytest.raises(KeyboardInterrupt, match="same command goes on"):
            fine_tune(backbone, dataset, make_config(), folder)
        assert not (folder / "result.json").exists()
        monkeypatch.undo()

        at_step(1, lambda: pytest.fail("trained again"), monkeypatch)
        result = fine_tune(backbone, dataset, make_config(), folder)

        assert result.status == "complete"
        assert model_bytes(folder) == model_bytes(uninterrupted)

    def test_a_failed_run_is_tried_again(self, backbone, dataset, make_config, tmp_path):
        first = fine_tune(backbone, dataset, make_config(), tmp_path)
        failed = first.replace(status="failed", reason="memory")
        (tmp_path / "result.json").write_text(failed.model_dump_json())

        assert fine_tune(backbone, dataset, make_config(), tmp_path).status == "complete"

    def test_another_configuration_is_refused_with_its_differences(
        self, backbone, dataset, make_config, tmp_path
    ):
        fine_tune(backbone, dataset, make_config(), tmp_path)

        with pytest.raises(OptionError, match=r"hyperparameters\.lr is 0\.01 there and 0\.02 here"):
            fine_tune(backbone, dataset, make_config(lr=0.02), tmp_path)

    def test_a_full_disk_keeps_the_last_checkpoint(
        self, backbone, dataset, make_config, tmp_path, monkeypatch, uninterrupted
    ):
        folder = tmp_path / "full"

        def fill_disk() -> None:
            def full(_handle: int) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(os, "fsync", full)

        at_step(5, fill_disk, monkeypatch)
        with pytest.raises(OptionError, match="No space left on device"):
            fine_tune(backbone, dataset, make_config(), folder)
        assert (folder / CHECKPOINT).exists()
        assert list(folder.glob(".*")) == []
        monkeypatch.undo()

        fine_tune(backbone, dataset, make_config(), folder)

        assert model_bytes(folder) == model_bytes(uninterrupted)

    def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(
        self, backbone, dataset, make_config, tmp_path
    ):
        half_written = f"{TEMPORARY}a1b2c3d4.tmp"
        for name in (half_written, ".gitignore", "notes.txt"):
            (tmp_path / name).write_text("")

        fine_tune(backbone, dataset, make_config(epochs=1), tmp_path)

        names = {path.name for path in tmp_path.iterdir()}
        assert half_written not in names
        assert {".gitignore", "notes.txt"} <= names

    @pytest.mark.parametrize(
        "damage",
        [
            lambda content: content[: len(content) // 2],
            lambda content: b"",
            lambda content: b"x" * 100,
            lambda content: content[:-9] + bytes([content[-9] ^ 0x40]) + content[-8:],
            lambda content: content.replace(rb"\"step\":2", rb"\"step\":1"),
        ],
    )
    def test_a_damaged_checkpoint_is_said_and_training_begins_again(
        self, damage, backbone, dataset, make_config, tmp_path, monkeypatch, uninterrupted, capsys
    ):
        folder = tmp_path / "damaged"
        at_step(2, interrupt, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(backbone, dataset, make_config(), folder)
        content = (folder / CHECKPOINT).read_bytes()
        assert damage(content) != content
        (folder / CHECKPOINT).write_bytes(damage(content))

        result = fine_tune(backbone, dataset, make_config(), folder)

        assert any("checkpoint is damaged" in note for note in result.notes)
        assert f"{folder / CHECKPOINT}: the checkpoint is damaged" in capsys.readouterr().err
        assert model_bytes(folder) == model_bytes(uninterrupted)

    def test_going_on_under_other_versions_is_noted(
        self, backbone, dataset, make_config, tmp_path, monkeypatch
    ):
        at_step(2, interrupt, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(backbone, dataset, make_config(), tmp_path)
        path = tmp_path / "environment.json"
        path.write_text(path.read_text().replace(torch.__version__.split("+")[0], "1.0.0"))

        result = fine_tune(backbone, dataset, make_config(), tmp_path)

        assert "torch 1.0.0 ->" in result.notes[0]


FORKS = """
import os, sys
from pathlib import Path
from kintune.backbones import BackboneOverrides, load_backbone
from kintune.data import load_dataset
from kintune.runs import RunConfig
from kintune.training import fine_tune, loop

loop.CHECKPOINT_SECONDS = 0.0
images, config, folder = sys.argv[1:]
backbone = load_backbone("pocket", overrides=BackboneOverrides(image_size=16), pretrained=False)
dataset = load_dataset(images, backbone.input)
for line in sys.stdin:
    process = os.fork()
    if not process:
        fine_tune(backbone, dataset, RunConfig.read(Path(config)), Path(folder))
        os._exit(0)
    print(process, flush=True)
    _, status = os.waitpid(process, 0)
    print("killed" if os.WIFSIGNALED(status) else "over", flush=True)
"""
"""Each line on stdin starts a process of its own without waiting for its imports."""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_random_moments_ends_with_the_same_bytes(
    backbone, dataset, image_folder, make_config, tmp_path
):
    config = make_config(epochs=20)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    began, threads = time.monotonic(), torch.get_num_threads()
    torch.set_num_threads(1)  # as the killed processes: another number gives other last bits
    try:
        fine_tune(backbone, dataset, config, tmp_path / "whole")
    finally:
        torch.set_num_threads(threads)
    longest = (time.monotonic() - began) / 20
    folder, rng, kills = tmp_path / "killed", random.Random(0), 0

    command = [sys.executable, "-c", FORKS, image_folder, tmp_path / "config.json", folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as forks:
        assert forks.stdin is not None
        assert forks.stdout is not None
        while not (folder / "result.json").exists():
            print("start", file=forks.stdin, flush=True)
            process = int(forks.stdout.readline())
            if kills < 20:
                time.sleep(rng.uniform(0, longest))
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            kills += forks.stdout.readline() == "killed\n"
        forks.stdin.close()

    assert kills == 20
    assert list(folder.glob(".*")) == []
    assert model_bytes(folder) == model_bytes(tmp_path / "whole")
    assert metrics(folder) == metrics(tmp_path / "whole")
