"""Images -> `Features`: what a network sees just before its head.

Features lie in a memory-mapped file, so that any number of them needs little memory:

    <cache root>/features/<key>/values.npy     float32 (n, d)
                                outputs.npy    float32 (n, 2): largest softmax output, entropy
                                manifest.json  what they were made from

The key holds the extractor, the content of the images and the split. What is kept is verified on
each use, and made again where it is damaged. Features of random weights are kept in a temporary
folder that is removed when the process ends.
"""

import atexit
import copy
import mmap
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import write_array_header_1_0
from torch import Tensor, nn

from kintune.backbones import Backbone, normalized, penultimate_features
from kintune.base.arrays import FeatureArray, LabelArray, OutputArray
from kintune.base.errors import DataError, IncomparableError
from kintune.base.progress import announce, progress_bar
from kintune.base.records import Record, content_id
from kintune.data import DecodedImages, ImageDataset, Split
from kintune.data.entries import DamagedEntry, building, cache_root, read_entry, verify
from kintune.data.prefetch import prefetch
from kintune.data.transforms import center_crops, crop_threads

BATCH_SIZE = 64
CPU_PIXELS = 300_000
"""Pixels of a batch on a CPU: larger ones are hardly faster there, and take memory."""
CHUNK_ROWS = 4096
"""Rows of features that are held in memory at a time."""
RELEASED_BYTES = 64 * 2**20
"""After so many bytes of a mapped file were read, its pages are handed back."""

_LAYOUT = 2
"""Version of the layout of a cache entry; raise it when older ones cannot be read."""
_VALUES, _OUTPUTS = "values.npy", "outputs.npy"


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Features of n images, in the order of the split they come from."""

    values: FeatureArray
    """Input of the network's head, float32 (n, d); mapped from a file, so read it by `chunks`."""
    labels: LabelArray
    """Class of each image, int64 (n,)."""
    classes: tuple[str, ...]
    """Class names; labels index them."""
    extractor: str
    """`Backbone.extractor`: only features of the same extractor can be compared."""
    outputs: OutputArray | None = None
    """The source head's largest softmax output and its entropy in nats for each image, float32
    (n, 2); None where no source head was loaded."""
    origin: str = "images"
    """`images` where people gave the labels, `clusters` where k-means did."""

    @property
    def mean_confidence(self) -> float | None:
        """Mean of the source head's largest softmax output; None without a source head."""
        return None if self.outputs is None else float(self.outputs[:, 0].mean(dtype=np.float64))

    @property
    def mean_entropy(self) -> float | None:
        """Mean entropy of the source head's softmax, nats; None without a source head."""
        return None if self.outputs is None else float(self.outputs[:, 1].mean(dtype=np.float64))

    def chunks(self) -> Iterator[tuple[slice, FeatureArray]]:
        """All rows in order, a few thousand at a time; what was read is handed back to the disk."""
        for start in range(0, len(self.values), CHUNK_ROWS):
            rows = slice(start, min(start + CHUNK_ROWS, len(self.values)))
            yield rows, np.asarray(self.values[rows])
            _release(self.values)


class FeatureManifest(Record):
    """Origin of a cache entry."""

    extractor: str
    data: str
    data_sha256: str
    split: str
    images: int


def extract_features(
    backbone: Backbone,
    dataset: ImageDataset,
    split: Split = "train",
    *,
    device: str = "cpu",
) -> Features:
    """Features of one split: center crops through the network in evaluation mode.

    Computed in float32, so that processors with and without bfloat16 agree and features can be
    compared with prototypes made elsewhere. Cached on disk by extractor and content of the images;
    features of random weights are not.

    Args:
        backbone: its head's input is what is returned.
        dataset: images decoded for `backbone.input`.
        split: which of its images.
        device: where the network runs.

    Raises:
        DataError: the split is empty, or the cache cannot be written.
        IncomparableError: the images were decoded for another input.
    """
    _check_images(backbone, dataset, split)
    entry = _entry(backbone, dataset, split)
    stored = read_entry(
        entry,
        lambda folder: _read(folder, backbone, dataset, split),
        lambda damage: announce(f"- {damage}: the features are made again."),
    )
    if stored is None:
        with building(entry) as folder:
            _extract(folder, backbone, dataset, split, device)
            stored = _open(folder, backbone, dataset, split)
    values, outputs = stored
    return Features(
        values=values,
        labels=dataset.labels_of(split),
        classes=dataset.classes,
        extractor=backbone.extractor,
        outputs=None if backbone.num_source_classes is None else outputs,
    )


