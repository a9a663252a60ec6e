"""Does `fine_tune` reach what a plain PyTorch loop reaches? Test errors in pairs, seed by seed.

    python benchmarks/parity.py --data $KINTUNE_TEST_DATA/data --weights FILE.safetensors
    python benchmarks/parity.py ... --seeds 1 --epochs 1     a trial
    python benchmarks/parity.py --show                       the table of the results so far

FILE is an ImageNet EfficientNet-Lite0 with its `.json` beside it. The plain loop is `plain_run` and
what it calls: timm's network, `torch.optim.SGD`, and crops, augmentation, batches, schedule and
evaluation in a few lines of tensor code. It takes the decoded pixels, labels and splits from
`load_dataset` and nothing else of the package; `pixel_difference` compares these pixels with
Pillow's own. Both draw the same random numbers (numpy's Philox), so the same images are cropped in
the same way in the same order from the same start, and what is left between the two is rounding,
which training amplifies. Kintune runs in both conventions of its update:

- **torch**: the update of `torch.optim.SGD`;
- **paper**: the default. A decay λ / (1 - m) takes as much from the weights as λ in
  torch's; the two still part after a change of the learning rate.

Each run is a line of `results/parity.jsonl`, written as it ends; a second call does the rest.
"""

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `kintune` does; before torch is loaded

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from kintune.backbones import Backbone, BackboneOverrides, load_backbone
from kintune.data import ImageDataset, load_dataset
from kintune.runs import RunConfig
from kintune.runs.hyperparameters import Hyperparameters, UpdateConvention
from kintune.training import evaluate_model_folder, fine_tune, start_of
from kintune.training.metrics import read_metrics
from measuring.interleaved import conditions, conditions_text, markdown

RESULTS = Path(__file__).parent.parent / "results" / "parity.jsonl"
MODEL, SIZE = "tf_efficientnet_lite0", 96
BATCH_SIZE, MOMENTUM, DECAY = 32, 0.9, 1e-4
LRS = {"batch": 0.01, "frozen": 0.003}
"""With frozen statistics 0.01 trains badly on the three sets: test errors of 51 to 86 %."""
PLAIN = "plain"
WAYS = (PLAIN, "paper", "torch")
STATISTICS = ("batch", "frozen")
VALIDATION_PER_CLASS = 2


class Task(NamedTuple):
    """The images of one comparison, and the network."""

    backbone: Backbone
    dataset: ImageDataset
    weights: Path
    epochs: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="holds NAME/{train,test}/CLASS/*.jpg")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--sets", nargs="+", default=["sign-digits", "clothing10", "insects"])
    parser.add_argument("--statistics", nargs="+", choices=STATISTICS, default=STATISTICS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--images", type=int, default=320, help="training images of a set")
    parser.add_argument("--test-images", type=int, default=500, help="at most, of a set")
    parser.add_argument("--lr", type=float, help="of both kinds of statistics")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--show", action="store_true", help="print the table of the results")
    args = parser.parse_args()
    if not args.show:
        if args.data is None or args.weights is None:
            parser.error("--data and --weights are needed")
        torch.set_num_threads(args.threads)
        measure(args)
    print(table(read_lines(args.results)) + "\n\n" + conditions_text(conditions("cpu")))


def measure(args: argparse.Namespace) -> None:
    """Do the runs that are not in the results, seed by seed."""
    done = {key_of(line) for line in read_lines(args.results)}
    size = BackboneOverrides(image_size=SIZE)
    backbone = load_backbone(MODEL, weights=args.weights, overrides=size)
    tasks: dict[str, Task] = {}
    wanted = (
        {"set": name, "statistics": kind, "way": way, "seed": seed}
        | {"lr": args.lr or LRS[kind], "epochs": args.epochs, "images": args.images}
        for seed in range(args.seeds)
        for name in args.sets
        for kind in args.statistics
        for way in args.ways
    )
    for key in wanted:
        if key_of(key) in done:
            continue
        name = key["set"]
        if name not in tasks:
            dataset = limited(args.data / name, args.images, args.test_images, backbone)
            print(f"{name}: decoded pixels and Pillow's part by {pixel_difference(dataset)} levels")
            tasks[name] = Task(backbone, dataset, args.weights, args.epochs)
        began = time.perf_counter()
        run = plain_run if key["way"] == PLAIN else kintune_run
        line = key | run(tasks[name], key) | {"seconds": round(time.perf_counter() - began, 1)}
        with args.results.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


def key_of(line: dict[str, Any]) -> tuple[Any, ...]:
    names = ("set", "statistics", "way", "seed", "lr", "epochs", "images")
    return tuple(line[name] for name in names)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def limited(folder: Path, images: int, tests: int, backbone: Backbone) -> ImageDataset:
    """As many images of each class for training and for the test, evenly spaced among its files,
    and two more for validation, which decides nothing here."""
    classes = sorted(path for path in (folder / "train").iterdir() if path.is_dir())
    rows = ["path,label,split"]
    for place in classes:
        most = images // len(classes) + VALIDATION_PER_CLASS
        files = spaced(sorted(place.iterdir()), most)
        kinds = ["val"] * VALIDATION_PER_CLASS + ["train"] * len(files)
        rows += [f"{path},{place.name},{kind}" for path, kind in zip(files, kinds, strict=False)]
        files = spaced(sorted((folder / "test" / place.name).iterdir()), tests // len(classes))
        rows += [f"{path},{place.name},test" for path in files]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{folder.name}.csv"
        path.write_text("\n".join(rows) + "\n")
        return load_dataset(path, backbone.input)


def spaced(files: Sequence[Path], most: int) -> Sequence[Path]:
    """At most so many of the files, evenly spaced."""
    count = min(most, len(files))
    return [files[index] for index in np.linspace(0, len(files) - 1, count).astype(int)]


def pixel_difference(dataset: ImageDataset) -> int:
    """Largest difference between the decoded images and what three lines of Pillow give."""
    largest, side = 0, dataset.images.shorter_side
    for index, path in enumerate(dataset.paths):
        with Image.open(path) as image:
            scale = side / min(image.size)
            size = round(image.width * scale), round(image.height * scale)
            plain = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))
        largest = max(largest, int(np.abs(plain.astype(int) - dataset.images[index]).max()))
    return largest


