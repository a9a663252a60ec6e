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
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import spearmanr

from kintune.backbones import Backbone, BackboneOverrides, load_backbone
from kintune.data import ImageDataset, load_dataset
from kintune.recommend import LITTLE_LOSS, RANGE
from kintune.recommend.model import (
    Deviations,
    Mode,
    RecipeModel,
    RecipeReference,
    RecipeRun,
    RecipeTask,
    grid_of_rates,
    is_broken,
)
from kintune.recommend.references import Quality, ShippedReferences, rank_among, reference_distances
from kintune.runs import RunConfig, write_json
from kintune.runs.defaults import SCHEDULE, WARMUP_SHARE
from kintune.runs.hyperparameters import Hyperparameters, lr_for
from kintune.similarity.features import extract_features
from kintune.similarity.probe import probe_error
from kintune.training import fine_tune, start_of

RESULTS = Path("results/recipe_study")
SHIPPED = Path("src/kintune/recommend/references/recipes.json")
SETS = (
    *("fsdd-spectrograms", "caltech101", "sign-digits", "clothing10"),
    *("birds", "omniglot-small", "grocery-store", "insects"),
)
SPREAD = ("sign-digits", "birds", "fsdd-spectrograms", "caltech101")
"""The sets that are also run at 224 pixels and for 1,000 steps: two far from the source and two
near."""
NETWORKS = {
    "efficientnet_lite0": ("tf_efficientnet_lite0", "tf_efficientnet_lite0.in1k.safetensors"),
    "mobilenetv2_trunk": ("mobilenetv2_100", "mobilenetv2_100.trunk.safetensors"),
    "pocket": ("pocket", None),
}
SOURCE = {"pocket": "CIFAR-100, 80 classes"}
IMAGENET = "ImageNet-1k"
PRETRAINING_SIZE = {"efficientnet_lite0": 224, "mobilenetv2_trunk": 224, "pocket": 32}
IMAGES, VALIDATION_IMAGES, MAX_CLASSES = 320, 400, 50
COMMON: dict[str, Any] = {
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "batch_size": 32,
    "augmentation": "flip",
    "head_start": "probe",
    "schedule": SCHEDULE,
    "clip_grad_norm": 1.0,
}


def cases() -> Iterator[dict[str, Any]]:
    """The declared runs, the most informative first."""
    lite, mobile = "efficientnet_lite0", "mobilenetv2_trunk"
    for rate in (0.3, 1.0):
        yield from _each(lite, "frozen", rate)
    yield from _each(lite, "batch", 1.0)
    yield from _each(mobile, "frozen", 0.3)
    for rate in (0.3, 1.0, 3.0):
        yield from _each("pocket", "frozen", rate)
        yield from _each("pocket", "batch", rate)
    yield from _each(mobile, "frozen", 1.0)
    for rate in (1.0, 0.3):
        yield from _each("pocket", "batch", rate, epochs=40)
        yield from _each("pocket", "frozen", rate, epochs=40)
    yield from _each(lite, "frozen", 0.1)
    yield from _each(mobile, "frozen", 0.1)
    yield from _each(lite, "batch", 0.3)
    for rate in (0.3, 1.0, 0.1):
        yield from _each(lite, "frozen", rate, images=100)
    yield from _each(lite, "frozen", 0.3, epochs=40)
    yield from _each(mobile, "batch", 1.0)
    for more in ({"image_size": 224}, {"epochs": 100}):
        for statistics, rate in (("frozen", 0.3), ("batch", 1.0), ("frozen", 1.0), ("frozen", 0.1)):
            cases_of_all = _each(lite, statistics, rate, **more)
            yield from (case for case in cases_of_all if case["set"] in SPREAD)
    yield from _each(lite, "batch", 1.0, epochs=40)
    yield from _each(lite, "frozen", 0.3, images=1000)
    yield from _each(lite, "frozen", 1.0, epochs=40)
    yield from _each(lite, "frozen", 1.0, images=1000)
    yield from _with_steps()


def _with_steps() -> Iterator[dict[str, Any]]:
    """The first runs of the study, with the `step` schedule: at the full rate from the first step,
    then with a warm-up."""
    steps: dict[str, Any] = {"schedule": "step", "warmup_epochs": 0}
    for rate in (0.03, 0.1, 0.3):
        yield from _each("efficientnet_lite0", "frozen", rate, **steps)
        yield from _each("mobilenetv2_trunk", "frozen", rate, **steps)
    yield from _each("efficientnet_lite0", "batch", 0.1, clip_grad_norm=None, **steps)
    for rate in (0.03, 0.1, 0.3, 1.0):
        yield from _each("pocket", "frozen", rate, **steps)
        yield from _each("pocket", "batch", rate, **steps)
    for network in ("efficientnet_lite0", "mobilenetv2_trunk"):
        yield from _each(network, "frozen", 0.3, schedule="step")


