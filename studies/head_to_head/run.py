#!/usr/bin/env python3
"""Kintune beside the ways in which others fine-tune: test errors on the same images and network.

    python -m studies.head_to_head.run --data DATA --models MODELS     # run what is missing
    python -m studies.head_to_head.run --show                          # tables, from the records

DATA holds NAME/{train,test}/CLASS/FILE, MODELS the networks of `NETWORKS`. Each method gets the
same training images, the same network and at most as many optimizer steps as `kintune tune` takes
with `--runs 1` (`kintune-1`), its training on all images after the search included; methods that
search get those of `--runs 4` (`kintune-4`), as all others do with `--budget 4`; the grid has those
of 60 runs. Nothing is chosen on test images, and each method sees them once. Every run is a line of
`results/head_to_head/runs.jsonl`, so the study continues where it was stopped; to run a method
again, delete its lines. The peers need what `requirements.txt` beside this file names.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `kintune` does; before torch is loaded

import torch

from kintune.backbones import Backbone, BackboneOverrides, load_backbone
from kintune.base.processor import keep_large_blocks
from kintune.data import ImageDataset, load_dataset
from kintune.training.steps import batch_bounds
from studies.head_to_head.comparison import BY_KINTUNE, tables
from studies.head_to_head.peers import METHODS, SEARCHES
from studies.head_to_head.plain_loop import Outcome, Task

RESULTS = Path(__file__).parents[2] / "results" / "head_to_head" / "runs.jsonl"
SETS = (
    *("fsdd-spectrograms", "caltech101", "sign-digits", "clothing10"),
    *("birds", "omniglot-small", "grocery-store", "insects"),
)
NETWORKS = {
    "efficientnet_lite0": ("tf_efficientnet_lite0", "tf_efficientnet_lite0.in1k.safetensors", 96),
    "pocket": ("pocket", None, 32),
    "mobilenetv2_trunk": ("mobilenetv2_100", "mobilenetv2_100.trunk.safetensors", 96),
}
EPOCHS, BATCH_SIZE, MAX_CLASSES = 12, 32, 50
KEY = ("network", "images", "epochs", "seed", "budget", "method", "set")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    methods = [*METHODS, *BY_KINTUNE]
    parser.add_argument("--data", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--scratch", type=Path, default=Path("runs/head_to_head"))
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--images", type=int, default=320, help="training images of a set")
    parser.add_argument("--test-images", type=int, default=500, help="at most, of a set")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of one run of Kintune")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--budget", type=int, default=1, help="runs of Kintune whose steps all get")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--show", action="store_true", help="print the tables of the results")
    args = parser.parse_args()
    if args.show:
        print(tables(records(args.results)))
        return
    if args.data is None or args.models is None:
        parser.error("--data and --models are needed")
    keep_large_blocks()
    torch.set_num_threads(args.threads)
    measure(args)


def measure(args: argparse.Namespace) -> None:
    """Run what is missing, and write each record as it comes."""
    args.results.parent.mkdir(parents=True, exist_ok=True)
    done = {key_of(record) for record in records(args.results)}
    backbones: dict[str, Backbone] = {}
    for case in cases(args):
        if key_of(case) in done:
            continue
        name, file, size = NETWORKS[case["network"]]
        weights = args.models / file if file else None
        if case["network"] not in backbones:
            backbones[case["network"]] = load_backbone(
                name, weights=weights, overrides=BackboneOverrides(image_size=size)
            )
        folder = subset(
            args.data / case["set"],
            args.scratch / "sets" / f"{case['set']}-{args.images}-{args.test_images}",
            args.images,
            args.test_images,
        )
        backbone = backbones[case["network"]]
        dataset = load_dataset(str(folder), backbone.input, seed=case["seed"])
        task = task_of(backbone, dataset, case)
        began = time.monotonic()
        if case["method"] in BY_KINTUNE:
            flags = ["--model", name, "--image-size", str(size), "--threads", str(args.threads)]
            flags += ["--weights", str(weights)] if weights else []
            found = by_kintune(task, folder, case, flags, args.scratch / "kintune")
        else:
            found = METHODS[case["method"]](task)
        record = case | {
            "test_top1_error": found.test_error,
            "steps": found.steps,
            "allowed_steps": task.steps,
            "training_images": len(task.whole.splits["train"]),
            "test_images": len(dataset.splits["test"]),
            "classes": len(dataset.classes),
            "seconds": round(time.monotonic() - began, 1),
            "details": found.details,
        }
        with args.results.open("a") as stream:
            stream.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)


def cases(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The declared runs: one network after another, in it one method after another."""
    for network in args.networks:
        for seed in range(args.seeds):
            for method in args.methods:
                for name in args.sets:
                    budget = (BY_KINTUNE | SEARCHES).get(method, args.budget)
                    values = (network, args.images, args.epochs, seed, budget, method, name)
                    yield dict(zip(KEY, values, strict=True))