def settings(task: Task, key: dict[str, Any]) -> Hyperparameters:
    convention: UpdateConvention = key["way"]
    return Hyperparameters.as_in_paper(
        lr=key["lr"],
        momentum=MOMENTUM,
        weight_decay=DECAY if convention == "torch" else DECAY / (1 - MOMENTUM),
        batch_size=BATCH_SIZE,
        epochs=task.epochs,
        convention=convention,
        freeze_bn_stats=key["statistics"] == "frozen",
    )


def kintune_run(task: Task, key: dict[str, Any]) -> dict[str, Any]:
    """`fine_tune`, and the error of the model folder that it wrote."""
    start = start_of(task.backbone, task.dataset)
    config = RunConfig(**start, hyperparameters=settings(task, key), seed=key["seed"])
    with tempfile.TemporaryDirectory() as scratch:
        fine_tune(task.backbone, task.dataset, config, Path(scratch))
        losses = [row.train_loss for row in read_metrics(Path(scratch))]
        found = evaluate_model_folder(Path(scratch) / "model", task.dataset, "test")
    return {"test_error": found.top1_error, "train_losses": losses}


# What follows uses nothing of the package.


def plain_run(task: Task, key: dict[str, Any]) -> dict[str, Any]:
    """The same training in plain PyTorch."""
    dataset, seed, lr = task.dataset, key["seed"], key["lr"]
    images = [torch.from_numpy(dataset.images[i]) for i in range(len(dataset.paths))]
    labels, train = torch.from_numpy(dataset.labels), dataset.splits["train"]
    network = plain_network(task.weights, len(dataset.classes), seed)
    sgd = torch.optim.SGD(network.parameters(), lr, MOMENTUM, weight_decay=DECAY, nesterov=True)
    steps_per_epoch = math.ceil(len(train) / BATCH_SIZE)
    steps, losses = task.epochs * steps_per_epoch, list[float]()
    for epoch in range(task.epochs):
        network.train()
        for module in network.modules():
            if key["statistics"] == "frozen" and isinstance(module, nn.BatchNorm2d):
                module.eval()
        order = random(seed, epoch, 1).permutation(train)
        draws, total = random(seed, epoch, 0).random((len(images), 8)), 0.0
        bounds = [len(order) * k // steps_per_epoch for k in range(steps_per_epoch + 1)]
        for number, (first, last) in enumerate(pairwise(bounds)):
            batch = order[first:last]
            step = epoch * steps_per_epoch + number
            sgd.param_groups[0]["lr"] = lr * 0.1 ** sum(step >= steps * x for x in (1 / 2, 5 / 6))
            crops = torch.stack([augmented(images[i], draws[i]) for i in batch])
            loss = F.cross_entropy(network(normal(crops)), labels[batch])
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            total += loss.item() * len(batch)
        losses.append(total / len(train))
    tests = dataset.splits["test"]
    with torch.inference_mode():
        network.eval()
        parts = np.array_split(tests, math.ceil(len(tests) / 100))
        logits = [network(normal(torch.stack([center(images[i]) for i in p]))) for p in parts]
    wrong = torch.cat(logits).argmax(1) != labels[tests]
    return {"test_error": wrong.double().mean().item(), "train_losses": losses}


def plain_network(weights: Path, classes: int, seed: int) -> nn.Module:
    """The network of timm with the file's weights and a new head from N(0, 0.01²), bias 0."""
    network = timm.create_model(MODEL, num_classes=classes)
    tensors = {k: v for k, v in load_file(weights).items() if not k.startswith("classifier.")}
    network.load_state_dict(tensors, strict=False)
    head = network.get_submodule("classifier")
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.copy_(
            0.01 * torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed))
        )
        head.bias.zero_()
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def random(seed: int, epoch: int, stream: int) -> np.random.Generator:
    key = np.array([seed, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, stream]))


