"""Fine-tuning one network on one data set: optimiser, schedules, loop, checkpoints, model."""

from kintune.training.estimate import estimate_seconds
from kintune.training.evaluate import Evaluation, evaluate
from kintune.training.loop import fine_tune
from kintune.training.model_folder import (
    FineTunedModel,
    evaluate_model_folder,
    load_model_folder,
    write_model_folder,
)
from kintune.training.optimizers import NesterovSGD
from kintune.training.run_folder import versions

__all__ = [
    "Evaluation",
    "FineTunedModel",
    "NesterovSGD",
    "estimate_seconds",
    "evaluate",
    "evaluate_model_folder",
    "fine_tune",
    "load_model_folder",
    "versions",
    "write_model_folder",
]
