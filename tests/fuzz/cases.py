"""What is tried: each family draws one case, a call whose outcome `worker` judges.

A case works in a fresh folder, which is also the current one, on copies of what `build` made.
"""

import io
import shutil
import types
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import numpy as np
import torch
from PIL import Image

from kintune.backbones import BackboneOverrides, load_backbone
from kintune.cli import COMMANDS, main
from kintune.data import load_dataset
from kintune.options import Options
from kintune.runs import RunConfig
from kintune.training import fine_tune
from tests.fuzz.mutations import (
    NUMBERS,
    TEXTS,
    damaged,
    damaged_json,
    damaged_table,
)

TRAIN = ("--model", "pocket", "--image-size", "16", "--threads", "1", "--device", "cpu")
SHORT = (*TRAIN, "--epochs", "2", "--batch-size", "4")
FORMATS = ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm")
PLANNED = ("finetune", "tune", "search")
"""Commands that would train: nearly always asked for their plan alone."""
SKIPPED = {"runner", "ray_address", "workers"}
"""Fields that start other processes."""


class Case(NamedTuple):
    """One thing to try."""

    text: str
    """For a person who looks into a failure."""
    call: Callable[[], object]


def build(base: Path) -> None:
    """Make what the cases damage: images, a table, a finished and a stopped run, a search."""
    for split, count in (("train", 4), ("test", 2)):
        for label, shade in (("dark", 60), ("light", 190)):
            (base / "images" / split / label).mkdir(parents=True)
            for index in range(count):
                noise = np.random.default_rng(index).normal(shade, 20, (16, 18, 3))
                image = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
                image.save(base / "images" / split / label / f"{index}.png")
    (base / "formats").mkdir()
    with Image.open(base / "images/train/dark/0.png") as image:
        for kind in FORMATS:
            image.save(base / "formats" / f"image.{kind}")
    rows = ["path,label,split"]
    rows += [f"{p},{p.parts[-2]},{p.parts[-3]}" for p in sorted(base.glob("images/*/*/*.png"))]
    (base / "table.csv").write_text("\n".join(rows) + "\n")
    images = str(base / "images")
    run(["finetune", images, *SHORT, "--output", str(base / "finetuned")])
    run(["tune", images, *SHORT, "--runs", "1", "--output", str(base / "tuned")])
    stop(base)
    network = load_backbone("pocket").network.state_dict()
    torch.save(network, base / "pocket.pth")
    pocket = Path(load_backbone.__code__.co_filename).parent
    for name in ("pocket.safetensors", "pocket.json"):
        shutil.copy(pocket / name, base / name)


def stop(base: Path) -> None:
    """Train the finished run in another folder and leave it after its first epoch."""
    config = RunConfig.read(base / "finetuned/config.json")
    backbone = load_backbone("pocket", overrides=BackboneOverrides(image_size=16))
    dataset = load_dataset(base / "images", backbone.input)
    fine_tune(backbone, dataset, config, base / "stopped", watch=lambda rows: "enough")


def run(words: list[str]) -> None:
    """A command that must succeed."""
    try:
        main(words)
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"kintune {' '.join(words)}: {end.code}") from end


def command(words: list[str]) -> Case:
    return Case("kintune " + " ".join(map(repr, words)), lambda: main(words))


# Flags.


def flags(rng: Random, base: Path) -> Case:
    """A command that would work, with one to three flags of extreme values."""
    name = rng.choice([name for name in COMMANDS if name != "demo"])
    words = [name, *_positional(name, rng, base), *_needed(name)]
    fields = {k: v for k, v in COMMANDS[name].options.model_fields.items() if k not in SKIPPED}
    named = sorted(fields.keys() - _positionals(COMMANDS[name].options))
    for key in rng.sample(named, k=min(len(named), rng.randint(1, 3))):
        words += _flag(key, fields[key].annotation, rng, base)
    if name in PLANNED or words[:2] == ["reference", "build"]:
        words += ["--dry-run"]
    return command(words)