def _each(network: str, statistics: str, rate: float, **more: Any) -> Iterator[dict[str, Any]]:
    """A recipe on each set."""
    epochs = more.get("epochs", 12)
    for name in SETS:
        yield {
            "network": network,
            "set": name,
            "images": IMAGES,
            "image_size": 32 if network == "pocket" else 96,
            "seed": 0,
            "batch_statistics": statistics,
            "effective_lr": rate,
            "epochs": epochs,
            "warmup_epochs": round(WARMUP_SHARE * epochs, 4),
            **COMMON,
            **more,
        }


def key_of(record: dict[str, Any]) -> str:
    """What tells a run from every other: its declared fields."""
    declared = next(cases()).keys()
    return json.dumps({name: record[name] for name in sorted(declared)})


def records() -> list[dict[str, Any]]:
    """The runs so far; a last line that a kill cut short is not there."""
    path = RESULTS / "runs.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    cold = {"warmup_epochs": 0}
    return [cold | json.loads(line) for line in lines if line.endswith("}")]


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


def facts() -> dict[tuple[str, str, int, int], dict[str, Any]]:
    """The facts by network, set, images and input size."""
    path = RESULTS / "facts.json"
    found = json.loads(path.read_text()) if path.exists() else []
    return {(f["network"], f["set"], f["images"], f["image_size"]): f for f in found}


def place_of(record: dict[str, Any]) -> tuple[str, str, int, int]:
    """Key of a record's facts."""
    return record["network"], record["set"], record["images"], record["image_size"]


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


