"""Runs and measurements of a tiny protocol, really made: shared, resumed, refused."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintune.base.errors import DataError, KintuneError
from kintune.cli import COMMANDS
from kintune.options import ReproduceOptions
from kintune_paper import context as study_context
from kintune_paper.context import NetworkFile, StudyContext
from kintune_paper.engine import loss_plane
from kintune_paper.engine import work as work_module
from kintune_paper.engine.declaration import (
    Cell,
    Experiment,
    Measurement,
    Row,
    Table,
    Variation,
)
from kintune_paper.engine.inputs import refuse_missing
from kintune_paper.engine.known import KnownRuns
from kintune_paper.engine.measuring import MeasurementArchive
from kintune_paper.engine.state import reproduction_table
from kintune_paper.engine.work import Work, configured, do_all
from kintune_paper.reproduce import state_of
from kintune_paper.run_records import RunArchive

pytestmark = pytest.mark.timeout(300)


def table(*choices, measurements=()):
    cells = [Cell(choice=choice) for choice in choices]
    cells += [Cell(measurement=each, fact="train") for each in measurements]
    view = Table(head=("", *map(str, cells)), rows=(Row(labels=("",), cells=tuple(cells)),))
    return Experiment(name="table9", title="", printed="", declare=lambda _: view)


@pytest.fixture
def make_work(protocol, sets, tmp_path):
    def make(*experiments, data=sets, runs=tmp_path / "runs", used=protocol):
        archive = RunArchive(tmp_path / "results")
        return Work(
            protocol=used,
            experiments=experiments,
            context=StudyContext(root=runs, data=data),
            archive=archive,
            measurements=MeasurementArchive(archive.root / "measurements"),
            known=KnownRuns([archive]),
        )

    return make


def test_what_is_missing_is_run_and_recorded_and_never_run_again(
    protocol, make_work, monkeypatch, capsys
):
    runs = protocol.runs("pocket", "near", lr=(0.05, 0.01))
    varied = Variation(of=runs, change=(("bn_momentum", 0.5),))
    work = make_work(table(runs, (varied,)))
    assert do_all(work)
    best = work.known.best_of(runs)
    assert work.known.resolved(varied).settings.lr == best.settings.lr
    records = work.archive.read("pocket", "near")
    assert len(records) == 3
    assert all(0 <= record.test_error <= 1 for record in records)
    assert all(len(record.normalised_l2) == 1 for record in records)
    assert not list(work.context.root.glob("*/model"))
    monkeypatch.setattr(study_context, "recorded_run", None)
    assert do_all(make_work(table(runs, (varied,))))
    assert "seed 0: validation" in capsys.readouterr().err


def test_a_run_that_another_experiment_made_counts(protocol, make_work, monkeypatch):
    run = protocol.runs("pocket", "near", lr=0.05)
    assert do_all(make_work(table(run)))
    monkeypatch.setattr(study_context, "recorded_run", None)
    both = make_work(table(run), table(run, run))
    assert do_all(both)


def test_no_run_is_begun_after_the_time(protocol, make_work):
    work = make_work(table(protocol.runs("pocket", "near")))
    assert not do_all(work, hours=0)
    assert work.archive.read("pocket", "near") == ()


def test_images_are_counted_without_a_run(make_work):
    counted = Measurement(kind="images", network="pocket", target="near")
    work = make_work(table(measurements=(counted,)))
    assert do_all(work)
    assert work.measurements.read(counted) == {"classes": 2, "train": 24, "val": 8, "test": 8}


def test_a_loss_plane_has_low_ground_at_the_ends_of_training(protocol, make_work, monkeypatch):
    monkeypatch.setattr(loss_plane, "STEPS", 4)
    runs = protocol.runs("pocket", "near", lr=0.02, epochs=4, momentum=(0.9, 0.0))
    plane = Measurement(kind="loss plane", network="pocket", target="near", runs=runs)
    work = make_work(table(measurements=(plane,)))
    assert do_all(work)
    found = work.measurements.read(plane)
    assert found["start"] == [0.0, 0.0]
    assert found["ends"][0] == pytest.approx([1.0, 0.0], abs=1e-6)
    assert found["x"][0] < 0 < 1 < found["x"][-1]
    losses = found["loss"]
    assert len(losses) == len(found["y"])

    def at(point):
        column = min(range(len(found["x"])), key=lambda i: abs(found["x"][i] - point[0]))
        row = min(range(len(found["y"])), key=lambda i: abs(found["y"][i] - point[1]))
        return losses[row][column]

    assert at(found["ends"][0]) < at(found["start"])


def test_weights_that_were_not_kept_are_trained_again_and_the_record_stays(
    protocol, make_work, monkeypatch
):
    monkeypatch.setattr(loss_plane, "STEPS", 2)
    runs = protocol.runs("pocket", "near", lr=0.02, momentum=(0.9, 0.0))
    first = make_work(table(runs))
    assert do_all(first)
    before = first.archive.path("pocket", "near").read_bytes()
    plane = Measurement(kind="loss plane", network="pocket", target="near", runs=runs)
    assert do_all(make_work(table(measurements=(plane,))))
    assert first.archive.path("pocket", "near").read_bytes() == before


def test_other_images_under_the_name_are_refused(protocol, make_work, sets, tmp_path):
    run = protocol.runs("pocket", "near", lr=0.05)
    assert do_all(make_work(table(run)))
    (tmp_path / "swapped").mkdir()
    (tmp_path / "swapped/near").symlink_to(sets / "far")
    other = protocol.runs("pocket", "near", lr=0.02)
    work = make_work(table(other), data=tmp_path / "swapped", runs=tmp_path / "elsewhere")
    with pytest.raises(KintuneError, match="made with other images"):
        do_all(work)


def test_a_run_that_fails_is_told_and_does_not_hold_the_others(
    protocol, make_work, monkeypatch, capsys
):
    real = study_context.recorded_run

    def sometimes(backbone, dataset, config, folder, **options):
        record = real(backbone, dataset, config, folder, **options)
        if config.hyperparameters.lr == 0.05:
            failed = record.result.replace(status="failed", reason="no luck")
            return record.replace(result=failed)
        return record

    monkeypatch.setattr(study_context, "recorded_run", sometimes)
    monkeypatch.setattr(work_module, "WAIT_SECONDS", 0.01)
    runs = protocol.runs("pocket", "near", lr=(0.05, 0.01))
    work = make_work(table(runs))
    assert not do_all(work)
    assert [r.config.hyperparameters.lr for r in work.archive.read("pocket", "near")] == [0.01]
    assert "no luck" in capsys.readouterr().err
    assert len(work.failed) == 1
    state = state_of(work, ReproduceOptions(name="table1", runs=work.context.root))
    assert not COMMANDS["reproduce"].succeeded(state)
    assert f"1 run failed: {state.failed[0]}" in reproduction_table(state)


def test_everything_that_is_not_there_is_named_at_once(protocol, make_work, tmp_path):
    work = make_work(
        table(protocol.runs("pocket", "near"), protocol.runs("in1k", "absent")), data=None
    )
    with pytest.raises(DataError) as refusal:
        refuse_missing(work)
    assert "near: is needed. Give the folder that holds it: --data DIR." in str(refusal.value)
    assert "mobilenetv2_100.in1k.safetensors: is needed" in str(refusal.value)
    work = make_work(table(protocol.runs("pocket", "absent")), data=tmp_path)
    with pytest.raises(DataError, match=r"absent: needs the folders train and test"):
        refuse_missing(work)
    work = make_work(table(protocol.runs("pocket", "cifar100-held-out")), data=tmp_path)
    with pytest.raises(DataError, match=r"cifar100/train.parquet.*not there.*CIFAR-100 as parquet"):
        refuse_missing(work)


def test_what_is_there_or_recorded_is_not_asked_for(protocol, make_work):
    run = protocol.runs("pocket", "near", lr=0.05)
    refuse_missing(make_work(table(run)))
    done = make_work(table(run))
    do_all(done)
    refuse_missing(
        replace(make_work(table(run), data=None, runs=done.context.root), known=done.known)
    )


def test_fewer_devices_keep_the_statistics_of_a_device_s_share(protocol, make_work):
    """The paper trains batches of 256 on 8 devices: batch statistics are of 32 images."""
    (run,) = protocol.runs("pocket", "near", batch_size=16)
    work = make_work(table((run,)))
    backbone = work.context.backbone(protocol.networks["pocket"].file)
    dataset = work.context.dataset("near", backbone)
    assert configured(run, protocol, backbone, dataset).micro_batch_size is None
    eight = replace(protocol, devices=8)
    assert configured(run, eight, backbone, dataset).micro_batch_size == 2
    (counted,) = protocol.runs("pocket", "near", iterations=10)
    config = configured(counted, protocol, backbone, dataset)
    assert (config.hyperparameters.epochs, config.hyperparameters.iterations) == (4, 10)


def test_a_finished_run_of_a_search_is_taken_over(protocol, make_work, monkeypatch, tmp_path):
    run = protocol.runs("pocket", "near", lr=0.05)
    first = make_work(table(run))
    monkeypatch.setattr(study_context, "keep_only_json", lambda _: None)
    assert do_all(first)
    (record,) = first.archive.read("pocket", "near")
    (tmp_path / "search").mkdir()
    (tmp_path / "runs").rename(tmp_path / "search/runs")
    first.archive.path("pocket", "near").unlink()
    (tmp_path / "search/runs" / record.config.id / "record.json").unlink()
    monkeypatch.setattr("kintune.training.run.train", None)
    later = make_work(table(run))
    later = replace(later, context=replace(later.context, earlier=(tmp_path / "search",)))
    assert do_all(later)
    assert later.archive.read("pocket", "near")[0].test_error == record.test_error


def test_a_source_is_made_first_and_then_started_from(protocol, make_work, tmp_path):
    pocket = protocol.networks["pocket"]
    made = replace(pocket, file=NetworkFile("pocket", "made.safetensors"), made_by="near")
    used = replace(
        protocol, maker="pocket", networks={**protocol.networks, "pocket": pocket, "made": made}
    )
    work = make_work(table(used.runs("made", "far"), used.runs("pocket", "near")), used=used)
    work = replace(work, context=replace(work.context, models=tmp_path / "models"))
    refuse_missing(work)
    assert do_all(work)
    (record,) = work.archive.read("made", "far")
    (source,) = work.archive.read("pocket", "near")
    assert record.config.weights_sha256 != source.config.weights_sha256
    assert (tmp_path / "models/made.json").exists()


def test_an_official_set_is_trained_on_whole(protocol, make_work, tmp_path):
    """A small tree in the layout of MIT Indoor-67; a fifth of its training images validates."""
    rng = np.random.default_rng(0)
    lists = {"TrainImages.txt": 10, "TestImages.txt": 3}
    for name, count in lists.items():
        files = [
            f"{place}/{name[:2]}{index}.jpg" for place in ("bar", "gym") for index in range(count)
        ]
        for file in files:
            path = tmp_path / "mit-indoor67/Images" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
        (tmp_path / "mit-indoor67" / name).write_text("\n".join(files))
    work = make_work(table(protocol.runs("pocket", "mit-indoor67")), data=tmp_path)
    work = replace(work, context=replace(work.context, is_official=True))
    refuse_missing(work)
    assert do_all(work)
    assert work.known.files["pocket", "mit-indoor67"].counts == {"train": 16, "val": 4, "test": 6}
    absent = make_work(table(protocol.runs("pocket", "flowers102")), data=tmp_path)
    absent = replace(absent, context=replace(absent.context, is_official=True))
    with pytest.raises(DataError, match=r"flowers102: no such folder(.|\n)*102flowers.tgz"):
        refuse_missing(absent)


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.kintune_paper.engine.conftest import tiny_protocol
from kintune_paper.iclr2020 import protocols
from kintune_paper import reproduce as command
from kintune_paper.engine import work
command.PROTOCOLS["small"] = tiny_protocol()
work.WAIT_SECONDS = 0.2
command.with_sets = lambda protocol, sets: protocol
from kintune.cli import main
main(["reproduce", "figure8", "--data", {data!r}, "--runs", {runs!r}, "--results", {results!r}])
"""


