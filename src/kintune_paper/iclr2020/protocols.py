"""The two scales at which every experiment is declared.

`paper` is section 3.1 and the appendices: the data sets of Table 1, 300 epochs, batches of 256 on
eight devices. `small` asks the same questions of `pocket` and MobileNetV2 on two processor cores:
480 training images a set, 12 epochs of 15 batches of 32 images for `pocket` and 8 for MobileNetV2,
mirrored central crops.

What 180 steps change, and so what differs here beyond sizes:

- **Rates** up to 1 without momentum: with fewer steps the best ones are larger.
- **Weight decay** 0.01 and 0.1 beside 0 and 0.0001: the paper's 0.0005 over 180 steps takes away
  less than 0.1 % of a weight, which no experiment could show. 0.1 with momentum 0.9 and 0.01
  without are equal decays per step at equal effective rates.
- **From random weights** 24 epochs, twice those of fine-tuning, as in the paper.
- **BN momentum** acts over as many steps as in the paper over the last ones.
"""

from collections.abc import Mapping
from dataclasses import replace

from kintune.runs.defaults import MOMENTUM, USUAL_LR, WEIGHT_DECAY
from kintune.runs.hyperparameters import SCRATCH_MILESTONES, SOURCE_MILESTONES, Hyperparameters
from kintune_paper.context import NetworkFile
from kintune_paper.engine.declaration import (
    DeclaredRun,
    Protocol,
    SourceNetwork,
    Variation,
)
from kintune_paper.image_sets import DIGITS, HELD_OUT

MOMENTA = (0.9, 0.0)
ALL_MOMENTA = (0.0, 0.8, 0.9, 0.95, 0.99)
"""Section 3.1 prints 0.9 twice among six; five differ."""
SEEDS = (0, 1, 2)

PAIR = (HELD_OUT, "sign-digits")
CORE = (HELD_OUT, "caltech101", "sign-digits", "fsdd-spectrograms")
SMALL_SETS = (
    HELD_OUT,
    "caltech101",
    "clothing10",
    "birds",
    "sign-digits",
    "fsdd-spectrograms",
    DIGITS,
)
"""By `relative_distance` from `pocket`, 0.33 to 0.80."""
SMALL_TITLES = {
    HELD_OUT: "CIFAR held-out",
    "caltech101": "Caltech-101",
    "clothing10": "Clothing",
    "birds": "Birds",
    "insects": "Insects",
    "sign-digits": "Sign digits",
    "fsdd-spectrograms": "Spectrograms",
    DIGITS: "Digits",
}
BIRDS_AND_INSECTS = ("birds", "insects")
MOBILE_SETS = (*BIRDS_AND_INSECTS, "caltech101", "sign-digits")
MOBILE_LRS = (0.01, 0.00316, 0.001, 0.000316)
"""With momentum 0.9, half decades around the best rates that were known beforehand."""
STRONG_DECAY = {0.9: 0.1, 0.0: 0.01}
"""By momentum: equal decays per step at equal effective rates."""

_PAPER_BASE = Hyperparameters.as_in_paper(
    lr=USUAL_LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, batch_size=256, epochs=300
)
_SMALL_BASE = _PAPER_BASE.replace(batch_size=32, epochs=12, augmentation="flip")


def _mobilenet(name: str, title: str, image_size: int = 64) -> SourceNetwork:
    weights = f"mobilenetv2_100.{name}.safetensors"
    return SourceNetwork(
        file=NetworkFile("mobilenetv2_100", weights, image_size),
        title=title,
        base=_SMALL_BASE.replace(epochs=8),
        images_per_second=60,
    )


def small_stage(run: DeclaredRun | Variation) -> int:
    """The order of `small`: one near and one far set; the other core sets; seeds for the claims;
    wider grids; further sets."""
    one = run if isinstance(run, DeclaredRun) else run.of[0]
    used = one.settings
    if run.seed:
        return 5 if used.freeze_bn_stats or one.target not in (*CORE, *BIRDS_AND_INSECTS) else 3
    if one.network not in ("pocket", "scratch"):
        is_table_3 = one.target in BIRDS_AND_INSECTS and used.lr == USUAL_LR
        return 4 if used.freeze_bn_stats or not is_table_3 else 1
    if one.target not in CORE:
        return 5
    is_wide = used.batch_size < _SMALL_BASE.batch_size
    if used.convention == "torch":
        is_wide = used.lr < 0.005 or used.weight_decay < 0.01
    if one.network == "scratch":
        is_wide = used.weight_decay != WEIGHT_DECAY
    if is_wide:
        return 4
    return 1 if one.target in PAIR else 2


