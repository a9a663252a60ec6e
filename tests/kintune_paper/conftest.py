"""Made-up records of runs that nobody trained."""

from typing import Any

from kintune.runs import RunConfig, RunResult
from kintune.runs.hyperparameters import Hyperparameters
from kintune.runs.inputs import InputSpec
from kintune_paper.run_records import RunRecord


def run_record(
    settings: Hyperparameters,
    seed: int = 0,
    error: float | None = 0.2,
    result: dict[str, Any] | None = None,
    **record: Any,
) -> RunRecord:
    """A run of `pocket` with a validation error, None where it diverged; further fields of its
    result and of its record."""
    config = RunConfig(
        model="pocket",
        weights_sha256="",
        input=InputSpec(image_size=32, mean=(0, 0, 0), std=(1, 1, 1)),
        data_sha256="",
        hyperparameters=settings,
        seed=seed,
    )
    fields: dict[str, Any] = {
        "status": "diverged" if error is None else "complete",
        "validation_top1_error": error,
        "validation_average_class_error": error,
        "seed": seed,
        "seconds": 1.0,
    }
    return RunRecord(
        config=config,
        result=RunResult(
            id=config.id,
            hyperparameters=settings,
            effective_lr=settings.effective_lr,
            **(fields | (result or {})),
        ),
        **({"versions": {}, "processor": ""} | record),
    )
