"""`kintune search` on images of two shades, the pocket network and a second of training a run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from kintune.cli import main
from kintune.cli.tables import summary_table
from kintune.options import SearchOptions
from kintune.options.results import TrainingSummary
from kintune.runs import RunResult, read_result
from kintune.runs.hyperparameters import Hyperparameters
from kintune.search import Asked
from kintune.search.tuning import task_source
from kintune.training import exclusive
from kintune.workflow.pipeline import command as repeating_command


@pytest.fixture
def photos(tmp_path):
    """Two classes of noisy images, 24 for training and 8 for test."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 4)):
        for shade, name in ((70, "cat"), (130, "dog")):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(shade + rng.normal(0, 60, (24, 24, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def words(photos, tmp_path):
    """The command up to its further flags."""
    flags = ("--model", "pocket", "--epochs", "2", "--threads", "1", "--json")
    return ("search", str(photos), *flags, "--output", str(tmp_path / "out"))


def call(capsys, *words):
    """A command in this process: exit code, its answer where there is one, stderr."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    out, err = capsys.readouterr()
    return stop.value.code, json.loads(out) if out.startswith("{") else out, err


def test_it_searches_and_says_why_and_what_it_learned(words, tmp_path, capsys):
    code, answer, err = call(capsys, *words, "--runs", "3")
    assert code == 0
    assert len({run["id"] for run in answer["runs"]}) == 3
    assert all(run["proposed_because"] and run["taught"] for run in answer["runs"])
    assert "run 3 of 3" in err
    assert answer["labels"] == {answer["runs"][0]["id"]: "recommended"}
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"best", "study.log", "runs"}


def test_a_setting_that_was_drawn_is_not_called_recommended(words, capsys):
    code, answer, _ = call(capsys, *words, "--runs", "2", "--engine", "random")
    assert code == 0
    assert answer["labels"] == {}


def test_a_second_process_leaves_the_evidence_of_the_first_alone(words, tmp_path, capsys):
    with exclusive(tmp_path / "out"):
        for name in ("similarity.json", "recommendation.json"):
            (tmp_path / "out" / name).write_text("of the first process")
        code, _, err = call(capsys, *words, "--runs", "1")
        assert (code, "is writing here" in err) == (1, True)
    for name in ("similarity.json", "recommendation.json"):
        assert (tmp_path / "out" / name).read_text() == "of the first process"


def test_finetune_without_a_rate_trains_what_is_recommended(words, capsys):
    recommended = call(capsys, "recommend", *words[1:-2])[1]
    trained = call(capsys, "finetune", *words[1:])[1]["runs"][0]["hyperparameters"]
    names = ("lr", "freeze_bn_stats", "clip_grad_norm", "head_start")
    assert {name: trained[name] for name in names} == {name: recommended[name] for name in names}


def test_the_head_on_the_frozen_features_runs_first_and_is_not_one_of_the_runs(
    words, tmp_path, capsys
):
    code, answer, err = call(capsys, *words, "--runs", "1")
    assert code == 0
    assert len(answer["runs"]) == len(list((tmp_path / "out/runs").iterdir())) == 1
    head = answer["frozen_head"]
    assert head["hyperparameters"]["epochs"] == 0
    assert err.index("fitting a head") < err.index("run 1 of 1")
    assert answer["best"]["validation_top1_error"] <= head["validation_top1_error"]
    assert answer["verdict"]["sentence"] in summary_table(TrainingSummary(**answer))


def test_the_head_is_delivered_where_every_run_is_worse(words, tmp_path, capsys):
    """A weight decay with which no training survives."""
    flags = ("--runs", "1", "--no-recommendation", "--weight-decay", "1e6", "--no-retrain")
    code, answer, _ = call(capsys, *words, *flags)
    assert code == 0
    assert [run["status"] for run in answer["runs"]] == ["diverged"]
    assert answer["best"]["id"] == answer["frozen_head"]["id"]
    model = tmp_path / "out/best/model.safetensors"
    assert model.read_bytes() == (tmp_path / "out/frozen_head/model/model.safetensors").read_bytes()


def test_random_weights_have_no_head_to_beat(words, capsys):
    flags = ("--runs", "1", "--no-recommendation", "--from-scratch")
    code, answer, _ = call(capsys, "search", *words[1:], *flags)
    assert code == 0
    assert answer["frozen_head"] is None
    assert answer["verdict"] is None


@pytest.mark.parametrize(
    "flags",
    [
        ("--augmentation", "flip"),
        ("--augmentations", "flip"),
        ("--momenta", "0.9", "0.5"),
        ("--engine", "random"),
        ("--no-recommendation",),
    ],
)
def test_one_augmentation_where_something_else_is_chosen_or_no_engine_begins_with_them(
    words, capsys, monkeypatch, flags
):
    monkeypatch.setattr("kintune.runs.defaults.SHORT_STEPS", 1)
    code, answer, _ = call(capsys, *words, "--runs", "2", *flags)
    assert code == 0
    assert [augmentation_of(run) for run in answer["runs"]] == ["flip", "flip"]


def test_a_plan_names_the_augmentations_that_it_has_runs_for(words, capsys, monkeypatch):
    monkeypatch.setattr("kintune.runs.defaults.SHORT_STEPS", 1)
    for runs, tried in (("1", "flip"), ("2", "flip or random_resized_crop")):
        _, answer, _ = call(capsys, *words, "--runs", runs, "--dry-run")
        assert answer["augmentation"] == tried


def augmentation_of(run):
    return Hyperparameters(**run["hyperparameters"]).augmentation


def test_the_winners_configuration_gives_its_score_again(words, tmp_path, capsys):
    _, answer, _ = call(capsys, *words, "--runs", "2", "--no-retrain")
    best = answer["best"]
    config = next((tmp_path / "out").glob(f"**/{best['id']}/config.json"), None)
    config = config or tmp_path / "out/frozen_head/config.json"
    again = ("finetune", "--from", str(config), "--output", str(tmp_path / "again"), "--json")
    code, repeated, err = call(capsys, *again)
    assert code == 0
    assert "the same" in err
    assert "not the same" not in err
    assert repeated["best"]["validation_top1_error"] == best["validation_top1_error"]
    models = [tmp_path / "again/model", tmp_path / "out/best"]
    [one, other] = [(path / "model.safetensors").read_bytes() for path in models]
    assert one == other


def test_without_a_recommendation_nothing_is_measured(words, tmp_path, capsys):
    code, answer, _ = call(capsys, *words, "--runs", "2", "--no-recommendation")
    assert code == 0
    assert answer["labels"] == {}
    assert not (tmp_path / "out/recommendation.json").exists()
    assert answer["runs"][0]["effective_lr"] == pytest.approx(0.03162, rel=1e-3)


def test_repeats_are_listed_inside_their_setting_and_their_mean_decides(words, capsys):
    code, answer, _ = call(capsys, *words, "--runs", "2", "--repeats", "2")
    assert code == 0
    assert len(answer["runs"]) == 2
    for run in answer["runs"]:
        assert [each["seed"] for each in run["repeats"]] == [1]
        errors = [run["validation_top1_error"], run["repeats"][0]["validation_top1_error"]]
        if None not in errors:
            assert run["mean_validation_top1_error"] == pytest.approx(sum(errors) / 2)


def test_the_training_flags_of_finetune_and_the_choices_reach_the_runs(words, capsys):
    flags = ("--convention", "torch", "--schedule", "cosine", "--exempt-bias-and-norm")
    choices = ("--momenta", "0.9", "0.0", "--engine", "grid", "--no-recommendation")
    code, answer, _ = call(capsys, *words, *flags, *choices, "--runs", "4", "--head-only")
    assert code == 0
    settings = [run["hyperparameters"] for run in answer["runs"]]
    assert all(s["convention"] == "torch" and s["schedule"] == "cosine" for s in settings)
    assert all(s["exempt_bias_and_norm"] for s in settings)
    assert {s["momentum"] for s in settings} <= {0.9, 0.0}
    assert len({json.dumps(s) for s in settings}) == 4


def test_the_winner_is_trained_once_more_on_all_images_on_request(words, tmp_path, capsys):
    _, plain, _ = call(capsys, *words, "--runs", "1", "--no-retrain")
    assert plain["best"]["retrained"] is False
    code, answer, _ = call(capsys, *words, "--runs", "1", "--retrain")
    assert code == 0
    assert answer["best"]["retrained"] is True
    assert answer["best"]["validation_top1_error"] == plain["best"]["validation_top1_error"]
    [folder] = (tmp_path / "out/retrained").iterdir()
    kept = (tmp_path / "out/best/model.safetensors").read_bytes()
    assert kept == (folder / "model/model.safetensors").read_bytes()
    [chosen] = (tmp_path / "out/runs").glob("*/model/model.safetensors")
    assert kept != chosen.read_bytes()


def test_few_images_are_all_trained_on_by_default(words, capsys, monkeypatch):
    assert call(capsys, *words, "--runs", "1")[1]["best"]["retrained"] is True
    monkeypatch.setattr("kintune.runs.defaults.MAX_RETRAIN_IMAGES", 1)
    assert call(capsys, *words, "--runs", "1")[1]["best"]["retrained"] is False


def test_a_dry_run_says_what_it_would_cost(words, tmp_path, capsys):
    code, plan, _ = call(capsys, *words, "--runs", "4", "--repeats", "2", "--dry-run")
    assert code == 0
    assert plan["runs"] == 9  # the winner is trained once more
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--ray-address", "auto"), "--runner ray"),
        (("--runs", "0"), "--runs"),
        (("--momenta", "1.0"), "--momenta"),
        (("--batch-sizes", "16", "400"), "--batch-sizes 400"),
        (("--max-minutes", "0"), "--max-minutes"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(words, flags, expected, capsys):
    code, out, err = call(capsys, *words, *flags)
    assert code in (1, 2)
    assert out == "" or code == 2
    assert expected in err
    assert "Traceback" not in err


def command(words) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "kintune", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_search_with_workers_survives_kills_and_ends_as_one_that_was_not_killed(
    photos, tmp_path, capsys
):
    flags = ("--model", "pocket", "--epochs", "12", "--threads", "1", "--json")
    search = ("search", str(photos), *flags, "--engine", "grid", "--no-early-stopping")
    search += ("--runs", "3")
    killed = (*search, "--workers", "2", "--output", str(tmp_path / "killed"))
    generator = random.Random(0)
    for _ in range(3):
        process = command(killed)
        deadline = time.monotonic() + 60
        while not list((tmp_path / "killed").glob("runs/*/metrics.csv")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(generator.uniform(0, 2))
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert call(capsys, *killed)[0] == 0
    assert call(capsys, *search, "--output", str(tmp_path / "whole"))[0] == 0

    folders = [sorted((tmp_path / name / "runs").iterdir()) for name in ("killed", "whole")]
    assert [each.name for each in folders[0]] == [each.name for each in folders[1]]
    trained = 0
    for one, other in zip(*folders, strict=True):
        assert untimed(read_result(one)) == untimed(read_result(other))
        models = [folder / "model/model.safetensors" for folder in (one, other)]
        if models[1].exists():  # the largest rate of the grid may diverge
            assert models[0].read_bytes() == models[1].read_bytes()
            trained += 1
        assert Asked.read(one / "proposal.json").config.id == one.name
    assert trained >= 2


def untimed(result: RunResult | None) -> RunResult | None:
    return result and result.replace(seconds=0.0)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("sklearn:digits", "sklearn:digits"),
        ("photos", "{here}/photos"),
        ("paper:flowers102=flowers", "paper:flowers102={here}/flowers"),
        ("paper:flowers102", "paper:flowers102={here}/sets/flowers102"),
    ],
)
def test_workers_and_repeats_find_the_images_from_anywhere(tmp_path, monkeypatch, data, found):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINTUNE_DATA", "sets")
    options = SearchOptions(data=data, model="pocket", source="paper:imagenet=source")
    assert task_source(options).data == found.format(here=tmp_path)
    said = repeating_command(options, tmp_path).split()
    assert found.format(here=tmp_path) in said
    assert said[said.index("--source") + 1] == f"paper:imagenet={tmp_path}/source"


def test_a_file_as_the_model_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = SearchOptions(data=str(tmp_path), model="w.safetensors")
    assert task_source(options).model == f"{tmp_path}/w.safetensors"
    assert f"--model {tmp_path}/w.safetensors" in repeating_command(options, tmp_path)
    assert task_source(options.replace(model="resnet50")).model == "resnet50"
