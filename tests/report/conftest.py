"""Output folders of `tune` and `finetune` as the rest of the program writes them, made up."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

EPOCHS = 6
CLASSES = ("coat", "dress", "hat", "shoe")
RATES_AND_ERRORS = {
    "aaaa00000001": (0.001, 0.31),
    "aaaa00000002": (0.005, 0.14),
    "aaaa00000003": (0.01, 0.19),
}
DIVERGED = "aaaa00000004"


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def hyperparameters(lr: float) -> dict[str, Any]:
    return {"lr": lr, "momentum": 0.9, "weight_decay": 1e-4, "batch_size": 32, "epochs": EPOCHS}


def result(run_id: str, lr: float, error: float | None) -> dict[str, Any]:
    ending = (
        {"status": "complete"} if error else {"status": "diverged", "reason": "loss is not finite"}
    )
    return {
        "id": run_id,
        "hyperparameters": hyperparameters(lr),
        "effective_lr": 10 * lr,
        "validation_top1_error": error,
        "seconds": 61.0,
        **ending,
    }


def write_run(folder: Path, run: dict[str, Any], *, finished: bool = True) -> None:
    write(folder / "config.json", {"model": "pocket", "hyperparameters": run["hyperparameters"]})
    if finished:
        write(folder / "result.json", run)
    final = run["validation_top1_error"]
    with (folder / "metrics.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("epoch", "train_loss", "validation_top1_error"))
        for epoch in range(1, EPOCHS + 1):
            fading = 1 + 2 / epoch
            row = (2 * final * fading, min(1.0, final * fading)) if final else (10.0**epoch, "nan")
            writer.writerow((epoch, *row))


def evaluation(
    folder: Path, classes: tuple[str, ...], images: int, *, split: str = "test"
) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    paths = []
    for index in range(images):
        path = folder / "photos" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, size=(12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((160, 120)).save(path)
        paths.append(str(path))
    labels = [index % len(classes) for index in range(images)]
    predictions = [
        (label + 1) % len(classes) if index % 5 == 0 else label
        for index, label in enumerate(labels)
    ]
    wrong = sum(a != b for a, b in zip(labels, predictions, strict=True))
    return {
        "split": split,
        "paths": paths,
        "classes": list(classes),
        "labels": labels,
        "predictions": predictions,
        "confidences": [round(float(value), 4) for value in draw.uniform(0.3, 1, images)],
        "top1_error": wrong / images,
        "average_class_error": wrong / images,
    }


def similarity(classes: tuple[str, ...]) -> dict[str, Any]:
    nearest = [
        {
            "target_class": name,
            "source_class": f"source of {name}",
            "cost": 0.1 * rank,
            "share": 0.25,
        }
        for rank, name in enumerate(classes, start=1)
    ]
    return {
        "model": "pocket",
        "source": "CIFAR-80",
        "target": "wardrobe",
        "distance": None,
        "similarity": None,
        "gamma": 0.01,
        "relative_distance": 0.62,
        "interval": [0.58, 0.66],
        "class_distance": 0.5,
        "domain_shift": 0.24,
        "prototypes_from": "head",
        "far_cost": 0.35,
        "far_target_classes": ["shoe"],
        "images": 200,
        "classes": len(classes),
        "nearest_source_classes": nearest,
        "extractor": "pocket@32px-0123456789ab",
        "notes": ["Source prototypes from the head's rows."],
    }


def recommendation() -> dict[str, Any]:
    row = {"source": "ImageNet", "target": "dogs", "effective_lr": 0.01, "relative_distance": None}
    return {
        "similarity": None,
        "effective_lr": {"low": 0.008, "best": 0.03, "high": 0.12},
        "lr": 0.003,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "batch_size": 32,
        "epochs": EPOCHS,
        "regularizer": "l2",
        "schedule": "cosine",
        "augmentation": "crop",
        "confidence": "medium",
        "reference_coverage": 0.55,
        "explanation": "The target lies far from the source.",
        "evidence": [
            {**row, "weight": 0.2, "origin": "table 4"},
            {**row, "target": "cars", "effective_lr": 0.1, "weight": 0.8, "origin": "table 4"},
        ],
        "warnings": ["The references were trained for longer."],
        "reasons": {"bn_momentum": "as the network has it."},
    }


def tune_summary(runs: list[dict[str, Any]], classes: tuple[str, ...]) -> dict[str, Any]:
    best = min(
        (run for run in runs if run["validation_top1_error"]),
        key=lambda run: run["validation_top1_error"],
    )
    return {
        "status": "complete",
        "runs": runs,
        "best": {**best, "test_top1_error": 0.2},
        "model_path": "/out/best",
        "report_path": "/out/report.html",
        "command": "kintune tune photos --model pocket --runs 4",
        "facts": {
            "data": {
                "name": "wardrobe",
                "source": "/photos",
                "classes": list(classes),
                "counts": {"train": 160, "val": 40, "test": 40},
                "skipped": [{"path": "/photos/torn.jpg", "reason": "truncated"}],
                "notes": ["validation: 20 % of train drawn, stratified, seed 0"],
            },
            "model": {"name": "pocket", "domain": "CIFAR-80", "notes": ["head loaded"]},
        },
        "labels": {"aaaa00000002": "recommended", "aaaa00000003": "usual default"},
        "versions": {"torch": "2.15.0", "python": "3.11.7"},
        "device": "cpu",
    }


MakeTune = Callable[..., Path]


@pytest.fixture
def make_tune(tmp_path: Path) -> MakeTune:
    """Writes the output of a tuning of four runs, of which one diverged."""

    def make(classes: tuple[str, ...] = CLASSES, images: int = 40) -> Path:
        folder = tmp_path / "tuned"
        runs = [result(name, lr, error) for name, (lr, error) in RATES_AND_ERRORS.items()]
        runs.append(result(DIVERGED, 1.0, None))
        for run in runs:
            write_run(folder / "runs" / run["id"], run)
        write(folder / "summary.json", tune_summary(runs, classes))
        write(folder / "similarity.json", similarity(classes))
        write(folder / "recommendation.json", recommendation())
        write(folder / "evaluation.json", evaluation(folder, classes, images))
        return folder

    return make


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """The output of a single fine-tuning, as `finetune` writes it."""
    folder = tmp_path / "alone"
    write_run(folder, result("bbbb00000001", 0.005, 0.14))
    write(folder / "evaluation.json", evaluation(folder, CLASSES, 20))
    return folder
