"""`kintune reproduce` as a person meets it."""

import json

import pytest

from kintune.base.errors import DataError
from kintune.cli import main
from kintune.options import ReproduceOptions
from kintune_paper.engine.declaration import DeclaredRun
from kintune_paper.engine.inputs import refuse_missing
from kintune_paper.engine.sources import making_run
from kintune_paper.iclr2020 import EXPERIMENTS
from kintune_paper.reproduce import work_of
from tests.kintune_paper.engine.conftest import make_sets, synthetic_record


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


def test_a_folder_of_ones_own_is_a_set(capsys, tmp_path):
    """Measured once, under its name; another folder that is called alike is another set."""
    words = []
    for place, levels in (("a", (40, 200)), ("b", (60, 180))):
        make_sets(tmp_path / place, ("photos",), levels)
        words += ["--sets", str(tmp_path / place / "photos")]
    runs = tmp_path / "runs"
    for _ in range(2):
        code, out, _ = call(capsys, "table1", *words, "--runs", str(runs), "--json")
        state = json.loads(out)
        assert code == 0
        assert state["experiments"][0]["state"] == "complete"
    table = (runs / "results/small/table1.md").read_text()
    assert table.count("| photos |") == 2
    measured = sorted((runs / "results/small/measurements").glob("images-*.json"))
    assert len(measured) == 2


def test_records_of_a_folder_are_found_by_its_declared_runs(tmp_path):
    folder = make_sets(tmp_path / "a", ("photos",)) / "photos"
    work = work_of(ReproduceOptions(name="figure8", sets=(str(folder),), runs=tmp_path / "runs"))
    (target,) = work.protocol.sets
    backbone = work.context.backbone(work.protocol.networks["pocket"].file)
    assert work.context.dataset(target, backbone).name == target
    assert {run.target for run in work.runs if isinstance(run, DeclaredRun)} == {target}


def test_official_sets_have_names(capsys, tmp_path):
    words = ("table1", "--protocol", "paper", "--sets", f"{tmp_path}/photos")
    code, _, err = call(capsys, *words, "--runs", str(tmp_path / "r"))
    assert code == 1
    assert f"--sets {tmp_path}/photos: the paper protocol takes official sets" in err
    assert "stanford-dogs" in err


def test_the_list_reads_each_protocols_own_results(capsys, tmp_path):
    call(capsys, "table1", "--sets", "sklearn:digits", "--runs", str(tmp_path))
    for protocol in ("small", "paper"):
        words = ("--list", "--json", "--protocol", protocol, "--runs", str(tmp_path))
        _, out, _ = call(capsys, *words)
        states = {
            each["protocol"]: each["state"]
            for each in json.loads(out)["experiments"]
            if each["name"] == "table1"
        }
        assert states == {"small": "begun", "paper": "not begun"}


def test_a_source_that_was_made_and_lost_is_said(tmp_path):
    options = ReproduceOptions(
        name="table3",
        protocol="paper",
        runs=tmp_path / "runs",
        models=tmp_path / "models",
        data=tmp_path,
    )
    work = work_of(options)
    making = making_run(work.protocol.networks["resnet101v2.inat2017"], work.protocol)
    work.known.add(making.network, making.target, synthetic_record(making, 0.3))
    with pytest.raises(DataError, match=r"Its training is recorded, but .* is gone"):
        refuse_missing(work)
