"""Training and feature extraction, beside the same network fed by timm's loader and by memory.

    python benchmarks/training.py                            2,000 images, 7 repeats: 20 minutes
    python benchmarks/training.py --images 128 --repeats 2   a trial
    python benchmarks/training.py --gpu                      ResNet-101, 224 px, batches of 256

The network has random weights and the images are made here, so nothing is read or downloaded. In
each repeat every way does one epoch of training, then one pass of feature extraction:

- **kintune** is `fine_tune` from its second epoch on, with its validation, metrics and checkpoints,
  and `extract_features`, once the images are decoded;
- **timm** is `create_loader` with the transforms of `create_transform` (random resized crop, flip,
  color jitter 0.4) on the same files, persistent workers, torch's SGD; with the number of workers
  that was fastest in a first round of all;
- **memory** is the bare network on as many images that lie ready in batches of our size: the same
  step, or a forward pass.

All three run the same network in channels-last and float32. Decoding, which Kintune does once, is
timed beside. Writes `results/benchmark_training_features.json` (or of one of the two `--works`) and
prints the tables of `docs/benchmarks.md`.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `kintune` does; before torch is loaded

import timm
import torch
import torch.nn.functional as F
from timm.data.dataset import ImageDataset as TimmDataset
from timm.data.loader import create_loader
from torch import Tensor, nn

from kintune.backbones import Backbone, BackboneOverrides, load_backbone
from kintune.base.processor import keep_large_blocks
from kintune.data import ImageDataset, load_dataset
from kintune.runs import RunConfig, device_kind
from kintune.runs.hyperparameters import Hyperparameters
from kintune.similarity.features import extract_features, images_at_once
from kintune.training import fine_tune, start_of
from kintune.training.metrics import EpochMetrics
from measuring.interleaved import (
    Rates,
    conditions,
    conditions_text,
    images_per_second,
    interleaved,
    markdown,
    ratio,
    spread,
)
from measuring.photographs import CLASSES, write_photographs

RESULTS = Path(__file__).parent.parent / "results"
LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 1e-4
WORKS = ("training", "features")
OURS, PEER, MEMORY = "kintune", "timm, ", "memory"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured."""

    model: str
    image_size: int
    batch_size: int
    shorter_sides: tuple[int, ...]
    """Shorter sides of the image files, pixels."""
    workers: tuple[int, ...]
    """Numbers of loading processes that timm's loader is tried with."""
    device: str
    images: int = 2000
    repeats: int = 7
    works: tuple[str, ...] = WORKS


CPU = Setting(
    model="mobilenetv2_100",
    image_size=96,
    batch_size=64,
    shorter_sides=(96, 500),
    workers=(0, 1, 2),
    device="cpu",
)
GPU = Setting(
    model="resnet101",
    image_size=224,
    batch_size=256,
    shorter_sides=(500,),
    workers=(4, 8, 16),
    device="cuda",
    images=4096,
)


class Inputs(NamedTuple):
    """The network and the images, as files and decoded."""

    backbone: Backbone
    dataset: ImageDataset
    folder: Path
    decoding: float
    """Images a second of decoding into the cache."""


def main() -> None:
    setting = _setting()
    keep_large_blocks()  # as `kintune` does, and for all ways alike
    torch.set_num_threads(os.cpu_count() or 1)
    found = conditions(setting.device)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for side in setting.shorter_sides:
            print(f"images of {side} px", file=sys.stderr)
            rows.append(measure(setting, side, Path(scratch) / str(side)))
    text = tables(setting, rows) + "\n\n" + conditions_text(found)
    print(text)
    result = {"command": " ".join(sys.argv), "setting": vars(setting), "conditions": found}
    name = f"benchmark_{'_'.join(setting.works)}.json"
    (RESULTS / name).write_text(json.dumps(result | {"rows": rows}, indent=1) + "\n")


def _setting() -> Setting:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--images", type=int)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--works", nargs="+", choices=WORKS)
    args = parser.parse_args()
    if args.gpu and not torch.cuda.is_available():
        parser.error("--gpu: this machine has no CUDA device")
    given = {key: value for key, value in vars(args).items() if key != "gpu" and value}
    return replace(GPU if args.gpu else CPU, **given)


