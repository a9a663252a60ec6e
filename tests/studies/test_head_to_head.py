"""The study that compares Kintune with its peers: equal images and steps, paired differences."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegressionCV
from torch import nn

from kintune.backbones import BackboneOverrides, load_backbone
from kintune.data import load_dataset
from kintune.similarity.features import extract_features
from kintune.training.steps import batch_bounds
from studies.head_to_head import peers, plain_loop, run
from studies.head_to_head.comparison import differences, interval, tables

WITHOUT_OTHER_PACKAGES = [
    name for name in peers.METHODS if "fastai" not in name and name != "schedule-free"
]
SIDE = 32


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Three classes of noisy colors, 14 training and 6 test images each."""
    folder = tmp_path_factory.mktemp("data") / "colors"
    generator = np.random.default_rng(0)
    for split, count in (("train", 14), ("test", 6)):
        for index, name in enumerate(("blue", "green", "red")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 200, (40, 40, 3))
                pixels[..., index] += 55
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(folder / split / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("pocket", overrides=BackboneOverrides(image_size=SIDE))


@pytest.fixture(scope="module")
def task(source, backbone, tmp_path_factory):
    case = {"epochs": 1, "budget": 2, "seed": 0}
    return run.task_of(backbone, load_dataset(source, backbone.input), case)


def record(method, name, error, network="pocket", seed=0, budget=None):
    return {
        "network": network,
        "images": 320,
        "epochs": 12,
        "seed": seed,
        "budget": budget or {"kintune-4": 4, **peers.SEARCHES}.get(method, 1),
        "method": method,
        "set": name,
        "test_top1_error": error,
        "steps": 216,
    }


def test_a_budget_is_the_steps_of_the_runs_and_of_the_training_on_all_images(task):
    train, validation = (len(task.dataset.splits[split]) for split in ("train", "val"))
    assert (train, validation) == (33, 9)
    assert task.run_steps == len(batch_bounds(33, 32)) == 2
    assert task.steps == 2 * 2 + len(batch_bounds(42, 32)) == 6
    assert len(task.whole.splits["train"]) == 42


@pytest.mark.parametrize("method", WITHOUT_OTHER_PACKAGES)
def test_every_peer_trains_within_its_steps(task, method, monkeypatch):
    taken = []
    batches = plain_loop.batches

    def counted(*args):
        for batch in batches(*args):
            taken.append(batch)
            yield batch

    monkeypatch.setattr(plain_loop, "batches", counted)
    monkeypatch.setattr(peers, "GRID", peers.GRID[:2])
    found = peers.METHODS[method](task)
    assert 0 <= found.test_error <= 1
    assert found.steps == (0 if method == "probe" else task.steps)
    assert len(taken) == found.steps


def test_the_probe_is_scikit_learns_on_features_of_one_scale(task, backbone):
    network = plain_loop.started(task, task.whole, "probe").eval()
    features = extract_features(backbone, task.whole, "train")
    values = np.asarray(features.values, np.float64)
    values = values - values.mean(axis=0)
    values /= np.sqrt(np.square(values).sum(axis=1).mean())
    plain = LogisticRegressionCV(
        cv=5,
        l1_ratios=(0,),
        scoring="neg_log_loss",
        use_legacy_attributes=False,
        tol=1e-7,
        max_iter=1000,
    ).fit(values, features.labels)
    head = network.get_submodule(backbone.head_name)
    assert isinstance(head, nn.Linear)
    logits = head(torch.from_numpy(np.array(features.values))).detach().numpy()
    expected = plain.decision_function(values)
    assert np.abs(logits - expected).max() < 0.02 * np.abs(expected).max()


def test_frozen_statistics_stay_and_others_move(task, backbone):
    before = backbone.network.get_buffer("norm.running_mean")
    frozen, _ = plain_loop.trained(task, task.whole, peers.frozen_003(task), 2)
    usual, _ = plain_loop.trained(task, task.whole, peers.lp_ft(task), 2)
    assert torch.equal(frozen.get_buffer("norm.running_mean"), before)
    assert not torch.equal(usual.get_buffer("norm.running_mean"), before)
    assert not torch.equal(
        frozen.get_parameter("stem.weight"), backbone.network.get_parameter("stem.weight")
    )


def test_every_image_comes_equally_often_in_whole_batches(task):
    labels = [
        batch_labels
        for _, batch_labels in plain_loop.batches(
            task, task.whole, plain_loop.mirrored(task.backbone), steps=21
        )
    ]
    assert {len(batch) for batch in labels} == {32}
    assert torch.cat(labels).bincount().tolist() == [224, 224, 224]


def test_layers_learn_the_slower_the_nearer_to_the_input(backbone):
    groups = peers.layer_groups(backbone.network, backbone.head_name, 1.0, 0.5)
    rates = [group["lr"] for group in groups]
    assert rates == [0.5**depth for depth in range(6, -1, -1)]  # stem, four blocks, norm, head
    sizes = [sum(p.numel() for p in group["params"]) for group in groups]
    assert sizes[0] == backbone.network.stem.weight.numel()
    assert sizes[-1] == sum(p.numel() for p in backbone.network.fc.parameters())


def test_a_subset_has_the_same_classes_in_both_splits_and_no_test_image_in_training(
    source, tmp_path
):
    folder = run.subset(source, tmp_path / "subset", images=10, test_images=4)
    counts = {
        split: [len(list(path.iterdir())) for path in sorted((folder / split).iterdir())]
        for split in ("train", "test")
    }
    assert counts == {"train": [4, 3, 3], "test": [2, 1, 1]}
    targets = {path.resolve() for path in folder.rglob("*.png")}
    assert len(targets) == 14
    assert {path.relative_to(source).parts[0] for path in targets} == {"train", "test"}


@pytest.mark.slow
def test_the_study_is_run_once_and_shown(source, tmp_path, monkeypatch, capsys):
    results = tmp_path / "runs.jsonl"
    monkeypatch.chdir(tmp_path)
    flags = ["run.py", "--data", str(source.parent), "--models", str(tmp_path)]
    flags += ["--networks", "pocket", "--sets", "colors", "--images", "42", "--epochs", "1"]
    flags += ["--methods", "probe", "lp-ft", "kintune-1", "--results", str(results)]
    monkeypatch.setattr("sys.argv", flags)
    run.main()
    first = results.read_text()
    lines = [json.loads(line) for line in first.splitlines()]
    assert [line["method"] for line in lines] == ["probe", "lp-ft", "kintune-1"]
    assert {line["training_images"] for line in lines} == {42}
    assert all(line["steps"] <= line["allowed_steps"] for line in lines)
    assert lines[2]["details"]["kept"]

    run.main()
    assert results.read_text() == first

    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["run.py", "--show", "--results", str(results)])
    run.main()
    shown = capsys.readouterr().out
    assert shown.startswith("**pocket**, 42 training images, 1 epochs a run, 1 seed")
    assert [line.split(" | ")[0] for line in shown.splitlines()[4:7]] == [
        "| probe",
        "| lp-ft",
        "| kintune-1",
    ]


