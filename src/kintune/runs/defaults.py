"""Every default that is not a fact of the data or the network, in one place."""

import math
from typing import Literal, NamedTuple

RegularizerName = Literal["l2", "l2-sp", "none"]
ScheduleName = Literal["step", "cosine", "constant"]
AugmentationName = Literal["random_resized_crop", "random_crop", "flip", "none"]
HeadStart = Literal["probe", "random"]
EngineName = Literal["recipes", "bracket", "tpe", "gp", "random", "grid"]
"""Engine that proposes the next setting: `kintune.search.ENGINES`."""
RunnerName = Literal["local", "ray"]
PresetName = Literal["quick", "standard", "thorough"]

MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
USUAL_LR = 0.01
"""Learning rate that most fine-tuning uses, with `MOMENTUM` and `WEIGHT_DECAY` (section 3.1)."""

GAMMA = 0.01
"""γ of equation (4), Appendix B."""

VAL_FRACTION = 0.2
SEED = 0

MAX_BATCH_SIZE = 256
MIN_BATCH_SIZE = 32
"""Batch size of the references. With 16 MobileNetV2 at 64 pixels, whose batch statistics are of few
values, errs by 6 to 9 points more on three of four sets (`results/LOG.md`)."""
TINY_BATCH_SIZE, FEW_STEPS_PER_EPOCH = 16, 10
"""Where 32 images a step leave fewer steps than these, an epoch is too few of them."""
MIN_STEPS_PER_EPOCH = 40
MAX_EPOCHS = 100


class Budget(NamedTuple):
    """Budget of a preset."""

    runs: int
    steps: int
    """Steps of one run, where neither epochs nor iterations are given."""


PRESETS: dict[PresetName, Budget] = {
    "quick": Budget(runs=1, steps=500),
    "standard": Budget(runs=3, steps=2000),
    "thorough": Budget(runs=8, steps=4000),
}
PRESET: PresetName = "standard"
SHORT_STEPS = 1500
"""Below it the paper's augmentation leaves too few looks at each image: see `augmentations_for`."""
DECODE_GIGABYTES = 1.0
"""Memory for decoding images over all threads, 10^9 bytes: at least 200 million pixels of a JPEG,
120 million of a PNG."""
REGULARIZER: RegularizerName = "l2"
SCHEDULE: ScheduleName = "cosine"
"""After a warm-up its errors were lower by 1.3 points on average than those of the paper's `step`,
in fourteen pairs of runs (`studies/recipes/run.py --show`)."""
AUGMENTATION: AugmentationName = "flip"
"""Central crops, mirrored at random: see `augmentations_for`."""
HEAD_START: HeadStart = "probe"
"""Head start of pretrained weights."""
FREEZE_BN_STATS = True
"""Where no recommendation chooses the batch statistics, those of the source."""
CLIP_GRAD_NORM = 1.0
"""With frozen batch statistics nothing bounds the activations: EfficientNet-Lite0 at an effective
rate of 0.1 ended at chance on two of three sets (96 pixels, 12 epochs), with this bound at the best
errors measured (`studies/recipes/run.py`)."""
WARMUP_SHARE = 1 / 6
"""Share of the training with a growing rate. At the full rate from the first step, MobileNetV2 with
frozen batch statistics and clipped gradients ended at 66 % validation error at an effective rate of
0.3 on spectrograms (96 pixels, 12 epochs), with this warm-up at 16 %."""
MAX_RETRAIN_IMAGES = 2000
"""Up to so many images, validation images that were drawn from them are worth training on: the
winner is trained once more on all."""
LONG_SECONDS = 3600
"""A plan longer than this on a CPU is warned of."""


def batch_size_for(images: int) -> int:
    """Largest power of two up to 256 that leaves 40 steps an epoch, at least 32; 16 below 320
    images.

    >>> [batch_size_for(images) for images in (100, 1000, 1600, 50_000)]
    [16, 32, 32, 256]
    """
    size = MAX_BATCH_SIZE
    while size > MIN_BATCH_SIZE and images / size < MIN_STEPS_PER_EPOCH:
        size //= 2
    return size if images / size >= FEW_STEPS_PER_EPOCH else TINY_BATCH_SIZE


def epochs_for(images: int, batch_size: int, preset: PresetName = PRESET) -> int:
    """Epochs that fill a preset's steps, at least 1 and at most 100.

    >>> epochs_for(1600, 32), epochs_for(1600, 32, "quick")
    (40, 10)
    """
    steps_per_epoch = math.ceil(images / batch_size)
    return min(MAX_EPOCHS, max(1, round(PRESETS[preset].steps / steps_per_epoch)))


def augmentations_for(steps: int) -> tuple[AugmentationName, ...]:
    """Augmentations that are worth a run, the one for a single run first.

    Mirrored central crops, and where the budget is long enough to learn from it the paper's random
    resized crop: which is better depends on the images
    (`docs/decisions/0010-augmentation.md`).

    >>> augmentations_for(400), augmentations_for(2000)
    (('flip',), ('flip', 'random_resized_crop'))
    """
    longer: tuple[AugmentationName, ...] = ("random_resized_crop",)
    return AUGMENTATION, *(longer if steps >= SHORT_STEPS else ())