def _check_images(backbone: Backbone, dataset: ImageDataset, split: Split) -> None:
    if len(dataset.splits[split]) == 0:
        raise DataError(f"{dataset.source}: has no images in its {split} split.")
    if dataset.images.shorter_side != backbone.input.shorter_side:
        raise IncomparableError(
            f"{dataset.source} was decoded at {dataset.images.shorter_side} px, {backbone.name} "
            f"needs {backbone.input.shorter_side} px: load it with this network's input."
        )


def _extract(
    folder: Path, backbone: Backbone, dataset: ImageDataset, split: Split, device: str
) -> None:
    """Write a cache entry."""
    indices = dataset.splits[split]
    network = _for_inference(backbone.network, device)
    outputs = np.empty((len(indices), 2), np.float32)
    size = backbone.input.image_size
    batch_size = images_at_once(device, size)
    parts = [slice(start, start + batch_size) for start in range(0, len(indices), batch_size)]

    def cropped(rows: slice) -> Tensor:
        return center_crops(dataset.images, indices[rows], size)

    threads = crop_threads(dataset.images, torch.device(device).type)
    released = batch_size * _batches_before_release(dataset.images, backbone.num_features)
    with (
        (folder / _VALUES).open("wb") as file,  # into a mapped file a full disk would be a signal
        torch.inference_mode(),
        progress_bar("features", len(indices)) as advance,
    ):
        write_array_header_1_0(file, _header(len(indices), backbone.num_features))
        for rows, crops in zip(parts, prefetch(cropped, parts, threads=threads), strict=True):
            batch = normalized(crops.to(device), backbone.input)
            features, logits = penultimate_features(network, backbone.head_name, batch)
            file.write(np.ascontiguousarray(features.cpu().numpy(), np.float32).data)
            outputs[rows] = _confidence_and_entropy(logits).cpu().numpy()
            if rows.start % released == 0:
                _release(dataset.images.pixels)
            advance(len(crops))
    np.save(folder / _OUTPUTS, outputs)
    manifest = FeatureManifest(
        extractor=backbone.extractor,
        data=dataset.source,
        data_sha256=dataset.content_hash,
        split=split,
        images=len(indices),
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=1))


def images_at_once(device: str, image_size: int) -> int:
    """Images of a batch.

    >>> images_at_once("cuda", 224), images_at_once("cpu", 96), images_at_once("cpu", 224)
    (64, 32, 5)
    """
    return BATCH_SIZE if device != "cpu" else max(1, min(BATCH_SIZE, CPU_PIXELS // image_size**2))


def _confidence_and_entropy(logits: Tensor) -> Tensor:
    """Largest softmax output and entropy in nats, float32 (b, 2)."""
    log_shares = logits.float().log_softmax(dim=1)
    shares = log_shares.exp()
    entropy = -(shares * log_shares.clamp(min=-1e4)).sum(dim=1)
    return torch.stack([shares.amax(dim=1), entropy], dim=1)


def _for_inference(network: nn.Module, device: str) -> nn.Module:
    # A copy, because the person's network keeps its place and layout.
    network = copy.deepcopy(network).eval().to(device)
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _batches_before_release(images: DecodedImages, width: int) -> int:
    a_row = max(1, images.pixels.nbytes // max(1, len(images))) + 4 * width
    return max(1, RELEASED_BYTES // a_row // BATCH_SIZE)


def _release(*arrays: np.ndarray) -> None:
    """Hand the pages of mapped arrays back: the file keeps them, the process need not."""
    for array in arrays:
        base = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and sys.platform != "win32":
            base.madvise(mmap.MADV_DONTNEED)


def _entry(backbone: Backbone, dataset: ImageDataset, split: Split) -> Path:
    if not backbone.weights_sha256:
        folder = Path(tempfile.mkdtemp(prefix="kintune-features-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder / "features"
    key = content_id([_LAYOUT, backbone.extractor, dataset.content_hash, split], digits=32)
    return cache_root() / "features" / key


def _read(
    entry: Path, backbone: Backbone, dataset: ImageDataset, split: Split
) -> tuple[FeatureArray, OutputArray]:
    verify(entry)
    return _open(entry, backbone, dataset, split)


def _open(
    entry: Path, backbone: Backbone, dataset: ImageDataset, split: Split
) -> tuple[FeatureArray, OutputArray]:
    n = len(dataset.splits[split])
    values = np.load(entry / _VALUES, mmap_mode="r")
    outputs = np.load(entry / _OUTPUTS)
    if values.shape != (n, backbone.num_features) or outputs.shape != (n, 2):
        raise DamagedEntry(f"arrays of shape {values.shape} and {outputs.shape}")
    return values, outputs


def _header(rows: int, columns: int) -> dict[str, Any]:
    return {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)}