def measure(setting: Setting, side: int, folder: Path) -> dict[str, Any]:
    """The rates of all ways on files of one size."""
    inputs = prepared(setting, side, folder)
    peer = Peer(setting)
    found: dict[str, Any] = {"shorter_side": side, "decoding": inputs.decoding}
    for work in setting.works:
        ways = peer_ways(setting, inputs, peer, is_training=work == "training")
        first_round = {name: way() for name, way in ways.items() if name.startswith(PEER)}
        best = max(first_round, key=lambda name: first_round[name])
        others = {name: ways[name] for name in (best, MEMORY)}
        rates = (
            training_in_turns(setting, inputs, others)
            if work == "training"
            else interleaved({OURS: extraction(setting, inputs), **others}, setting.repeats)
        )
        found[work] = {"first_round": first_round, "best": best, "rates": rates}
    return found


def prepared(setting: Setting, side: int, folder: Path) -> Inputs:
    """Image files with two a class for validation, decoded for the network."""
    counts = [("train", setting.images), ("val", 2 * CLASSES)]
    write_photographs(folder / "images", counts, side)
    os.environ["KINTUNE_CACHE"] = str(folder / "cache")
    size = BackboneOverrides(image_size=setting.image_size)
    backbone = load_backbone(setting.model, overrides=size, pretrained=False)
    began = time.perf_counter()
    dataset = load_dataset(folder / "images", backbone.input)
    rate = len(dataset.paths) / (time.perf_counter() - began)
    return Inputs(backbone, dataset, folder, rate)