def references() -> tuple[RecipeReference, ...]:
    """The records as references: one for each network, set, size and budget. Of several runs of a
    recipe at one rate it has the one with the schedule of the product."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    found = {_recipe(each): each for each in sorted(records(), key=_is_usual)}
    for record in found.values():
        groups[*place_of(record), record["epochs"]].append(record)
    return tuple(
        _reference(group, facts()[place_of(group[0])])
        for group in groups.values()
        if place_of(group[0]) in facts()
    )


def _reference(group: Sequence[dict[str, Any]], known: dict[str, Any]) -> RecipeReference:
    first = group[0]
    origin = "images" if first["network"] == "pocket" else "head"
    distances = reference_distances(origin)
    head = RecipeRun(
        mode="head", top1_error=known["head_top1_error"], images=first["validation_images"]
    )
    runs = [
        RecipeRun(
            mode=each["batch_statistics"],
            effective_lr=each["effective_lr"],
            setting=_setting(each),
            top1_error=_error(each),
            images=each["validation_images"],
        )
        for each in group
    ]
    steps = first["epochs"] * -(-first["training_images"] // first["batch_size"])
    return RecipeReference(
        task=RecipeTask(
            network=known["weights_sha256"],
            target="{set}, {images} images, {epochs} epochs".format_map(first),
            probe_top1_error=known["probe_top1_error"],
            images=first["training_images"],
            classes=first["classes"],
            rank=rank_among(distances, distances[first["set"]]),
            steps=steps,
            size_ratio=first["image_size"] / PRETRAINING_SIZE[first["network"]],
        ),
        network_name=f"{first['network']} at {first['image_size']} px",
        source=SOURCE.get(first["network"], IMAGENET),
        relative_distance=distances[first["set"]],
        batch_size=first["batch_size"],
        epochs=first["epochs"],
        image_size=first["image_size"],
        origin="studies/recipes/run.py: validation error",
        runs=(head, *runs),
    )


def _recipe(record: dict[str, Any]) -> tuple[Any, ...]:
    return *place_of(record), *(record[n] for n in ("epochs", "batch_statistics", "effective_lr"))


def _is_usual(record: dict[str, Any]) -> bool:
    return _setting(record) == COMMON["augmentation"]


def _setting(record: dict[str, Any]) -> str:
    """As the product names it where it does as the product does."""
    found = [record["augmentation"]]
    found += [] if record["schedule"] == SCHEDULE else [record["schedule"]]
    found += [] if record["warmup_epochs"] else ["no warm-up"]
    return ", ".join(found)


def _error(record: dict[str, Any]) -> float:
    """Guessing, for a run that diverged."""
    guess = 1 - 1 / record["classes"]
    error = record["validation_top1_error"]
    return guess if error is None else min(error, guess)


def fitted(found: Sequence[RecipeReference]) -> Deviations:
    """The deviations with the largest marginal likelihood, each with a weak pull to its default,
    and the widening with which 80 % intervals hold 80 % of the errors of sets left out."""
    names = [name for name in Deviations.model_fields if name != "widening"]
    start = np.log([getattr(Deviations(), name) for name in names])

    def loss(logs: np.ndarray) -> float:
        deviations = Deviations(**dict(zip(names, np.exp(logs).tolist(), strict=True)))
        pull = np.square(logs - start).sum() / 2
        return pull - RecipeModel(found, deviations).log_likelihood()

    best = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 600, "xatol": 0.05})
    values = [float(f"{value:.3g}") for value in np.exp(best.x)]
    deviations = Deviations(**dict(zip(names, values, strict=True)))
    while _quality(left_out(found, set_of, deviations)).coverage < RANGE:
        deviations = deviations.replace(widening=round(deviations.widening + 0.05, 2))
    return deviations


class Judged(NamedTuple):
    """A reference that was left out, and what was expected of it."""

    reference: RecipeReference
    chosen: RecipeRun
    """The run that was expected to err least."""
    sure: float
    """Expected probability that it loses no more than a point."""
    rows: list[tuple[RecipeRun, float, float, float]]
    """Each run with its expected error and 80 % interval."""

    @property
    def loss(self) -> float:
        """Error of the chosen run minus that of the best one measured, a fraction."""
        return self.chosen.top1_error - min(run.top1_error for run in self.reference.runs)


def has_choice(reference: RecipeReference) -> bool:
    """Whether two trainings or more were measured. Beside the head alone one says how errors change
    with the budget, but nothing of a choice."""
    return len(reference.runs) > 2


def set_of(reference: RecipeReference) -> str:
    """Name of the image set."""
    return reference.task.target.split(",")[0]


def network_of(reference: RecipeReference) -> str:
    """Hash of the weights."""
    return reference.task.network


def left_out(
    found: Sequence[RecipeReference],
    group: Callable[[RecipeReference], str] = set_of,
    deviations: Deviations | None = None,
) -> list[Judged]:
    """What is expected of each reference by those of other groups (sets or networks).

    Args:
        found: the references.
        group: name of the group of a reference.
        deviations: of the model; None fits them to the other groups alone, each time anew.
    """
    judged: list[Judged] = []
    for name in dict.fromkeys(map(group, found)):
        others = [each for each in found if group(each) != name]
        model = RecipeModel(others, deviations or fitted(others))
        judged += [_judged(model, each) for each in found if group(each) == name]
    return judged


def _judged(model: RecipeModel, reference: RecipeReference) -> Judged:
    """A reference judged by a model that has not seen it. The chosen run has a rate that a
    recommendation may have; trainings that broke are not predicted."""
    task = reference.task.replace(target="left out")
    draws = model.posterior(task, [run.point for run in reference.runs]).draws()
    means = draws.mean(0)
    highest = 1.01 * grid_of_rates(task)[-1]
    choices = [
        i
        for i, run in enumerate(reference.runs)
        if (run.effective_lr or 0) <= highest and model.is_stable(task, run.point)
    ]
    best = min(choices, key=lambda i: means[i])
    tails = [(1 - RANGE) / 2, (1 + RANGE) / 2]
    rows = [
        (run, float(means[i]), *np.quantile(draws[:, i], tails).tolist())
        for i, run in enumerate(reference.runs)
        if not is_broken(reference.task, run)
    ]
    sure = float((draws[:, best] - draws[:, choices].min(1) <= LITTLE_LOSS).mean())
    return Judged(reference, reference.runs[best], sure, rows)


def _quality(judged: Sequence[Judged]) -> Quality:
    held = [low <= run.top1_error <= high for each in judged for run, _, low, high in each.rows]
    losses = [each.loss for each in judged if has_choice(each.reference)]
    return Quality(
        coverage=float(np.mean(held)), mean_loss=float(np.mean(losses)), tasks=len(losses)
    )


def constant_loss(found: Sequence[RecipeReference], mode: Mode, rate: float) -> tuple[float, int]:
    """Mean loss of one mode at one rate against the best measured run, a fraction, and over how
    many tasks: the simplest rule that a recommendation has to beat."""
    losses = [
        run.top1_error - min(each.top1_error for each in reference.runs)
        for reference in filter(has_choice, found)
        for run in reference.runs
        if run.mode == mode and run.effective_lr == rate
    ]
    return float(np.mean(losses)), len(losses)


def show() -> None:
    """Tables in Markdown."""
    found = references()
    judged = left_out(found)
    modes: tuple[tuple[Mode, float | None], ...] = tuple(
        sorted({(r.mode, r.effective_lr) for ref in found for r in ref.runs}, key=str)
    )
    kinds = dict.fromkeys(map(_kind, found))
    for kind in kinds:
        print("\n{}, {} images, {} epochs\n".format(*kind))
        own = [each for each in judged if _kind(each.reference) == kind]
        shown = [m for m in modes if any(m in _errors(each.reference) for each in own)]
        print("| set | probe | " + " | ".join(f"{m} {r or ''}" for m, r in shown) + " | chosen |")
        print("|---" * (3 + len(shown)) + "|")
        for reference, chosen, sure, _ in own:
            errors = _errors(reference)
            cells = [f"{100 * errors[m]:.1f}" if m in errors else "" for m in shown]
            probe = f"{100 * reference.task.probe_top1_error:.1f}"
            best = f"{chosen.mode} {chosen.effective_lr or ''} ({sure:.0%})"
            print(f"| {set_of(reference)} | {probe} | {' | '.join(cells)} | {best} |")
        print(f"\nchosen on average: {100 * np.mean([e.chosen.top1_error for e in own]):.1f}")
        _show_columns([each.reference for each in own], shown)
    print(f"\nsets left out: {_quality(judged)}")
    print(f"networks left out: {_quality(left_out(found, network_of))}")
    blind = [each.replace(task=each.task.replace(rank=0.5)) for each in found]
    print(f"sets left out, without similarity: {_quality(left_out(blind))}")
    _show_schedules()
    for low, high in ((0.0, 0.7), (0.7, 0.9), (0.9, 1.01)):
        some = [
            each.loss <= LITTLE_LOSS
            for each in judged
            if has_choice(each.reference) and low <= each.sure < high
        ]
        print(f"sure {low:.0%} to {min(high, 1):.0%}: {sum(some)} of {len(some)} lost little")
    for mode, rate in modes:
        if rate is not None:
            loss, tasks = constant_loss(found, mode, rate)
            print(f"always {mode} {rate}: mean loss {loss:.4f} over {tasks} tasks")


def _show_columns(
    found: Sequence[RecipeReference], columns: Sequence[tuple[Mode, float | None]]
) -> None:
    """Mean error of each column that all sets have, and how pairs of rates follow the distance."""
    full = [each for each in columns if all(each in _errors(ref) for ref in found)]
    for mode, rate in full:
        print(f"{mode} {rate or ''}: {100 * np.mean([_errors(r)[mode, rate] for r in found]):.1f}")
    for mode, low in full:
        for other, high in full:
            if mode == other and low and high and low < high and len(found) > 2:
                gains = [_errors(r)[mode, high] - _errors(r)[mode, low] for r in found]
                rho = float(np.asarray(spearmanr([r.task.rank for r in found], gains))[0])
                print(f"{mode}, error at {high} minus at {low}: rank correlation {rho:.2f}")


def _show_schedules() -> None:
    """The cosine against the steps, both after a warm-up."""
    pairs: dict[Any, dict[str, float]] = defaultdict(dict)
    for each in records():
        if each["warmup_epochs"]:
            pairs[_recipe(each)][each["schedule"]] = _error(each)
    gains = [pair["cosine"] - pair["step"] for pair in pairs.values() if len(pair) == 2]
    worse = sum(gain > 0 for gain in gains)
    print(f"cosine minus step: {100 * np.mean(gains):.1f} points, worse in {worse} of {len(gains)}")


def _kind(reference: RecipeReference) -> tuple[str, str, int]:
    return reference.network_name, reference.task.target.split(", ")[1].split()[0], reference.epochs


def _errors(reference: RecipeReference) -> dict[tuple[Mode, float | None], float]:
    return {(run.mode, run.effective_lr): run.top1_error for run in reference.runs}


def ship() -> None:
    """Write the file that the package reads."""
    found = references()
    shipped = ShippedReferences(
        quality=_quality(left_out(found)), deviations=fitted(found), references=found
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