def test_differences_are_paired_by_set_and_averaged_over_networks():
    ours = {("a", "birds"): 10.0, ("b", "birds"): 20.0, ("a", "cars"): 1.0}
    theirs = {("a", "birds"): 8.0, ("b", "birds"): 12.0, ("b", "cars"): 7.0}
    assert differences(ours, theirs) == {"birds": 5.0}


def test_an_interval_holds_the_mean_and_narrows_with_the_spread():
    assert interval([2.0, 2.0, 2.0]) == (2.0, 2.0)
    low, high = interval([0.0, 1.0, 2.0, 3.0])
    assert 0 < low < 1.5 < high < 3


def test_seeds_are_averaged_and_another_budget_is_a_row_of_its_own():
    shown = tables(
        [
            record("kintune-1", "birds", 0.1),
            record("kintune-1", "birds", 0.2, seed=1),
            record("lp-ft", "birds", 0.25),
            record("lp-ft", "birds", 0.05, budget=4),
        ]
    )
    rows = [line.split(" | ") for line in shown.splitlines() if line.startswith("| ")]
    assert ["| kintune-1", "15.0", "15.0"] in [row[:3] for row in rows]
    assert ["| lp-ft", "25.0", "25.0", "+10.0 (+10.0 to +10.0)"] in [row[:4] for row in rows]
    assert ["| lp-ft, budget 4", "**5.0**", "**5.0**"] in [row[:3] for row in rows]


