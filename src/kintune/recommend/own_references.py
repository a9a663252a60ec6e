"""`kintune reference`: what recommendations rest on, and a person's own runs added to it."""

from pathlib import Path

from pydantic import ConfigDict

from kintune.base.errors import OptionError
from kintune.base.records import Record
from kintune.recommend.model import RecipeReference, RecipeRun, RecipeTask
from kintune.recommend.references import (
    load_recipe_references,
    own_references,
    own_references_path,
    with_reference,
)
from kintune.runs import RunConfig, RunResult, read_result, write_json
from kintune.similarity import Similarity

ORIGIN = "your own runs"


class _Recommended(Record):
    """The part of `recommendation.json` that a reference needs."""

    model_config = ConfigDict(extra="ignore")

    task: RecipeTask


class References(Record):
    """Result of `reference`."""

    path: str
    """Where a person's own references are kept."""
    references: tuple[RecipeReference, ...]
    added: tuple[str, ...] = ()
    """Targets that this call added."""


def list_references() -> References:
    """All references, those that ship first."""
    return References(path=str(own_references_path()), references=load_recipe_references())


def add_reference(folder: Path) -> References:
    """Add the runs of an output folder of `kintune tune` to the person's own references.

    From then on they tell what that network needs, and a little of what others need.

    Raises:
        OptionError: the folder is no such output, or none of its runs trained to its end.
    """
    reference = reference_of(folder)
    own = with_reference(own_references(), reference)
    write_json(own_references_path(), [each.to_json() for each in own])
    return References(
        path=str(own_references_path()),
        references=load_recipe_references(),
        added=(reference.task.target,),
    )


def reference_of(folder: Path) -> RecipeReference:
    """The reference that an output folder makes.

    Raises:
        OptionError: as `add_reference`.
    """
    if not (folder / "similarity.json").exists() or not (folder / "recommendation.json").exists():
        raise OptionError(
            f"{folder}: holds no finished search of kintune tune with a recommendation (no "
            "similarity.json and recommendation.json). Name the folder that its --output named."
        )
    measured = Similarity.read(folder / "similarity.json")
    task = _Recommended.read(folder / "recommendation.json").task
    found = [
        (RunConfig.read(path / "config.json"), result)
        for path in sorted((folder / "runs").glob("*"))
        if (result := read_result(path)) is not None
    ]
    runs = [run for config, result in found if (run := recipe_run(config, result)) is not None]
    if not any(run.mode != "head" for run in runs):
        raise OptionError(
            f"{folder}: none of its runs trained the network to the end. Continue with the same "
            "kintune tune."
        )
    config = found[0][0]
    settings = next(config.hyperparameters for config, _ in found if config.hyperparameters.epochs)
    return RecipeReference(
        task=task.replace(classes=measured.classes),
        network_name=measured.model,
        source=measured.source,
        relative_distance=measured.relative_distance,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        image_size=config.input.image_size,
        origin=ORIGIN,
        runs=tuple(runs),
    )


def recipe_run(config: RunConfig, result: RunResult) -> RecipeRun | None:
    """A run as the recipe model takes it; None for one without an error at the end of training."""
    error, settings = result.validation_top1_error, config.hyperparameters
    images = result.validation_images
    if error is None or images is None or config.initialization == "random":
        return None
    if settings.epochs == 0:
        return RecipeRun(mode="head", top1_error=error, images=images)
    if config.trainable == "head":
        return None
    return RecipeRun(
        mode="frozen" if settings.freeze_bn_stats else "batch",
        effective_lr=settings.effective_lr,
        setting=settings.augmentation,
        top1_error=error,
        images=images,
    )
