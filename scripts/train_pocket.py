"""Train `pocket` on 80 classes of CIFAR-100 and write what the package ships.

    python scripts/train_pocket.py --data FOLDER

reads `train.parquet` and `test.parquet` (columns `image.bytes`, `label`) and writes
`pocket.safetensors` (float16), `pocket.json` (input statistics, labels),
`pocket.prototypes.safetensors` (class means of the training images) and `pocket.md` (the model
card). About 25 minutes on two idle cores. The epochs are fixed beforehand: the test images are read
once, after the last.

`--architecture NAME --output FOLDER` trains another network in the same way, in float32, and writes
`NAME.safetensors` and `NAME.json`: a kind of network of its own, whose source is as well known
as that of `pocket`. Any of timm's that takes 32 pixels will do.

Four superclasses (20 classes) are never shown to the network, so that they can serve as its near
target: household furniture, large carnivores, fruit and vegetables, vehicles 1.
"""

import argparse
import io
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from kintune.backbones import Backbone, build_network, load_backbone, penultimate_features
from kintune.backbones.pocket import POCKET_IMAGE_SIZE, PocketNet
from kintune.similarity.features import Features
from kintune.similarity.prototypes import Prototypes, class_prototypes, save_prototypes

HELD_OUT = (
    *("bed", "chair", "couch", "table", "wardrobe"),
    *("bear", "leopard", "lion", "tiger", "wolf"),
    *("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    *("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
)
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
BATCH_SIZE, PEAK_LR, MOMENTUM, WEIGHT_DECAY, WARM_UP = 128, 0.2, 0.9, 5e-4, 0.1
POCKET = "pocket"
OUTPUT = Path(__file__).parent.parent / "src/kintune/backbones"


def read_parquet(path: Path) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """uint8 images (n, 3, 32, 32) and int64 labels (n,) of the classes kept, and their names."""
    table = pq.read_table(path)
    info = json.loads(table.schema.metadata[b"huggingface"])
    names: list[str] = info["info"]["features"]["label"]["names"]
    kept = [name for name in names if name not in HELD_OUT]
    new_label = {names.index(name): index for index, name in enumerate(kept)}
    images, labels = [], []
    for row in table.to_pylist():
        if row["label"] in new_label:
            picture = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
            images.append(np.asarray(picture).transpose(2, 0, 1))
            labels.append(new_label[row["label"]])
    return torch.from_numpy(np.stack(images)), torch.tensor(labels), kept


def normalized(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    x = (images.float() / 255 - mean) / std
    return x.contiguous(memory_format=torch.channels_last)


def augmented(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift by up to 4 pixels (reflected) and mirror, drawn for each image."""
    n, _, height, width = images.shape
    padded = F.pad(images.float(), (4, 4, 4, 4), mode="reflect").to(torch.uint8)
    top, left = torch.randint(0, 9, (2, n), generator=generator)
    mirrored = torch.rand(n, generator=generator) < 0.5
    columns = torch.arange(width).repeat(n, 1)
    columns[mirrored] = columns[mirrored].flip(1)
    rows = top[:, None] + torch.arange(height)
    columns = left[:, None] + columns
    picked = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine to zero."""
    done = step / steps
    if done < WARM_UP:
        return PEAK_LR * done / WARM_UP
    return PEAK_LR * 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def train(
    architecture: str, images: torch.Tensor, labels: torch.Tensor, epochs: int, seed: int
) -> nn.Module:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = build_network(architecture, {}, int(labels.max()) + 1)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(
        network.parameters(), PEAK_LR, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    per_epoch = len(images) // BATCH_SIZE
    for epoch in range(epochs):
        started, losses = time.monotonic(), []
        order = torch.randperm(len(images), generator=generator)
        for index in range(per_epoch):
            batch = order[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]
            optimizer.param_groups[0]["lr"] = learning_rate(
                epoch * per_epoch + index, epochs * per_epoch
            )
            x = normalized(augmented(images[batch], generator))
            with torch.autocast("cpu", torch.bfloat16, enabled=architecture == POCKET):
                loss = F.cross_entropy(network(x).float(), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        seconds = time.monotonic() - started
        print(f"epoch {epoch + 1}/{epochs} loss {np.mean(losses):.3f} {seconds:.0f} s", flush=True)
    return network


@torch.no_grad()
def accuracy_on_test(network: nn.Module, data: Path) -> tuple[float, int]:
    """Top-1 on the test images of the classes kept, and how many these are."""
    images, labels, _ = read_parquet(data / "test.parquet")
    network.eval()
    logits = torch.cat([network(normalized(part)) for part in images.split(500)])
    return (logits.argmax(1) == labels).float().mean().item(), len(labels)


@torch.no_grad()
def penultimate(network: PocketNet, images: torch.Tensor) -> torch.Tensor:
    """Features (n, 192) before the head, batch statistics frozen."""
    network.eval()
    parts = [penultimate_features(network, "fc", normalized(part)) for part in images.split(500)]
    return torch.cat([features for features, _ in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the two parquet files"
    )
    parser.add_argument("--architecture", default=POCKET)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    if args.architecture != POCKET and args.output == OUTPUT:
        parser.error("--architecture needs --output: only pocket ships with the package")
    torch.set_num_threads(args.threads)
    started = time.monotonic()
    images, labels, names = read_parquet(args.data / "train.parquet")
    network = train(args.architecture, images, labels, args.epochs, args.seed)
    minutes = (time.monotonic() - started) / 60

    weights = {
        key: value.half().contiguous()
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    # What is measured from here on is what ships: the weights after rounding to 16 bits.
    network.load_state_dict({key: value.float() for key, value in weights.items()}, strict=False)
    accuracy, test_images = accuracy_on_test(network, args.data)
    print(f"test top-1 accuracy {accuracy:.4f} on {test_images} images, {minutes:.0f} minutes")

    facts = {
        "architecture": args.architecture,
        "num_classes": len(names),
        "mean": MEAN,
        "std": STD,
        "input_size": (3, POCKET_IMAGE_SIZE, POCKET_IMAGE_SIZE),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "source": "CIFAR-100, 80 classes",
        "labels": names,
        "held_out_classes": HELD_OUT,
        "training": {
            "images": len(images),
            "epochs": args.epochs,
            "seed": args.seed,
            "batch_size": BATCH_SIZE,
            "peak_lr": PEAK_LR,
            "momentum": MOMENTUM,
            "weight_decay": WEIGHT_DECAY,
            "schedule": "warm-up 10 %, cosine to 0",
            "augmentation": "shift 4 px, mirror",
            "torch": torch.__version__,
        },
        "test_images": test_images,
        "test_top1_error": round(1 - accuracy, 4),
    }
    args.output.mkdir(parents=True, exist_ok=True)
    weights_file = args.output / f"{args.architecture}.safetensors"
    save_file(weights, weights_file)
    weights_file.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    if isinstance(network, PocketNet):
        weights_file.with_suffix(".md").write_text(model_card(facts))
        backbone = load_backbone(POCKET, weights=weights_file)
        save_prototypes(
            prototypes(penultimate(network, images), labels, backbone),
            weights_file.with_suffix(".prototypes.safetensors"),
            backbone,
        )


def prototypes(features: torch.Tensor, labels: torch.Tensor, backbone: Backbone) -> Prototypes:
    """Class means of the training images, as the package reads them."""
    return class_prototypes(
        Features(
            values=features.numpy(),
            labels=labels.numpy(),
            classes=backbone.source_labels,
            extractor=backbone.extractor,
        ),
        domain=backbone.domain,
    )


def model_card(facts: dict[str, Any]) -> str:
    training = facts["training"]
    return f"""# pocket

A pre-activation residual network of 0.7 million parameters for 32 x 32 RGB images, stored as 16-bit
floats. It is there to try Kintune without a download; for real work take a larger network.

- **Source**: {len(facts["labels"])} of the 100 classes of CIFAR-100 (Krizhevsky 2009, "Learning
  multiple layers of features from tiny images"), {training["images"]} training images.
- **Held out**: {", ".join(HELD_OUT)} (four superclasses): its near target.
- **Test error**: {facts["test_top1_error"]:.1%} top-1 on {facts["test_images"]} test images of its
  classes, read once, with the weights as stored.
- **Training**: {training["epochs"]} epochs, batch size {training["batch_size"]}, Nesterov momentum
  {training["momentum"]}, learning rate {training["peak_lr"]} ({training["schedule"]}), weight decay
  {training["weight_decay"]}, {training["augmentation"]}, seed {training["seed"]}, torch
  {training["torch"]}. The epochs were fixed beforehand.
- **Prototypes**: `pocket.prototypes.safetensors` holds the mean penultimate feature of each class
  over the training images.
- **To make it again**: `python scripts/train_pocket.py --data FOLDER` with the CIFAR-100 parquet
  files (`train.parquet`, `test.parquet`); about 25 minutes on two idle cores.
- **Limits**: small images, small network; its classes include people (boy, girl, man, woman).
"""


if __name__ == "__main__":
    main()