def test_a_mean_is_given_where_all_sets_are_there():
    shown = tables(
        [
            record("lp-ft", "birds", 0.2),
            record("lp-ft", "cars", 0.4),
            record("probe", "birds", 0.1),
        ]
    )
    [lp_ft, probe] = [line.split(" | ") for line in shown.splitlines()[4:6]]
    assert lp_ft[3] == "**30.0**"
    assert probe[1:4] == ["**10.0**", "", ""]
    assert "Not judged" in shown


SETS = ("birds", "cars", "dogs")


def goals_of(**errors):
    names = {"ours": "kintune-1", "four": "kintune-4", "lp_ft": "lp-ft"}
    shown = tables(
        [
            record(names.get(method, method), name, error)
            for method, values in errors.items()
            for name, error in zip(SETS, values, strict=False)
        ]
    )
    return [line for line in shown.splitlines() if line.startswith("- (")]


def test_goals_that_are_met():
    lines = goals_of(ours=(0.1, 0.2, 0.3), lp_ft=(0.2, 0.3, 0.4), probe=(0.2, 0.31, 0.41))
    assert [line.split(":")[0].split(",")[0] for line in lines] == [
        "- (1) met",
        "- (2) met",
        "- (3) met",
    ]
    assert "lp-ft, the best peer on these test images, on 30.0 %" in lines[1]
    assert "-10.0 (-10.0 to -10.0)" in lines[1]


def test_goals_that_are_missed_say_where_and_by_how_much():
    lines = goals_of(ours=(0.1, 0.2, 0.45), lp_ft=(0.2, 0.3, 0.1), probe=(0.2, 0.2, 0.4))
    assert lines[0].endswith("missed by kintune-1 in 1 of 3: pocket on dogs by 35.00")
    assert "worst pocket on dogs, +35.0" in lines[1]
    assert lines[1].startswith("- (2) **missed**")
    assert lines[2].startswith("- (3) **missed**: kintune-1 errs on 25.0 %, 5.0 more")


def test_a_peer_that_has_not_run_everywhere_is_named_and_does_not_shrink_the_comparison():
    records = [record("kintune-1", "cats", 0.1), record("kintune-1", "dogs", 0.2)]
    records += [record("probe", "cats", 0.2), record("probe", "dogs", 0.3)]
    shown = tables([*records, record("fastai", "cats", 0.05)])
    assert "- 2 networks and sets, 1 peer; left out for having fewer: fastai (1)." in shown
    assert "probe, the best peer on these test images, on 25.0 %" in shown


def test_four_runs_are_judged_by_the_grid_which_is_no_peer():
    lines = goals_of(ours=(0.1, 0.2), probe=(0.2, 0.3), four=(0.08, 0.17), grid=(0.07, 0.16))
    assert lines[-1] == (
        "- (4) **missed**: kintune-4 minus the grid of 60: +1.0 points (+1.0 to +1.0, 2 sets)."
    )
    assert all("probe, the best peer" in line for line in lines if line.startswith("- (2)"))


def test_no_interval_without_zero_no_goal():
    lines = goals_of(ours=(0.1, 0.2, 0.3), lp_ft=(0.11, 0.195, 0.31), probe=(0.2, 0.3, 0.4))
    assert lines[0].startswith("- (1) met")
    assert lines[1].startswith("- (2) **missed**")
