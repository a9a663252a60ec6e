"""Images in: read, checked, decoded once, split."""

from kintune.datasets.health import HealthReport, Problem, check_dataset
from kintune.datasets.images import SPLITS, DecodedImages, ImageDataset, Split, UnreadableFile
from kintune.datasets.load import load_dataset

__all__ = [
    "SPLITS",
    "DecodedImages",
    "HealthReport",
    "ImageDataset",
    "Problem",
    "Split",
    "UnreadableFile",
    "check_dataset",
    "load_dataset",
]
