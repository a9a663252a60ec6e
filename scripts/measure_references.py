"""Measure what ships in `kintune/reference`: how far known targets lie, and which rates were best.

    python scripts/measure_references.py distances --data DATA --models MODELS
    python scripts/measure_references.py rates --data DATA --runs RUNS

`distances` writes `relative_distances.json`: for each MobileNetV2 in MODELS (prototypes from its
head) and for `pocket` (prototypes from images) the relative distance of every image set in DATA;
and it measures the targets of `pocket.json` again, whose rates stay. About three minutes on two
cores.

`rates` writes `pocket.json`, the reference table of `pocket` on three targets (the CIFAR-100
classes that it never saw, hand signs, spectrograms): a grid of effective learning rates on at most
400 images a set, 40 epochs, momentum 0.9, decay 1e-4, seeds 0 and 1; the best rate is the
vertex of a parabola through the mean validation errors of the lowest point and its neighbours. All
runs go to `results/pocket_references.json`. About 15 minutes on two cores; finished runs in RUNS
are not repeated.
"""

import argparse
import io
import json
import math
import os
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from kintune.backbones import (
    Backbone,
    BackboneOverrides,
    load_backbone,
    squared_filter_norm,
)
from kintune.datasets import ImageDataset, load_dataset
from kintune.defaults import batch_size_for
from kintune.experiment import at_rates
from kintune.experiments.similarity_sets import HELD_OUT, SETS
from kintune.hyperparameters import Hyperparameters
from kintune.prototypes import source_prototypes
from kintune.runners import LocalRunner
from kintune.runs import RunConfig, RunResult, write_json
from kintune.task import Task, measure
from kintune.training import start_of, versions

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "src/kintune/reference"
NETWORKS = ("in1k", "inat_birds", "inat_insects")
NETWORK_IMAGE_SIZE = 96
RATES_SETS = (HELD_OUT, "sign-digits", "fsdd-spectrograms")
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
SEEDS = (0, 1)
EPOCHS = 40
MOST_IMAGES = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["distances", "rates"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/references"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    data = args.data.absolute()  # links to its files are made elsewhere
    with tempfile.TemporaryDirectory() as scratch:
        if args.what == "distances":
            write_distances(data, args.models, Path(scratch))
        else:
            write_rates(data, args.runs, Path(scratch), args.threads)


def write_distances(data: Path, models: Path, scratch: Path) -> None:
    pocket = load_backbone("pocket")
    held_out = unpack_held_out(data / "cifar100", pocket, scratch)
    folders = [data / name for name in SETS]
    heads = {
        network.domain: distances(network, folders)
        for network in (mobilenet(models, name) for name in NETWORKS)
    }
    images = {pocket.domain: distances(pocket, [held_out, *folders])}
    write_json(REFERENCE / "relative_distances.json", {"head": heads, "images": images})
    tables = json.loads((REFERENCE / "pocket.json").read_text())
    for row in tables[0]["rows"]:
        folder = held_out if row["target"] == HELD_OUT else data / row["target"]
        row["relative_distance"] = distances(pocket, [subset(folder, scratch)])[folder.name]
    write_json(REFERENCE / "pocket.json", tables)


def mobilenet(models: Path, name: str) -> Backbone:
    weights = models / f"mobilenetv2_100.{name}.safetensors"
    overrides = BackboneOverrides(image_size=NETWORK_IMAGE_SIZE)
    return load_backbone("mobilenetv2_100", weights=weights, overrides=overrides)


def distances(backbone: Backbone, folders: list[Path]) -> dict[str, float]:
    found = {}
    for folder in folders:
        dataset = load_dataset(folder, backbone.input)
        measured = measure(Task(backbone=backbone, dataset=dataset, device="cpu"), None)
        found[folder.name] = round(measured.relative_distance, 4)
        print(f"{backbone.domain} {folder.name} {measured.relative_distance:.3f}", flush=True)
    return found


def unpack_held_out(parquet: Path, pocket: Backbone, scratch: Path) -> Path:
    """The classes of CIFAR-100 that `pocket` was not trained on, as a folder of PNGs."""
    folder = scratch / HELD_OUT
    for split in ("train", "test"):
        table = pq.read_table(parquet / f"{split}.parquet")
        names = json.loads(table.schema.metadata[b"huggingface"])
        names = names["info"]["features"]["label"]["names"]
        for index, row in enumerate(table.to_pylist()):
            name = names[row["label"]]
            if name not in pocket.source_labels:
                path = folder / split / name / f"{index:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.open(io.BytesIO(row["image"]["bytes"])).save(path)
    return folder


def subset(folder: Path, scratch: Path) -> Path:
    """Links to the first images of every class, 400 in all, evenly; the test split whole."""
    chosen = scratch / "subset" / folder.name
    classes = sorted(path for path in (folder / "train").iterdir() if path.is_dir())
    for path in classes:
        for image in sorted(path.iterdir())[: MOST_IMAGES // len(classes)]:
            link = chosen / "train" / path.name / image.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(image)
    (chosen / "test").symlink_to(folder / "test")
    return chosen


def write_rates(data: Path, runs: Path, scratch: Path, threads: int) -> None:
    pocket = load_backbone("pocket")
    rows, everything = [], {}
    for name in RATES_SETS:
        folder = data / name
        if name == HELD_OUT:
            folder = unpack_held_out(data / "cifar100", pocket, scratch)
        dataset = load_dataset(subset(folder, scratch), pocket.input)
        results = grid(pocket, dataset, runs / name, threads)
        everything[name] = [result.to_json() for result in results]
        write_json(
            ROOT / "results/pocket_references.json", {"versions": versions(), "sets": everything}
        )
        measured = measure(Task(backbone=pocket, dataset=dataset, device="cpu"), None)
        rows.append(
            {
                "target": name,
                "relative_distance": round(measured.relative_distance, 4),
                "effective_lr": float(f"{best_rate(results):.3g}"),
                "batch_size": results[0].hyperparameters.batch_size,
                "epochs": EPOCHS,
                "images": len(dataset.splits["train"]),
                "classes": len(dataset.classes),
            }
        )
    table = {
        "source": pocket.domain,
        "network": "pocket",
        "origin": "scripts/measure_references.py rates: mean validation error of two seeds",
        "prototypes_from": source_prototypes(pocket).origin,
        "extractor": pocket.extractor,
        "squared_filter_norm": round(squared_filter_norm(pocket.network), 4),
        "rows": rows,
    }
    write_json(REFERENCE / "pocket.json", [table])


def grid(backbone: Backbone, dataset: ImageDataset, runs: Path, threads: int) -> list[RunResult]:
    images = len(dataset.splits["train"])
    settings = Hyperparameters(lr=RATES[0], batch_size=batch_size_for(images), epochs=EPOCHS)
    template = RunConfig(**start_of(backbone, dataset), hyperparameters=settings, threads=threads)
    configs = at_rates(template, RATES, SEEDS)
    results = []
    for result in LocalRunner(backbone, dataset, runs).run(configs):
        print(dataset.name, result.effective_lr, result.validation_top1_error, flush=True)
        results.append(result)
    return results


def best_rate(results: list[RunResult]) -> float:
    """Vertex of the parabola through the lowest mean error and its neighbours, in log rate."""
    errors: dict[float, list[float]] = {}
    for result in results:
        error = result.validation_top1_error
        errors.setdefault(round(result.effective_lr, 10), []).append(
            1.0 if error is None else error
        )
    points = sorted((math.log10(rate), sum(each) / len(each)) for rate, each in errors.items())
    lowest = min(range(len(points)), key=lambda index: points[index][1])
    if lowest in (0, len(points) - 1):
        raise SystemExit(f"the best rate lies at the edge of the grid: {points}")
    (x0, y0), (x1, y1), (x2, y2) = points[lowest - 1 : lowest + 2]
    left, right = (x1 - x0) * (y1 - y2), (x1 - x2) * (y1 - y0)
    return 10 ** (x1 - 0.5 * ((x1 - x0) * left - (x1 - x2) * right) / (left - right))


if __name__ == "__main__":
    main()
