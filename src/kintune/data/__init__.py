"""Images in: read, checked, decoded once, split."""

from kintune.data.catalog import absolute_source
from kintune.data.entries import cache_root
from kintune.data.health import HealthReport, Problem, check_dataset
from kintune.data.images import SPLITS, DecodedImages, ImageDataset, Split, UnreadableFile
from kintune.data.inventory import CacheContents, cache_contents, clear_cache
from kintune.data.limits import limit_decoding
from kintune.data.load import load_dataset, load_unsplit, sample_dataset
from kintune.data.splits import with_validation_trained

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
