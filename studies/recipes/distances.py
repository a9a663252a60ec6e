"""Measure how far known targets lie, the scale on which a new one finds its place.

    python -m studies.recipes.distances --data DATA --models MODELS

Writes `kintune/recommend/references/relative_distances.json`: for each MobileNetV2 in MODELS
(prototypes from its head) and for `pocket` (prototypes from images) the relative distance of every
image set in DATA. About three minutes on two cores.
"""

import argparse
import io
import json
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from kintune.backbones import (
    Backbone,
    BackboneOverrides,
    load_backbone,
)
from kintune.data import load_dataset
from kintune.runs import write_json
from kintune.similarity.task import Task, measure
from studies.similarity.sets import HELD_OUT, SETS

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "src/kintune/recommend/references"
NETWORKS = ("in1k", "inat_birds", "inat_insects")
NETWORK_IMAGE_SIZE = 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    args = parser.parse_args()
    data = args.data.absolute()  # links to its files are made elsewhere
    with tempfile.TemporaryDirectory() as scratch:
        write_distances(data, args.models, Path(scratch))


def write_distances(data: Path, models: Path, scratch: Path) -> None:
    pocket = load_backbone("pocket")
    held_out = unpack_held_out(data / "cifar100", pocket, scratch)
    folders = [data / name for name in SETS]
    heads = {
        network.domain: distances(network, folders)
        for network in (mobilenet(models, name) for name in NETWORKS)
    }
    images = {pocket.domain: distances(pocket, [held_out, *folders])}
    write_json(REFERENCE / "relative_distances.json", {"head": heads, "images": images})


def mobilenet(models: Path, name: str) -> Backbone:
    weights = models / f"mobilenetv2_100.{name}.safetensors"
    overrides = BackboneOverrides(image_size=NETWORK_IMAGE_SIZE)
    return load_backbone("mobilenetv2_100", weights=weights, overrides=overrides)


def distances(backbone: Backbone, folders: list[Path]) -> dict[str, float]:
    found = {}
    for folder in folders:
        dataset = load_dataset(folder, backbone.input)
        measured = measure(Task(backbone=backbone, dataset=dataset, device="cpu"), None)
        found[folder.name] = round(measured.relative_distance, 4)
        print(f"{backbone.domain} {folder.name} {measured.relative_distance:.3f}", flush=True)
    return found


def unpack_held_out(parquet: Path, pocket: Backbone, scratch: Path) -> Path:
    """The classes of CIFAR-100 that `pocket` was not trained on, as a folder of PNGs."""
    folder = scratch / HELD_OUT
    for split in ("train", "test"):
        table = pq.read_table(parquet / f"{split}.parquet")
        names = json.loads(table.schema.metadata[b"huggingface"])
        names = names["info"]["features"]["label"]["names"]
        for index, row in enumerate(table.to_pylist()):
            name = names[row["label"]]
            if name not in pocket.source_labels:
                path = folder / split / name / f"{index:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.open(io.BytesIO(row["image"]["bytes"])).save(path)
    return folder


if __name__ == "__main__":
    main()