def program(sets, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(
        PROGRAM.format(
            root=str(Path(__file__).parents[3]),
            data=str(sets),
            runs=str(tmp_path / "runs"),
            results=str(tmp_path / "results"),
        )
    )
    return path


def start(sets, tmp_path, *launcher):
    words = [sys.executable, *launcher, str(program(sets, tmp_path))]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def recorded(tmp_path):
    path = tmp_path / "results/pocket-near.json"
    return [run["config"] for run in json.loads(path.read_text())["runs"]] if path.exists() else []


def wait_for(condition, seconds=100):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.mark.slow
def test_two_processes_share_the_runs_and_a_killed_one_is_gone_on_with(sets, tmp_path):
    first = start(sets, tmp_path)
    wait_for(lambda: len(recorded(tmp_path)) >= 1)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    together = [start(sets, tmp_path) for _ in range(2)]
    answers = [process.communicate() for process in together]
    assert [process.returncode for process in together] == [0, 0], answers
    configs = recorded(tmp_path)
    rates = {(c["hyperparameters"]["momentum"], c["hyperparameters"]["lr"]) for c in configs}
    assert len(configs) == len(rates) == 3
    lines = [line for _, error in answers for line in error.splitlines() if "validation" in line]
    assert len(lines) == len(set(lines)) <= 2
    assert (tmp_path / "results/figure8.svg").exists()


@pytest.mark.slow
def test_replicas_that_torchrun_starts_train_each_run_together(sets, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    process = start(sets, tmp_path, *launcher)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.count("0 runs are missing") == 1
    assert [config["devices"] for config in recorded(tmp_path)] == [2, 2, 2]
