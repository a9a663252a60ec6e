"""Fine-tuning one network on one data set: optimizer, schedules, loop, checkpoints, model."""

from kintune.training.batch_norm import has_batch_norm
from kintune.training.estimate import seconds_per_image, work_in_images
from kintune.training.evaluate import Evaluation, evaluate
from kintune.training.loop import Watch, forward_share
from kintune.training.metrics import EpochMetrics, read_metrics
from kintune.training.model_folder import (
    FineTunedModel,
    evaluate_model_folder,
    load_model_folder,
    write_model_folder,
)
from kintune.training.optimizers import NesterovSGD
from kintune.training.replicas import Replicas, joined_replicas, replicas
from kintune.training.run import fine_tune
from kintune.training.run_folder import Inputs, exclusive, recorded_environment, versions
from kintune.training.schedules import total_steps
from kintune.training.start import start_of
from kintune.training.steps import batch_bounds

__all__ = [
    "EpochMetrics",
    "Evaluation",
    "FineTunedModel",
    "Inputs",
    "NesterovSGD",
    "Replicas",
    "Watch",
    "batch_bounds",
    "evaluate",
    "evaluate_model_folder",
    "exclusive",
    "fine_tune",
    "forward_share",
    "has_batch_norm",
    "joined_replicas",
    "load_model_folder",
    "read_metrics",
    "recorded_environment",
    "replicas",
    "seconds_per_image",
    "start_of",
    "total_steps",
    "versions",
    "work_in_images",
    "write_model_folder",
]