def key_of(record: dict[str, Any]) -> tuple[Any, ...]:
    """What tells a run from every other."""
    return tuple(record[name] for name in KEY)


def records(path: Path) -> list[dict[str, Any]]:
    """The runs so far; a last line that a kill cut short is not there."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def subset(source: Path, folder: Path, images: int, test_images: int) -> Path:
    """A folder of links to training and test images, each spread evenly over the same at most 50
    classes, in the order of a hash of the file's name."""
    if (folder / ".complete").exists():
        return folder
    classes = sorted(path.name for path in (source / "train").iterdir() if path.is_dir())
    if len(classes) > MAX_CLASSES:
        classes = [classes[i * len(classes) // MAX_CLASSES] for i in range(MAX_CLASSES)]
    for split, most in (("train", images), ("test", test_images)):
        share, rest = divmod(most, len(classes))
        for index, name in enumerate(classes):
            files = sorted(
                (source / split / name).iterdir(),
                key=lambda file: hashlib.sha256(file.name.encode()).hexdigest(),
            )
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for file in files[: share + (index < rest)]:
                link = folder / split / name / file.name
                link.unlink(missing_ok=True)
                link.symlink_to(file.resolve())
    (folder / ".complete").touch()
    return folder


def task_of(backbone: Backbone, dataset: ImageDataset, case: dict[str, Any]) -> Task:
    """The task with its steps: those of Kintune's runs, and of one more on all images."""
    train, validation = (len(dataset.splits[split]) for split in ("train", "val"))
    run_steps, last_steps = (
        case["epochs"] * len(batch_bounds(images, BATCH_SIZE))
        for images in (train, train + validation)
    )
    return Task(
        backbone=backbone,
        dataset=dataset,
        steps=case["budget"] * run_steps + last_steps,
        run_steps=run_steps,
        runs=case["budget"],
        batch_size=BATCH_SIZE,
        seed=case["seed"],
    )


def by_kintune(
    task: Task, folder: Path, case: dict[str, Any], flags: list[str], scratch: Path
) -> Outcome:
    """The error of the model that `kintune tune` delivers, as its own summary has it."""
    output = scratch / "-".join(str(value) for value in key_of(case))
    shutil.rmtree(output, ignore_errors=True)
    tune_without = Path(__file__).with_name("tune_without.py")
    command = [sys.executable, str(tune_without), case["set"]]
    command += ["tune", str(folder), "--output", str(output)]
    command += ["--runs", str(task.runs), "--epochs", str(case["epochs"]), *flags]
    command += ["--batch-size", str(task.batch_size), "--seed", str(task.seed), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    summary = json.loads(done.stdout)
    best, head = summary["best"], summary["frozen_head"]
    is_head = head is not None and best["id"] == head["id"]
    retrained = best["retrained"] and not is_head
    last = task.steps - task.runs * task.run_steps if retrained else 0
    shutil.rmtree(output)
    return Outcome(
        best["test_top1_error"],
        len(summary["runs"]) * task.run_steps + last,
        {"kept": "frozen head" if is_head else best["hyperparameters"]},
    )


if __name__ == "__main__":
    main()
