"""Kintune: how should this pretrained vision network be fine-tuned on these images?

>>> import kintune
>>> summary = kintune.tune("photos", model="resnet50")  # doctest: +SKIP
"""

import os
from typing import TYPE_CHECKING, Any

from kintune.options import FinetuneOptions, TuneOptions

if TYPE_CHECKING:
    from kintune.options.results import Plan, TrainingSummary

__all__ = ["finetune", "tune"]


def tune(data: str | os.PathLike[str], **flags: Any) -> "TrainingSummary | Plan":
    """Measure, recommend, search in a handful of runs, keep the best model, write the report.

    Args:
        data: folder of class folders, or CSV with path,label[,split].
        **flags: the flags of `kintune tune` with underscores; see `kintune.options.TuneOptions`.

    Returns:
        All runs, the best of them and where its model is; a `Plan` with `dry_run=True`.

    Raises:
        KintuneError: an input cannot be used; the text says which, why and what to do.
    """
    options = TuneOptions(data=os.fspath(data), **flags)
    from kintune.workflow.pipeline import tune as walk

    return walk(options)


def finetune(data: str | os.PathLike[str] = "", **flags: Any) -> "TrainingSummary | Plan":
    """One fine-tuning run; the same call again resumes it or returns its result.

    Args:
        data: folder of class folders, or CSV with path,label[,split]; may be omitted with
            `from_config`.
        **flags: the flags of `kintune finetune` with underscores; see
            `kintune.options.FinetuneOptions`.

    Returns:
        The run, its test error and where its model is; a `Plan` with `dry_run=True`.

    Raises:
        KintuneError: an input cannot be used; the text says which, why and what to do.
    """
    options = FinetuneOptions(data=os.fspath(data), **flags)
    from kintune.workflow.pipeline import finetune as walk

    return walk(options)