SMALL = Protocol(
    name="small",
    hours_of="core",
    networks={
        "pocket": SourceNetwork(
            file=NetworkFile("pocket"),
            title="CIFAR-100, pocket",
            base=_SMALL_BASE,
            images_per_second=150,
        ),
        "scratch": SourceNetwork(
            file=NetworkFile("pocket"),
            title="scratch, pocket",
            base=_SMALL_BASE.replace(lr=0.1, epochs=24, milestones=SCRATCH_MILESTONES),
            images_per_second=150,
            is_random=True,
        ),
        "in1k": _mobilenet("in1k", "ImageNet, MobileNetV2"),
        # Never trained: ImageNet's class means lie beside it at this size.
        "in1k_96px": _mobilenet("in1k", "ImageNet, MobileNetV2 at 96 px", 96),
        "inat_birds": _mobilenet("inat_birds", "iNaturalist birds, MobileNetV2"),
        "inat_insects": _mobilenet("inat_insects", "iNaturalist insects, MobileNetV2"),
    },
    main="pocket",
    scratch="scratch",
    regularized="pocket",
    sets=SMALL_SETS,
    titles=SMALL_TITLES,
    images={"insects": 244},
    stage=small_stage,
    lrs=(0.1, 0.05, 0.01, 0.005, 0.001),
    lrs_without_momentum=(1.0, 0.5, 0.1, 0.05, 0.01, 0.005),
)


def paper_stage(run: DeclaredRun | Variation) -> int:
    """Sources are made first."""
    return 1 if isinstance(run, DeclaredRun) and run.network == "source-making" else 2


PAPER_SETS = {
    "stanford-dogs": ("Dogs", 12_000),
    "caltech256": ("Caltech", 15_360),
    "mit-indoor67": ("Indoor", 5_360),
    "cub200": ("Birds", 5_994),
    "stanford-cars": ("Cars", 8_144),
    "fgvc-aircraft": ("Aircrafts", 6_667),
    "flowers102": ("Flowers", 2_040),
    "inat2017": ("iNat2017", 665_571),
    "places365": ("Places-365", 1_803_460),
}
"""Title and training images of Table 1, of which a fifth validates here."""
TRAINED_SHARE = 0.8


def _paper_network(model: str, title: str, images_per_second: float) -> SourceNetwork:
    return SourceNetwork(
        file=NetworkFile(model),
        title=title,
        base=_PAPER_BASE,
        images_per_second=images_per_second,
        source_set="imagenet",
    )


_RESNET = _paper_network("resnetv2_101.a1h_in1k", "ImageNet, ResNet-101", 200)
"""GPU-hours are of one V100 in float32: about 200 images of 224 px a second through ResNet-101
(47 GFLOP an image forward and back, at 60 % of 15.7 TFLOP/s), others by their operations."""

PAPER = Protocol(
    name="paper",
    hours_of="GPU",
    networks={
        "resnet101v2": _RESNET,
        "densenet121": _paper_network("densenet121.ra_in1k", "ImageNet, DenseNet-121", 400),
        "mobilenet": _paper_network(
            "mobilenetv1_100.ra4_e3600_r224_in1k", "ImageNet, MobileNet1.0", 1200
        ),
        "resnet101v1": replace(
            _RESNET,
            file=NetworkFile("resnet101.tv_in1k"),
            title="ImageNet, ResNet-101-V1",
            base=_PAPER_BASE.replace(batch_size=64),
        ),
        "resnet101v2.inat2017": replace(
            _RESNET,
            file=NetworkFile("resnetv2_101", "resnet101v2.inat2017.safetensors"),
            title="iNat2017, ResNet-101",
            source_set="inat2017",
            made_by="inat2017",
        ),
        "resnet101v2.places365": replace(
            _RESNET,
            file=NetworkFile("resnetv2_101", "resnet101v2.places365.safetensors"),
            title="Places365, ResNet-101",
            source_set="places365",
            made_by="places365",
        ),
        "scratch": replace(
            _RESNET,
            title="scratch, ResNet-101",
            base=_PAPER_BASE.replace(lr=0.1, epochs=600, milestones=SCRATCH_MILESTONES),
            is_random=True,
        ),
        "source-making": replace(
            _RESNET,
            title="the making of a source",
            base=_PAPER_BASE.replace(epochs=60, milestones=SOURCE_MILESTONES),
        ),
    },
    main="resnet101v2",
    scratch="scratch",
    regularized="resnet101v1",
    maker="source-making",
    sets=tuple(PAPER_SETS)[:7],
    titles={name: title for name, (title, _) in PAPER_SETS.items()},
    images={name: round(TRAINED_SHARE * images) for name, (_, images) in PAPER_SETS.items()},
    devices=8,
    stage=paper_stage,
)

PROTOCOLS = {"small": SMALL, "paper": PAPER}


def with_sets(protocol: Protocol, sets: Mapping[str, str]) -> Protocol:
    """The protocol on other sets, by name with their titles, the nearest to the source first."""
    if not sets:
        return protocol
    titles = {**sets, **{name: protocol.titles[name] for name in sets if name in protocol.titles}}
    return replace(protocol, sets=tuple(sets), titles=titles, own_sets=True)
