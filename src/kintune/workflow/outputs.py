"""The output folder: whose it is, what the selected run gives on the test images, its model."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kintune.base.errors import OptionError
from kintune.base.records import Record, differences
from kintune.data import ImageDataset, cache_root
from kintune.options import TaskOptions
from kintune.options.results import BestRun
from kintune.runs import RunResult, mark_output, write_json
from kintune.similarity.task import Task
from kintune.training import Evaluation, evaluate_model_folder, exclusive, replicas

TASK_MARKER = "task.json"


def evaluate_best(
    task: Task, best: RunResult, model_folder: Path, folder: Path
) -> tuple[BestRun, Evaluation]:
    """Read the test split for the selected run, or validation where there is none, and keep its
    predictions in `folder`/evaluation.json."""
    split = "test" if len(task.dataset.splits["test"]) else "val"
    evaluation = evaluate_model_folder(model_folder, task.dataset, split, device=task.device)
    write_json(folder / "evaluation.json", _predictions(task.dataset, split, evaluation))
    tested = split == "test"
    run = BestRun(
        **best.to_json(),
        test_top1_error=evaluation.top1_error if tested else None,
        test_average_class_error=evaluation.average_class_error if tested else None,
    )
    return run, evaluation


def _predictions(dataset: ImageDataset, split: str, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "split": split,
        "paths": [dataset.paths[index] for index in evaluation.indices],
        "classes": list(dataset.classes),
        "labels": dataset.labels[evaluation.indices].tolist(),
        "predictions": evaluation.predictions.tolist(),
        # A network may give no number for an image; JSON has none for that either.
        "confidences": [
            round(float(value), 6) if np.isfinite(value) else None
            for value in evaluation.confidences
        ],
        "top1_error": evaluation.top1_error,
        "average_class_error": evaluation.average_class_error,
    }


def require_writable(folder: Path) -> None:
    """Make the output folder, and make sure that files can be written in it.

    Raises:
        OptionError: they cannot.
    """
    try:
        mark_output(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OptionError(
            f"--output {folder}: cannot be written ({error.strerror}). Choose another folder."
        ) from None


def refuse_output_among_images(folder: Path, dataset: ImageDataset) -> None:
    """An output folder may lie inside the data, beside the images: readers pass over it. A folder
    that holds images would be passed over, too.

    Raises:
        OptionError: the output folder is the data, or holds some of its images.
    """
    output, source = folder.resolve(), Path(dataset.source).resolve()
    if source != output and source.is_relative_to(output):
        return
    cache = cache_root().resolve()
    for parent in sorted({Path(path).parent for path in dataset.paths}):
        place = parent.resolve()
        if place.is_relative_to(output) and not place.is_relative_to(cache):
            raise OptionError(
                f"--output {folder}: holds images of the data, in {parent}. Choose another folder."
            )


def open_run_output(folder: Path) -> None:
    """Make the output folder of a single run.

    Raises:
        OptionError: it cannot be written, or holds a search.
    """
    require_writable(folder)
    if (folder / TASK_MARKER).exists():
        raise OptionError(
            f"--output {folder}: holds a search of kintune tune. Choose another folder."
        )


@contextmanager
def held_output(folder: Path, identity: Mapping[str, str]) -> Iterator[None]:
    """Hold the output folder of a search alone, from before the first file is written in it; of
    several replicas the first does. See `open_output`."""
    if not replicas().is_first:
        yield
        return
    require_writable(folder)
    with exclusive(folder):
        open_output(folder, identity)
        yield


def open_output(folder: Path, identity: Mapping[str, str]) -> None:
    """Mark whose an output folder is.

    Args:
        folder: what `--output` names, or the default.
        identity: what every run in the folder shares, such as the data's hash.

    Raises:
        OptionError: it cannot be written, or holds results of something else (named).
    """
    marker = folder / TASK_MARKER
    if (folder / "config.json").exists():
        raise OptionError(
            f"--output {folder}: holds a single run of kintune finetune. Choose another folder."
        )
    if marker.exists():
        held = TaskIdentity.read(marker).identity
        found = differences(held, identity)
        if found:
            raise OptionError(
                f"--output {folder}: holds results of another task: {'; '.join(found)}. "
                "Choose another folder."
            )
    else:
        write_json(marker, TaskIdentity(identity=dict(identity)).to_json())


class TaskIdentity(Record):
    """Contents of `task.json` in an output folder."""

    identity: dict[str, str]


def task_identity(task: Task, options: TaskOptions) -> dict[str, str]:
    """Facts that all runs of a task share, in words that a person can compare."""
    return {
        "data": task.dataset.content_hash[:12],
        "network and input": task.backbone.extractor,
        "seed": str(options.seed),
        "val-fraction": str(options.val_fraction),
    }


def keep_model(model_folder: Path, destination: Path) -> None:
    """Copy a model folder. The old copy is set aside before the new one takes its name, so at
    every moment one of them is whole.

    Raises:
        OptionError: it cannot be copied, as on a full disk.
    """
    fresh, old = (destination.with_name(f".{destination.name}.{word}") for word in ("new", "old"))
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        shutil.copytree(model_folder, fresh)
        if destination.exists():
            shutil.rmtree(old, ignore_errors=True)
            destination.rename(old)
        fresh.rename(destination)
    except OSError as error:  # shutil.Error, of a copy, is one, without a text of its own
        shutil.rmtree(fresh, ignore_errors=True)
        why = error.strerror or "; ".join(str(reason) for *_, reason in error.args[0])
        raise OptionError(
            f"{destination}: the selected model cannot be copied there ({why}). The finished runs "
            f"are kept, and the model is in {model_folder}. Make room and give the same command "
            "again."
        ) from None
    shutil.rmtree(old, ignore_errors=True)