def _needed(name: str) -> list[str]:
    if name in (*PLANNED, "recommend"):
        return list(TRAIN)
    if name in ("similarity", "prototypes"):
        output = ["--output", "p.safetensors"] if name == "prototypes" else []
        return [*TRAIN, *output]
    return ["--plan"] if name == "reproduce" else []


def _positional(name: str, rng: Random, base: Path) -> list[str]:
    odd = rng.random() < 0.15
    match name:
        case "predict":
            images = [str(path) for path in base.glob("formats/*")]
            return [str(base / "finetuned/model"), *(_path(rng, base) for _ in range(odd)), *images]
        case "report":
            return [_path(rng, base) if odd else str(base / "nowhere")]
        case "cache":
            return []
        case "reference":
            action = rng.choice(("list", "add", "build"))
            return [action, *(_path(rng, base) for _ in range(0 if action == "list" else 1))]
        case "reproduce":
            return [rng.choice((*TEXTS, "all", "table1", "figure8"))]
        case _:
            return [_path(rng, base) if odd else str(base / "images")]


def _positionals(options: type[Options]) -> set[str]:
    found = {"data", "images", "folder", "action", "folders", "name"} & set(options.model_fields)
    if "images" in found:
        found.add("model")
    if options is COMMANDS["reproduce"].options:
        found.remove("data")
    return found


def _flag(key: str, annotation: Any, rng: Random, base: Path) -> list[str]:
    name = "--" + {"as_json": "json", "from_config": "from"}.get(key, key).replace("_", "-")
    kind, many = _kind(annotation)
    if kind is bool:
        return [name]
    count = rng.randint(1, 3) if many else 1
    return [name, *(_value(kind, rng, base) for _ in range(count))]


def _kind(annotation: Any) -> tuple[Any, bool]:
    """What one value is, and whether there may be several."""
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return _kind(get_args(annotation)[0])
    if get_origin(annotation) is tuple:
        return _kind(get_args(annotation)[0])[0], True
    if get_origin(annotation) is Literal:
        return get_args(annotation), False
    return annotation, False


def _value(kind: Any, rng: Random, base: Path) -> str:
    if rng.random() < 0.1:
        return rng.choice((*NUMBERS, *TEXTS))
    if isinstance(kind, tuple):
        return rng.choice(kind)
    if kind in (int, float):
        return rng.choice(NUMBERS)
    return _path(rng, base) if kind is Path else rng.choice(TEXTS)


def _path(rng: Random, base: Path) -> str:
    files = [base / name for name in ("images", "table.csv", "pocket.safetensors", "tuned", ".")]
    odd = ("/dev/null", "/dev/full", "/dev/null/x", "/proc/self/mem", "..", "p.safetensors")
    return rng.choice((*map(str, files), *odd, *TEXTS))


# Files.


def images(rng: Random, base: Path) -> Case:
    """A damaged image among good ones, checked, or classified."""
    source = base / "formats" / f"image.{rng.choice(FORMATS)}"
    content = damaged(source.read_bytes(), rng)
    name = f"image.{rng.choice(FORMATS)}" if rng.random() < 0.2 else source.name
    if rng.random() < 0.5:
        Path(name).write_bytes(content)
        return command(["predict", str(base / "finetuned/model"), name])
    shutil.copytree(base / "images", "images")
    (Path("images/train/dark") / name).write_bytes(content)
    skip = ["--skip-unreadable"] if rng.random() < 0.5 else []
    if rng.random() < 0.7:
        return command(["check", "images"])
    return command(["finetune", "images", *SHORT, "--dry-run", *skip])


def tables(rng: Random, base: Path) -> Case:
    """A damaged CSV."""
    Path("t.csv").write_bytes(damaged_table((base / "table.csv").read_bytes(), rng))
    if rng.random() < 0.7:
        return command(["check", "t.csv"])
    return command(["finetune", "t.csv", *SHORT, "--dry-run"])


