"""Images in: read, checked, decoded once, split."""

from kintune.datasets.catalog import absolute_source
from kintune.datasets.entries import cache_root
from kintune.datasets.health import HealthReport, Problem, check_dataset
from kintune.datasets.images import SPLITS, DecodedImages, ImageDataset, Split, UnreadableFile
from kintune.datasets.inventory import CacheContents, cache_contents, clear_cache
from kintune.datasets.limits import limit_decoding
from kintune.datasets.load import load_dataset, load_unsplit, sample_dataset
from kintune.datasets.splits import with_validation_trained

__all__ = [
    "SPLITS",
    "CacheContents",
    "DecodedImages",
    "HealthReport",
    "ImageDataset",
    "Problem",
    "Split",
    "UnreadableFile",
    "absolute_source",
    "cache_contents",
    "cache_root",
    "check_dataset",
    "clear_cache",
    "limit_decoding",
    "load_dataset",
    "load_unsplit",
    "sample_dataset",
    "with_validation_trained",
]
