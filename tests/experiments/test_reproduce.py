"""`kintune reproduce` as a person meets it."""

import json

import pytest

from kintune.cli import main
from kintune.experiments.iclr2020 import EXPERIMENTS


def call(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", *words])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_the_list_has_an_entry_a_protocol_and_experiment(capsys, tmp_path):
    code, out, err = call(capsys, "--list", "--json", "--runs", str(tmp_path))
    listed = json.loads(out)["experiments"]
    assert (code, err) == (0, "")
    assert [each["name"] for each in listed[::2]] == list(EXPERIMENTS)
    assert {each["protocol"] for each in listed} == {"small", "paper"}
    assert {each["state"] for each in listed} == {"not begun"}
    assert all(each["hours"] > 0 for each in listed if each["runs"])
    assert list(tmp_path.iterdir()) == []


def test_a_plan_counts_what_is_missing_and_runs_nothing(capsys, tmp_path):
    code, out, _ = call(capsys, "figure8", "--plan", "--runs", str(tmp_path))
    assert code == 0
    assert "11 runs are missing" in out
    code, out, _ = call(capsys, "all", "--protocol", "paper", "--plan", "--runs", str(tmp_path))
    assert code == 0
    assert "2105 runs are missing" in out
    assert "GPU" in out


@pytest.mark.parametrize("words", [("table9",), ()])
def test_a_wrong_name_is_answered_with_the_right_ones(capsys, words):
    code, out, err = call(capsys, *words)
    assert (code, out) == (1, "")
    assert "table1" in err
    assert "figure13" in err


def test_what_is_needed_is_named_with_its_place(capsys, tmp_path):
    code, _, err = call(capsys, "table2", "--data", str(tmp_path), "--runs", str(tmp_path / "r"))
    assert code == 1
    assert f"{tmp_path}/caltech101: needs the folders train and test" in err
    assert f"{tmp_path}/cifar100/train.parquet" in err
    code, _, err = call(capsys, "figure8", "--runs", str(tmp_path / "r"))
    assert code == 1
    assert "cifar100-held-out: is needed. Give the folder that holds it: --data DIR." in err


def test_a_source_that_the_protocol_makes_is_offered(capsys, tmp_path):
    words = ("table3", "--protocol", "paper", "--data", str(tmp_path), "--models", str(tmp_path))
    code, _, err = call(capsys, *words, "--runs", str(tmp_path / "r"))
    assert code == 1
    assert "Or make it: kintune reproduce table7 --protocol paper." in err
