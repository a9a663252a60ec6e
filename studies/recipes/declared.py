"""The declared runs of the recipe study, their records, and the references that they make."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kintune.recommend.model import RecipeReference, RecipeRun, RecipeTask
from kintune.recommend.references import rank_among, reference_distances
from kintune.runs.defaults import SCHEDULE, WARMUP_SHARE

RESULTS = Path("results/recipe_study")
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


def facts() -> dict[tuple[str, str, int, int], dict[str, Any]]:
    """The facts by network, set, images and input size."""
    path = RESULTS / "facts.json"
    found = json.loads(path.read_text()) if path.exists() else []
    return {(f["network"], f["set"], f["images"], f["image_size"]): f for f in found}


def place_of(record: dict[str, Any]) -> tuple[str, str, int, int]:
    """Key of a record's facts."""
    return record["network"], record["set"], record["images"], record["image_size"]


def references() -> tuple[RecipeReference, ...]:
    """The records as references: one for each network, set, size and budget. Of several runs of a
    recipe at one rate it has the one with the schedule of the product."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    found = {recipe_of(each): each for each in sorted(records(), key=_is_usual)}
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
            top1_error=error_of(each),
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


def recipe_of(record: dict[str, Any]) -> tuple[Any, ...]:
    return *place_of(record), *(record[n] for n in ("epochs", "batch_statistics", "effective_lr"))


def _is_usual(record: dict[str, Any]) -> bool:
    return _setting(record) == COMMON["augmentation"]


def _setting(record: dict[str, Any]) -> str:
    """As the product names it where it does as the product does."""
    found = [record["augmentation"]]
    found += [] if record["schedule"] == SCHEDULE else [record["schedule"]]
    found += [] if record["warmup_epochs"] else ["no warm-up"]
    return ", ".join(found)


def error_of(record: dict[str, Any]) -> float:
    """Guessing, for a run that diverged."""
    guess = 1 - 1 / record["classes"]
    error = record["validation_top1_error"]
    return guess if error is None else min(error, guess)