def weights(rng: Random, base: Path) -> Case:
    """A damaged weights file, its sidecar sound or not there."""
    suffix = rng.choice((".safetensors", ".pth"))
    content = (base / f"pocket{suffix}").read_bytes()
    if suffix == ".safetensors" and rng.random() < 0.6:
        content = _damaged_header(content, rng)
    elif rng.random() < 0.3:
        content = _odd_checkpoint(rng)
    else:
        content = damaged(content, rng)
    file = Path(f"w{rng.choice((suffix, suffix, '.safetensors', '.bin', ''))}")
    file.write_bytes(content)
    if rng.random() < 0.5:
        shutil.copy(base / "pocket.json", "w.json")
    return Case(f"load_backbone(pocket, {file})", lambda: load_backbone("pocket", weights=file))


def _damaged_header(content: bytes, rng: Random) -> bytes:
    size = int.from_bytes(content[:8], "little")
    header = damaged_json(content[8 : 8 + size], rng)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _odd_checkpoint(rng: Random) -> bytes:
    odd: list[Any] = [None, 1, [], {}, {1: torch.ones(2)}, {"a": 1}, {"state_dict": None}]
    odd += [torch.ones(3), {"fc.weight": torch.ones(3)}, {"model": [torch.ones(1)]}]
    odd += [{"a": torch.zeros(0)}, {"fc.weight": torch.full((2, 64), float("nan"))}]
    odd += [{"state_dict": {"module.fc.weight": torch.ones(2, 2).to_sparse()}}]
    stream = io.BytesIO()
    torch.save(rng.choice(odd), stream)
    return stream.getvalue()


def sidecars(rng: Random, base: Path) -> Case:
    """A damaged description of a network, or of a finished model."""
    if rng.random() < 0.5:
        shutil.copy(base / "pocket.safetensors", "w.safetensors")
        Path("w.json").write_bytes(damaged_json((base / "pocket.json").read_bytes(), rng))
        file = Path("w.safetensors")
        return Case(f"load_backbone({file})", lambda: load_backbone("pocket", weights=file))
    shutil.copytree(base / "finetuned/model", "best")
    path = Path("best/model.json")
    path.write_bytes(damaged_json(path.read_bytes(), rng))
    return command(["predict", "best", str(base / "formats/image.png")])


def run_folders(rng: Random, base: Path) -> Case:
    """A damaged file of a finished, stopped or searched folder, and a command that reads it."""
    kind = rng.choice(("finetuned", "stopped", "tuned"))
    shutil.copytree(base / kind, "out")
    files = [path for path in sorted(Path("out").rglob("*")) if path.is_file()]
    wanted = [p for p in files if p.suffix in (".json", ".csv", ".safetensors", ".log", "")]
    path = rng.choice(wanted)
    content = path.read_bytes()
    if path.suffix == ".json" and content:
        content = damaged_json(content, rng)
    elif path.suffix == ".csv":
        content = damaged_table(content, rng)
    elif path.suffix == ".safetensors" and rng.random() < 0.6:
        content = _damaged_header(content, rng)
    else:
        content = damaged(content, rng)
    path.write_bytes(content)
    again = ["tune", "--runs", "1"] if kind == "tuned" else ["finetune"]
    words = rng.choice(
        (
            ["report", "out"],
            ["reference", "add", "out"],
            [again[0], str(base / "images"), *SHORT, *again[1:], "--output", "out"],
        )
    )
    found = command(words)
    return found._replace(text=f"{found.text}  # with a damaged {path}")


FAMILIES: dict[str, tuple[Callable[[Random, Path], Case], int]] = {
    "flags": (flags, 8),
    "images": (images, 6),
    "tables": (tables, 4),
    "weights": (weights, 4),
    "sidecars": (sidecars, 4),
    "run_folders": (run_folders, 4),
}
"""Each with its weight in the draw."""


def draw(number: int, seed: int, base: Path) -> tuple[str, Case]:
    """Case `number` of a seed: the name of its family and the case, its files written."""
    rng = Random(f"{seed} {number}")
    names = list(FAMILIES)
    name = rng.choices(names, [FAMILIES[each][1] for each in names])[0]
    return name, FAMILIES[name][0](rng, base)