class Peer:
    """The network, with torch's own Nesterov, as a script without Kintune would train it."""

    def __init__(self, setting: Setting) -> None:
        network: nn.Module = timm.create_model(setting.model, num_classes=CLASSES)
        network = network.to(setting.device)
        self.network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.SGD(
            network.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
        )
        self.device = setting.device

    def train(self, batches: Iterable[tuple[Tensor, Tensor]]) -> int:
        """A step on each batch; the number of images."""
        self.network.train()
        images = 0
        for batch, labels in batches:
            loss = F.cross_entropy(self.network(self._here(batch)), labels.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            images += len(batch)
        return images

    @torch.inference_mode()
    def extract(self, batches: Iterable[tuple[Tensor, Tensor]]) -> int:
        """The penultimate features of each batch, on the CPU; the number of images."""
        self.network.eval()
        found: list[Tensor] = []
        for batch, _ in batches:
            pooled = self.network.forward_features(self._here(batch))  # pyright: ignore[reportCallIssue]
            found.append(self.network.forward_head(pooled, pre_logits=True).cpu())  # pyright: ignore[reportCallIssue]
        return len(torch.cat(found))

    @torch.inference_mode()
    def forward(self, batches: Iterable[tuple[Tensor, Tensor]]) -> int:
        """A forward pass over each batch; the number of images."""
        self.network.eval()
        return sum(len(self.network(self._here(batch))) for batch, _ in batches)

    def _here(self, batch: Tensor) -> Tensor:
        return batch.to(self.device).contiguous(memory_format=torch.channels_last)


Ways = Mapping[str, Callable[[], float]]


def extraction(setting: Setting, inputs: Inputs) -> Callable[[], float]:
    """Our pass over the training images for their features."""

    def extract() -> int:
        features = extract_features(inputs.backbone, inputs.dataset, device=setting.device)
        return len(features.values)

    return lambda: images_per_second(extract, setting.device)


def peer_ways(
    setting: Setting,
    inputs: Inputs,
    peer: Peer,
    *,
    is_training: bool,
) -> Ways:
    """The work on timm's loader with each number of workers, and on images in memory."""
    work = peer.train if is_training else peer.extract
    ways: dict[str, Callable[[], int]] = {
        f"{PEER}{workers} workers": partial(
            work, timm_loader(setting, inputs, workers, is_training=is_training)
        )
        for workers in setting.workers
    }
    count = (
        setting.batch_size if is_training else images_at_once(setting.device, setting.image_size)
    )
    bare = peer.train if is_training else peer.forward
    ways[MEMORY] = partial(bare, in_memory(setting, count))
    return {name: partial(images_per_second, way, setting.device) for name, way in ways.items()}


def in_memory(setting: Setting, count: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of `count` images of noise and labels on the device, channels last."""
    shape = (count, 3, setting.image_size, setting.image_size)
    return [
        (
            torch.randn(shape).contiguous(memory_format=torch.channels_last).to(setting.device),
            torch.randint(CLASSES, (count,), device=setting.device),
        )
        for _ in range(setting.images // count)
    ]


def timm_loader(
    setting: Setting, inputs: Inputs, workers: int, *, is_training: bool
) -> Iterable[tuple[Tensor, Tensor]]:
    """The training files by timm's loader, its own transforms at the settings of ours."""
    spec = inputs.backbone.input
    return create_loader(
        TimmDataset(str(inputs.folder / "images/train")),
        input_size=(3, setting.image_size, setting.image_size),
        batch_size=setting.batch_size,
        is_training=is_training,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        hflip=0.5,
        color_jitter=0.4,
        interpolation="bilinear",
        mean=spec.mean,
        std=spec.std,
        crop_pct=spec.crop_pct,
        num_workers=workers,
        persistent_workers=workers > 0,
        use_prefetcher=setting.device != "cpu",
        pin_memory=setting.device != "cpu",
        device=torch.device(setting.device),
    )


def training_in_turns(setting: Setting, inputs: Inputs, others: Ways) -> Rates:
    """Images a second of the epochs of one long run, and of the other ways in turns between them.

    The run's first epoch is to warm up; the others have had their first round.
    """
    rates: Rates = {OURS: [], **{name: [] for name in others}}
    epochs = 0
    began = time.perf_counter()

    def after_an_epoch(_rows: Sequence[EpochMetrics]) -> str | None:
        nonlocal epochs, began
        rate = setting.images / (time.perf_counter() - began)
        epochs += 1
        print(f"  {OURS}: {rate:.0f} images/s", file=sys.stderr, flush=True)
        if epochs > 1:
            rates[OURS].append(rate)
            turns = list(others)[:: 1 if epochs % 2 else -1]
            for name in turns:
                rates[name].append(others[name]())
                print(f"  {name}: {rates[name][-1]:.0f} images/s", file=sys.stderr, flush=True)
        began = time.perf_counter()
        return "measured" if epochs > setting.repeats else None

    with tempfile.TemporaryDirectory(dir=inputs.folder) as folder:
        fine_tune(
            *(inputs.backbone, inputs.dataset, run_config(setting, inputs), Path(folder)),
            device=setting.device,
            watch=after_an_epoch,
        )
    return rates


def run_config(setting: Setting, inputs: Inputs) -> RunConfig:
    """A run with an epoch for each repeat, one to warm up, and one that is never reached."""
    return RunConfig(
        **start_of(inputs.backbone, inputs.dataset),
        hyperparameters=Hyperparameters.as_in_paper(
            lr=LR,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
            batch_size=setting.batch_size,
            epochs=setting.repeats + 2,
            augmentation="random_resized_crop",
        ),
        device=device_kind(setting.device),
    )


def tables(setting: Setting, rows: Sequence[Mapping[str, Any]]) -> str:
    """What `docs/benchmarks.md` shows: the comparison, and every number of workers."""
    compared: list[list[str]] = []
    workers: list[list[str]] = []
    for row in rows:
        for work in setting.works:
            found = row[work]
            rates, best = found["rates"], found["best"]
            label = [f"{row['shorter_side']} px", work]
            speeds = [spread(rates[way], 0) for way in (OURS, best, MEMORY)]
            compared.append([*label, *speeds, ratio(rates, OURS, best), ratio(rates, OURS, MEMORY)])
            workers.append([*label, *(f"{rate:.0f}" for rate in found["first_round"].values())])
    names = [f"timm, {number} workers" for number in setting.workers]
    head = ("files", "work", OURS, "timm, best", MEMORY, "over timm", "over memory")
    decoding = ", ".join(f"{row['decoding']:.0f} ({row['shorter_side']} px)" for row in rows)
    return "\n\n".join(
        [
            markdown(head, compared),
            "The first round, one value each:",
            markdown(("files", "work", *names), workers),
            f"Decoding into the cache, once, images a second: {decoding}.",
        ]
    )


if __name__ == "__main__":
    main()
