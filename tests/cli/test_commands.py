"""The command line as a person meets it, each command in a process of its own where it matters."""

import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kintune.cli import COMMANDS, main


def run(*words):
    """A command in its own process: exit code, stdout, stderr."""
    return subprocess.run(
        [sys.executable, "-m", "kintune", *words], capture_output=True, text=True, check=False
    )


def call(capsys, *words):
    """A command in this process: exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def write_images(folder, per_class=12, classes=("cat", "dog"), size=24, seed=0):
    rng = np.random.default_rng(seed)
    for index, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            shade = 60 + 130 * index
            pixels = np.clip(shade + rng.normal(0, 15, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def photos(tmp_path):
    write_images(tmp_path / "photos/train")
    write_images(tmp_path / "photos/test", per_class=4, seed=1)
    return tmp_path / "photos"


def one_message(code, out, err, *words, expected=1):
    assert code == expected
    assert out == ""
    assert "Traceback" not in err
    complaint = err[err.index("kintune: error:") :]
    assert all(word in complaint for word in words), complaint


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_of_every_command_has_an_example(command, capsys):
    code, out, _ = call(capsys, command, "--help")
    assert code == 0
    assert f"Example: kintune {command}" in " ".join(out.split())


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("kintune ")


def test_misspelt_flags_exit_with_2():
    done = run("tune", "photos", "--modle", "pocket")
    assert done.returncode == 2
    assert "--modle" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--lr", "-1"), "--lr"),
        (("--momentum", "1"), "--momentum"),
        (("--epochs", "0"), "--epochs"),
        (("--device", "tpu"), "--device"),
    ],
)
def test_values_out_of_range(words, expected, photos, capsys):
    found = call(capsys, "finetune", str(photos), "--model", "pocket", *words)
    one_message(*found, expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tune", "x", "--learning-rate", "1"), "--learning-rate: no such flag. kintune finetune"),
        (("finetune", "x", "--learning-rate=1"), "Did you mean --lr?"),
        (("tune", "x", "--batchsize", "8"), "Did you mean --batch-size?"),
        (("finetune", "--form", "x"), "Did you mean --from?"),
    ],
)
def test_an_unknown_flag_is_named_with_the_one_that_was_meant(words, message, capsys):
    code, out, err = call(capsys, *words)
    assert (code, out) == (2, "")
    assert message in err


def test_common_flags_come_first_in_the_help(capsys):
    text = call(capsys, "tune", "--help")[1]
    flags = re.findall(r"^. --([a-z-]+)", text, re.MULTILINE)
    assert flags[:5] == ["model", "weights", "output", "runs", "preset"]
    assert flags[-2:] == ["json", "verbose"]


def test_the_last_lines_say_how_good_the_model_is_and_how_to_use_it(photos, tmp_path, capsys):
    flags = ("--model", "pocket", "--runs", "1", "--epochs", "1", "--output", str(tmp_path / "o"))
    code, out, err = call(capsys, "tune", str(photos), *flags)
    assert code == 0
    assert err.startswith("photos: 2 classes; ")
    assert "pocket.safetensors" not in err
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert " test images (95 % interval " in lines["accuracy"]
    assert lines["next"] == f"next      kintune predict {tmp_path / 'o' / 'best'} IMAGES"


def test_a_check_without_findings_says_so(photos, capsys):
    assert call(capsys, "check", str(photos))[1].startswith("No problems found.")


def test_a_current_folder_that_was_removed(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    code, _, err = call(capsys, "check", str(tmp_path))
    assert code == 1
    assert err.startswith("kintune: error: the current folder cannot be used")
    assert err.count("\n") == 1


def test_no_folder(tmp_path, capsys):
    found = call(capsys, "tune", str(tmp_path / "nothing"), "--model", "pocket")
    one_message(*found, str(tmp_path / "nothing"))


def test_empty_folder(tmp_path, capsys):
    one_message(*call(capsys, "tune", str(tmp_path), "--model", "pocket"), str(tmp_path))


def test_one_class(tmp_path, capsys):
    write_images(tmp_path / "photos", classes=("cat",))
    found = call(capsys, "tune", str(tmp_path / "photos"), "--model", "pocket")
    one_message(*found, "cat")


def test_a_class_with_one_image(photos, capsys):
    for path in list((photos / "train/dog").iterdir())[1:]:
        path.unlink()
    one_message(*call(capsys, "tune", str(photos), "--model", "pocket"), "dog")


@pytest.mark.parametrize("content", [b"this is text", None])
def test_unreadable_images_are_all_listed(photos, content, capsys):
    broken = [photos / "train/cat/a.jpg", photos / "test/dog/b.jpg"]
    for path in broken:
        Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(path)
        path.write_bytes(content or path.read_bytes()[:-300])
    found = call(capsys, "tune", str(photos), "--model", "pocket")
    one_message(*found, *(str(path) for path in broken), "--skip-unreadable")
    code, out, _ = call(capsys, "check", str(photos))
    assert code == 1
    assert all(str(path) in out for path in broken)


def test_unknown_model(photos, capsys):
    one_message(*call(capsys, "tune", str(photos), "--model", "resnet5O"), "resnet5O", "resnet50")


def test_weights_of_another_shape(photos, tmp_path, capsys):
    from safetensors.numpy import save_file

    save_file({"stem.weight": np.zeros((3, 3), np.float32)}, tmp_path / "w.safetensors")
    words = ("--model", "pocket", "--weights", str(tmp_path / "w.safetensors"))
    one_message(*call(capsys, "tune", str(photos), *words), "w.safetensors", "stem.weight")


def test_output_that_cannot_be_written(photos, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    words = ("--model", "pocket", "--epochs", "1", "--output", str(tmp_path / "file/out"))
    one_message(*call(capsys, "tune", str(photos), *words), "--output", "file/out")


def test_output_of_another_task_is_refused(photos, tmp_path, capsys):
    words = ("--model", "pocket", "--epochs", "1", "--runs", "1", "--output", str(tmp_path / "o"))
    assert call(capsys, "tune", str(photos), *words)[0] == 0
    other = write_images(tmp_path / "other", seed=5)
    one_message(*call(capsys, "tune", str(other), *words), "data is", "another")


def test_tune_answers_with_one_json_object_and_goes_on_where_it_was(photos, tmp_path, capsys):
    words = ("tune", str(photos), "--model", "pocket", "--epochs", "2", "--json", "--threads", "1")
    words += ("--output", str(tmp_path / "out"))
    code, out, _ = call(capsys, *words, "--runs", "2")
    assert code == 0
    answer = json.loads(out)
    assert answer["status"] == "complete"
    assert len({r["hyperparameters"]["lr"] for r in answer["runs"]}) == 2
    best = answer["best"]
    errors = [run["validation_top1_error"] for run in answer["runs"]]
    # Four steps: the second rate tried may diverge, which is a result without an error.
    errors += [answer["frozen_head"]["validation_top1_error"]]
    assert best["validation_top1_error"] == min(error for error in errors if error is not None)
    assert 0 <= best["test_top1_error"] <= 1
    assert all(answer[key].startswith("/") for key in ("model_path", "report_path"))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/runs/*/result.json")}
    again = json.loads(call(capsys, *words, "--runs", "3")[1])
    assert [r["id"] for r in again["runs"][:2]] == [r["id"] for r in answer["runs"]]
    assert len(again["runs"]) == 3
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())

    code, out, _ = call(capsys, "predict", answer["model_path"], str(photos / "test/cat/0.png"))
    assert code == 0
    assert out.split("\t")[1] in ("cat", "dog")


PROMISED = "id hyperparameters effective_lr validation_top1_error seconds status reason"


def test_every_training_flag_reaches_the_runs_and_the_command_repeats_them(
    photos, tmp_path, capsys
):
    flags = {"--epochs": "1", "--momentum": "0.5", "--weight-decay": "0.001", "--seed": "3"}
    flags |= {"--schedule": "cosine", "--augmentation": "none", "--regularizer": "l2-sp"}
    flags |= {"--batch-size": "8", "--threads": "1", "--output": str(tmp_path / "o")}
    words = [word for flag in flags.items() for word in flag]
    code, out, _ = call(
        capsys, "tune", str(photos), "--model", "pocket", "--runs", "1", *words, "--json"
    )
    answer = json.loads(out)
    assert code == 0
    assert set(PROMISED.split()) <= set(answer["runs"][0])
    settings = answer["runs"][0]["hyperparameters"]
    for flag, value in flags.items():
        name = flag[2:].replace("-", "_")
        if name in settings:
            assert str(settings[name]) == value
    repeated = shlex.split(answer["command"])
    assert repeated[:3] == ["kintune", "tune", str(photos)]
    again = json.loads(call(capsys, *repeated[1:], "--json")[1])
    assert again["runs"] == answer["runs"]


def test_a_search_and_a_single_run_do_not_write_over_each_other(photos, tmp_path, capsys):
    words = (str(photos), "--model", "pocket", "--epochs", "1", "--output")
    assert call(capsys, "tune", *words, str(tmp_path / "search"), "--runs", "1")[0] == 0
    assert call(capsys, "finetune", *words, str(tmp_path / "run"))[0] == 0
    one_message(*call(capsys, "finetune", *words, str(tmp_path / "search")), "search", "Choose")
    one_message(*call(capsys, "tune", *words, str(tmp_path / "run")), "single run", "Choose")


def test_a_batch_larger_than_the_training_set_is_refused(photos, capsys):
    found = call(capsys, "recommend", str(photos), "--model", "pocket", "--batch-size", "64")
    one_message(*found, "--batch-size 64", "training images")


def test_similarity_and_recommend_answer_with_the_promised_keys(photos, capsys):
    words = (str(photos), "--model", "pocket", "--json")
    measured = json.loads(call(capsys, "similarity", *words)[1])
    expected = (
        "model source target distance similarity gamma relative_distance interval "
        "prototypes_from images classes nearest_source_classes"
    )
    assert set(expected.split()) <= set(measured)
    low, high = measured["interval"]
    assert low <= measured["relative_distance"] <= high
    advice = json.loads(call(capsys, "recommend", *words)[1])
    expected = (
        "similarity effective_lr lr momentum weight_decay batch_size epochs regularizer "
        "confidence evidence warnings"
    )
    assert set(expected.split()) <= set(advice)
    assert set(advice["effective_lr"]) == {"low", "best", "high"}


def test_a_dry_run_starts_nothing(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KINTUNE_CACHE", str(tmp_path / "cache"))
    words = ("--model", "pocket", "--dry-run", "--output", str(tmp_path / "out"), "--json")
    code, out, _ = call(capsys, "tune", str(photos), *words)
    plan = json.loads(out)
    assert code == 0
    assert plan["seconds"] > 0
    assert plan["disk_bytes"] > 0
    assert (plan["lr"], plan["effective_lr"]) == (None, None)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("command", "flags", "lr"),
    [
        ("tune", (), None),
        ("search", ("--no-recommendation",), 0.01),
        ("finetune", (), None),
        ("finetune", ("--lr", "0.02"), 0.02),
    ],
)
def test_a_dry_run_says_the_rate_where_no_measurement_decides_it(
    photos, tmp_path, monkeypatch, capsys, command, flags, lr
):
    words = ("--model", "pocket", "--epochs", "2", "--dry-run", *flags)
    _, out, _ = call(capsys, command, str(photos), *words, "--json")
    _, text, err = call(capsys, command, str(photos), *words, "--verbose")
    assert json.loads(out)["lr"] == lr
    assert ("decided by measurement" in text) == (lr is None)
    assert ("decided by measurement" in err) == (lr is None)


def test_a_diverged_run_has_null_and_a_reason(photos, tmp_path, capsys):
    words = ("--model", "pocket", "--epochs", "2", "--lr", "1e5", "--output", str(tmp_path / "o"))
    code, out, _ = call(capsys, "finetune", str(photos), *words, "--json")
    answer = json.loads(out)
    assert code == 1
    assert answer["best"] is None
    assert answer["runs"][0]["status"] == "diverged"
    assert answer["runs"][0]["validation_top1_error"] is None
    assert answer["runs"][0]["reason"]


def test_the_cache_is_shown_and_cleared(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KINTUNE_CACHE", str(tmp_path / "cache"))
    _, _, err = call(capsys, "similarity", str(photos), "--model", "pocket", "--verbose")
    assert f"Decoded 32 images, 0.1 MB in {tmp_path / 'cache'}" in err
    shown = json.loads(call(capsys, "cache", "--json")[1])
    assert {entry["kind"] for entry in shown["entries"]} == {"images", "features"}
    assert shown["bytes"] == sum(entry["bytes"] for entry in shown["entries"])

    lines = call(capsys, "cache")[1].splitlines()
    assert sorted(line.split()[0] for line in lines[1:3]) == sorted(
        entry["path"].removeprefix(f"{tmp_path / 'cache'}/") for entry in shown["entries"]
    )
    assert lines[-1].startswith(f"{tmp_path / 'cache'}: there are 2 entries, 0.1 MB")

    code, out, _ = call(capsys, "cache", "--clear")
    assert code == 0
    assert out.splitlines()[-1].startswith(f"{tmp_path / 'cache'}: removed 2 entries")
    assert call(capsys, "cache")[1] == f"{tmp_path / 'cache'}: there are 0 entries, 0.0 MB\n"


def test_references_are_listed_and_adding_one_needs_a_finished_search(tmp_path, capsys):
    lines = call(capsys, "reference", "list")[1].splitlines()
    assert sum("studies/recipes/run.py" in line for line in lines) >= 16
    assert lines[-1].startswith("your own references: ")
    shown = json.loads(call(capsys, "reference", "list", "--json")[1])
    assert len(shown["references"]) == len(lines) - 2
    assert call(capsys, "reference", "add") == (
        1,
        "",
        (
            "kintune: error: kintune reference add needs one FOLDER, the output folder of kintune "
            "tune.\n"
        ),
    )
    code, _, err = call(capsys, "reference", "add", str(tmp_path))
    assert (code, "no finished search" in err) == (1, True)


@pytest.mark.parametrize(("given", "expected"), [(None, "passive"), ("active", "active")])
def test_threads_wait_passively_unless_the_person_says_otherwise(given, expected):
    program = (
        "import os, sys\n"
        "from kintune.cli import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {} if given is None else {"OMP_WAIT_POLICY": given}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == f"False {expected}"
