"""Runs on disk: one folder a run, its name the hash of its configuration, the only truth.

The folder holds::

    config.json              RunConfig: all that decides the result, and nothing else
    environment.json         where, when and with which versions it ran
    metrics.csv              one row an epoch; tensorboard/ has the same numbers
    checkpoint.safetensors   where an unfinished run goes on from
    lock                     held by the process that writes the run
    model/                   the fine-tuned network (`kintune.training.model_folder`)
    result.json              RunResult, written last
    traceback.txt            where a run that failed did so
    kintune-output.txt       says that Kintune wrote the folder, which may lie among images
"""

from kintune.runs.store import (
    OUTPUT_MARK,
    DeviceKind,
    Precision,
    RunConfig,
    RunResult,
    RunStatus,
    RunStore,
    device_kind,
    foreign_result,
    is_output,
    mark_output,
    read_result,
    result_without_errors,
    write_json,
)

__all__ = [
    "OUTPUT_MARK",
    "DeviceKind",
    "Precision",
    "RunConfig",
    "RunResult",
    "RunStatus",
    "RunStore",
    "device_kind",
    "foreign_result",
    "is_output",
    "mark_output",
    "read_result",
    "result_without_errors",
    "write_json",
]
