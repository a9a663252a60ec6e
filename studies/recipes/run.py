#!/usr/bin/env python3
"""Errors of recipes on real networks: the references of `kintune.recommend.model`.

    python -m studies.recipes.run --data DATA --models MODELS            # run what is missing
    python -m studies.recipes.run --show                                 # tables, from the records
    python -m studies.recipes.run --ship                                 # write recipes.json

Each run trains on a subset of a set's training images, the same one for all recipes, and is
validated on up to 400 other training images; test images are never read. Records are appended to
`results/recipe_study/runs.jsonl` as they come, so the study continues where it was stopped. On two
cores a run of EfficientNet-Lite0 at 96 pixels (320 images, 12 epochs) takes about a minute.

DATA holds NAME/train/CLASS/FILE, MODELS the networks of `NETWORKS`.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from kintune.backbones import Backbone, BackboneOverrides, load_backbone
from kintune.data import ImageDataset, load_dataset
from kintune.recommend.references import ShippedReferences
from kintune.runs import RunConfig, write_json
from kintune.runs.hyperparameters import Hyperparameters, lr_for
from kintune.similarity.features import extract_features
from kintune.similarity.probe import probe_error
from kintune.training import fine_tune, start_of
from studies.recipes.declared import (
    COMMON,
    MAX_CLASSES,
    NETWORKS,
    RESULTS,
    VALIDATION_IMAGES,
    cases,
    facts,
    key_of,
    place_of,
    records,
    references,
)
from studies.recipes.judgement import fitted, left_out, quality_of
from studies.recipes.tables import show

SHIPPED = Path("src/kintune/recommend/references/recipes.json")


def subset(data: Path, name: str, images: int, root: Path) -> Path:
    """A folder of links: `images` spread evenly over at most 50 classes to train on, others of the
    training images to validate on, in the order of a hash of the file's name."""
    folder = root / f"{name}-{images}"
    if (folder / ".complete").exists():
        return folder
    classes = sorted(path for path in (data / name / "train").iterdir() if path.is_dir())
    if len(classes) > MAX_CLASSES:
        classes = [classes[i * len(classes) // MAX_CLASSES] for i in range(MAX_CLASSES)]
    share, rest = divmod(images, len(classes))
    validation = -(-VALIDATION_IMAGES // len(classes))
    for index, path in enumerate(classes):
        files = sorted(path.iterdir(), key=lambda f: hashlib.sha256(f.name.encode()).hexdigest())
        count = min(share + (index < rest), int(0.7 * len(files)))
        for split, part in (("train", files[:count]), ("val", files[count : count + validation])):
            (folder / split / path.name).mkdir(parents=True, exist_ok=True)
            for file in part:
                link = folder / split / path.name / file.name
                link.unlink(missing_ok=True)
                link.symlink_to(file.resolve())
    (folder / ".complete").touch()
    return folder


class Workspace:
    """Networks and images, loaded once each."""

    def __init__(self, data: Path, models: Path, scratch: Path) -> None:
        self.data, self.models, self.scratch = data, models, scratch
        self._networks: dict[tuple[str, int], Backbone] = {}

    def backbone(self, network: str, image_size: int) -> Backbone:
        """The network at an input size."""
        if (network, image_size) not in self._networks:
            model, file = NETWORKS[network]
            self._networks[network, image_size] = load_backbone(
                model,
                weights=self.models / file if file else None,
                overrides=BackboneOverrides(image_size=image_size),
            )
        return self._networks[network, image_size]

    def dataset(self, case: dict[str, Any]) -> ImageDataset:
        """The subset of a case."""
        folder = subset(self.data, case["set"], case["images"], self.scratch / "sets")
        return load_dataset(str(folder), self.backbone(case["network"], case["image_size"]).input)

    def run(self, case: dict[str, Any]) -> dict[str, Any]:
        """The record of a case."""
        backbone, dataset = self.backbone(case["network"], case["image_size"]), self.dataset(case)
        names = (*COMMON, "epochs", "warmup_epochs")
        settings = Hyperparameters(
            **{name: case[name] for name in names},
            lr=lr_for(case["effective_lr"], case["momentum"]),
            freeze_bn_stats=case["batch_statistics"] == "frozen",
        )
        config = RunConfig(
            **start_of(backbone, dataset), hyperparameters=settings, seed=case["seed"]
        )
        result = fine_tune(backbone, dataset, config, self.scratch / "runs" / config.id)
        return case | {
            "status": result.status,
            "validation_top1_error": result.validation_top1_error,
            "validation_images": len(dataset.splits["val"]),
            "training_images": len(dataset.splits["train"]),
            "classes": len(dataset.classes),
            "train_loss": result.train_loss,
            "seconds": round(result.seconds, 1),
        }

    def facts(self, case: dict[str, Any]) -> dict[str, Any]:
        """The probe's error and the frozen head's, of a network and a set."""
        backbone, dataset = self.backbone(case["network"], case["image_size"]), self.dataset(case)
        settings = Hyperparameters(
            lr=0.01, batch_size=32, epochs=0, head_start="probe", freeze_bn_stats=True
        )
        config = RunConfig(
            **start_of(backbone, dataset), hyperparameters=settings, trainable="head"
        )
        head = fine_tune(backbone, dataset, config, self.scratch / "runs" / config.id)
        features = extract_features(backbone, dataset, "train")
        return {
            "network": case["network"],
            "set": case["set"],
            "images": case["images"],
            "image_size": case["image_size"],
            "weights_sha256": backbone.weights_sha256,
            "probe_top1_error": probe_error(features),
            "head_top1_error": head.validation_top1_error,
        }


def measure(workspace: Workspace, networks: Sequence[str]) -> None:
    """Run what is missing of some networks, and write each record as it comes."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    known, done = facts(), {key_of(record) for record in records()}
    for case in cases():
        if case["network"] not in networks:
            continue
        if place_of(case) not in known:
            known[place_of(case)] = workspace.facts(case)
            known = facts() | known  # another process may measure other networks
            write_json(RESULTS / "facts.json", list(known.values()))
        if key_of(case) not in done:
            record = workspace.run(case)
            with (RESULTS / "runs.jsonl").open("a") as stream:
                stream.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)


def ship() -> None:
    """Write the file that the package reads."""
    found = references()
    shipped = ShippedReferences(
        quality=quality_of(left_out(found)), deviations=fitted(found), references=found
    )
    write_json(SHIPPED, shipped.to_json())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of image sets")
    parser.add_argument("--models", type=Path, help="folder of networks")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--scratch", type=Path, default=Path("runs/recipe_study"))
    parser.add_argument("--show", action="store_true", help="print the tables")
    parser.add_argument("--ship", action="store_true", help=f"write {SHIPPED}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.data and options.models:
        workspace = Workspace(options.data.resolve(), options.models.resolve(), options.scratch)
        measure(workspace, options.networks)
    elif not (options.show or options.ship):
        parser.error("give --data and --models to measure, or --show, or --ship")
    if options.show:
        show()
    if options.ship:
        ship()


if __name__ == "__main__":
    main()