def normal(images: Tensor) -> Tensor:
    """float32 RGB in [0, 1] (b, 3, s, s), with the network's mean and standard deviation of 0.5."""
    return ((images - 0.5) / 0.5).contiguous(memory_format=torch.channels_last)


def center(image: Tensor) -> Tensor:
    """The central square of uint8 (h, w, 3), float32 (3, s, s) in [0, 1]."""
    top, left = (round((side - SIZE) / 2) for side in image.shape[:2])
    return image[top : top + SIZE, left : left + SIZE].permute(2, 0, 1) / 255


def augmented(image: Tensor, draw: np.ndarray) -> Tensor:
    """A random box scaled to the square, mirrored in half of the cases, with its colors changed."""
    rows, columns = image.shape[:2]
    aspect = (4 / 3) ** (2 * draw[1] - 1)  # width over height, from 3/4 to 4/3
    least, most = 0.08 * rows * columns, min(columns, rows * aspect) ** 2 / aspect
    area = least + draw[0] * (most - least)
    height = min(max(round(math.sqrt(area / aspect)), 1), rows)
    width = min(max(round(math.sqrt(area * aspect)), 1), columns)
    top, left = int(draw[2] * (rows - height + 1)), int(draw[3] * (columns - width + 1))
    box = image[top : top + height, left : left + width].permute(2, 0, 1)[None]
    crop = F.interpolate(box, (SIZE, SIZE), mode="bilinear", antialias=True)[0] / 255
    crop = crop.flip(-1) if draw[4] < 0.5 else crop
    brightness, contrast, saturation = (float(1 + 0.4 * (2 * x - 1)) for x in draw[5:8])
    crop = (crop * brightness).clamp(0, 1)
    crop = (contrast * crop + (1 - contrast) * gray(crop).mean()).clamp(0, 1)
    return (saturation * crop + (1 - saturation) * gray(crop)).clamp(0, 1)


def gray(crop: Tensor) -> Tensor:
    return (crop * torch.tensor([0.2989, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)


# The table.


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Errors in per cent; differences are of runs with the same seed."""
    head = [
        "set",
        "statistics",
        "lr",
        "convention",
        "seeds",
        "plain",
        "kintune",
        "difference",
        "ratio",
    ]
    return markdown([*head, "loss of epoch 1"], list(rows_of(lines)))


def rows_of(lines: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    groups: dict[tuple[Any, ...], dict[str, dict[int, dict[str, Any]]]] = {}
    for line in lines:
        group = (line["set"], line["statistics"], line["lr"], line["epochs"], line["images"])
        groups.setdefault(group, {}).setdefault(line["way"], {})[line["seed"]] = line
    for (name, kind, lr, *_), ways in groups.items():
        for way in WAYS[1:]:
            plain, ours = ways.get(PLAIN, {}), ways.get(way, {})
            seeds = sorted(plain.keys() & ours.keys())
            if not seeds:
                continue
            theirs = [100 * plain[seed]["test_error"] for seed in seeds]
            mine = [100 * ours[seed]["test_error"] for seed in seeds]
            differences = [b - a for a, b in zip(theirs, mine, strict=True)]
            losses = [
                ours[seed]["train_losses"][0] / plain[seed]["train_losses"][0] - 1 for seed in seeds
            ]
            mean = statistics.mean(theirs)
            yield [
                *(
                    name,
                    kind,
                    f"{lr:g}",
                    way,
                    str(len(seeds)),
                    with_deviation(theirs),
                    with_deviation(mine),
                ),
                with_deviation(differences, sign="+"),
                f"{statistics.mean(mine) / mean:.3f}" if mean else "",
                f"{max(map(abs, losses)):.0e}",
            ]


def with_deviation(values: Sequence[float], sign: str = "") -> str:
    """Mean and standard deviation over the seeds."""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.2f}{deviation}"


if __name__ == "__main__":
    main()
