"""Options that commands share: images, network, training, where to write, with what to run."""

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import Field, ValidationError, field_validator

from kintune.base.errors import OptionError
from kintune.base.records import Record
from kintune.options.bounds import (
    BatchSize,
    Count,
    Decay,
    Epochs,
    Factor,
    Milestone,
    Momentum,
    Threads,
    Warmup,
)
from kintune.runs import Precision, defaults
from kintune.runs.defaults import PresetName
from kintune.runs.hyperparameters import (
    AugmentationName,
    BatchStatistics,
    HeadStart,
    RegularizerName,
    ScheduleName,
    UpdateConvention,
)
from kintune.runs.inputs import ImageSize, Mean, Std

Positional = tyro.conf.Positional
Flag = tyro.conf.FlagCreatePairsOff[bool]
Texts = tyro.conf.UseAppendAction[tuple[str, ...]]
Paths = tyro.conf.UseAppendAction[tuple[Path, ...]]


COMMON = ("data", "model", "weights", "output", "runs", "preset", "epochs", "image_size")
"""Options that the help shows first."""


class Options(Record):
    """Base of all options: faults are told in the words of the command line."""

    as_json: Annotated[Flag, tyro.conf.arg(name="json")] = False
    """Print one JSON object on stdout and nothing else."""
    verbose: Flag = False
    """Also say on stderr where everything was read from, and what was decided about it."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Sort the fields as the help shows them: common ones first, those of all commands last."""
        names = (*COMMON, *(name for name in cls.model_fields if name not in Options.model_fields))
        fields = cls.__pydantic_fields__
        order = [name for name in dict.fromkeys((*names, *fields)) if name in fields]
        cls.__pydantic_fields__ = {name: fields[name] for name in order}

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            lines = [_fault(fault) for fault in error.errors(include_url=False)]
            raise OptionError("\n".join(lines)) from None


def _fault(fault: Any) -> str:
    name = "--" + str(fault["loc"][0]).replace("_", "-") if fault["loc"] else "options"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]}, got {fault['input']!r}."


class DecodeOptions(Options):
    """How images are decoded."""

    decode_memory: Annotated[float, Field(gt=0, le=10**6)] = defaults.DECODE_GIGABYTES
    """Memory for decoding images over all threads, GB. An image that needs more, 120 million pixels
    of a PNG or some billion of a JPEG, counts as unreadable."""


class ImageOptions(Options):
    """Which images."""

    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")]
    """Folder of class folders, with or without train/val/test; CSV with path,label[,split];
    sklearn:digits; or paper:NAME=FOLDER, a set of the paper such as paper:cub200."""
    skip_unreadable: Flag = False
    """Continue without image files that cannot be read; they are recorded."""
    verify_cache: Flag = False
    """Hash every file, and the decoded images in the cache, instead of trusting sizes and times;
    what changed is made again."""


class DataOptions(ImageOptions):
    """Which images, and which of them validate."""

    val_fraction: Annotated[float, Field(gt=0, lt=1)] = defaults.VAL_FRACTION
    """Share of the training images drawn for validation where the data has no validation split."""


class InputOptions(Options):
    """How a network is built and fed."""

    model_kwargs: tuple[str, ...] = ()
    """Arguments of the architecture, each KEY=VALUE, such as pad_type=same."""
    image_size: ImageSize | None = None
    """Side of the crop that the network sees, pixels; the network's own by default."""
    mean: Mean | None = None
    """Mean of the input channels, RGB in 0 to 1."""
    std: Std | None = None
    """Standard deviation of the input channels."""


class ModelOptions(InputOptions):
    """Which network."""

    model: str
    """A timm name (resnet50), torchvision:NAME, or pocket, the embedded network."""
    weights: Path | None = None
    """Local weights, .safetensors or a plain PyTorch checkpoint; a .json beside it is read."""


class SourceOptions(Options):
    """Images or prototypes of the source domain."""

    source: Path | None = None
    """The source domain's images (a folder) or saved prototypes (a file); else the network itself
    tells."""
    min_images: Count = 1
    """Leave out source classes with fewer images; the code that the paper builds on asks 200."""


class TrainingOptions(Options):
    """How to train, apart from the rate."""

    preset: PresetName = defaults.PRESET
    """How much to spend: quick (one run of 500 steps), standard (3 of 2000), thorough (8 of 4000);
    --runs, --epochs and --iterations go first."""
    batch_size: BatchSize | None = None
    """Images a step; by default at most 256 with at least 40 steps an epoch."""
    epochs: Epochs | None = None
    """Passes over the training images; by default the steps of --preset."""
    iterations: Count | None = None
    """Steps in all, instead of --epochs."""
    momentum: Momentum = defaults.MOMENTUM
    """Momentum m; the learning rate follows it, so that the effective rate stays."""
    weight_decay: Decay = defaults.WEIGHT_DECAY
    """Weight decay λ."""
    regularizer: RegularizerName = "l2"
    """Target of the weight decay: zero (l2) or the pretrained weights (l2-sp)."""
    new_part_decay: Decay | None = None
    """Decay of the new head; by default --weight-decay with l2 and 0.01 with l2-sp."""
    exempt_bias_and_norm: Flag = False
    """No decay of biases and of the parameters of normalization."""
    schedule: ScheduleName | None = None
    """Shape of the learning rate: step divides by 10 at each of --decay-milestones; by default
    cosine, and step where milestones are given."""
    decay_milestones: tuple[Milestone, ...] = ()
    """Epochs (iterations with --iterations), or shares of training below 1; by default 1/2 and
    5/6."""
    warmup_epochs: Warmup | None = None
    """Epochs over which the rate grows linearly at the start; by default a sixth of the training,
    and none with --from-scratch."""
    head_start: HeadStart | None = None
    """The new head starts as a classifier of the frozen features (probe) or from random weights; by
    default probe, and random with --from-scratch."""
    head_lr_factor: Factor = 1
    """The new head learns at this multiple of the rate."""
    augmentation: AugmentationName | None = None
    """How training images are varied; by default flip, and a search also tries random_resized_crop
    from 1500 steps on."""
    bn_momentum: Annotated[float, Field(ge=0, lt=1)] | Literal["rule"] | None = None
    """Share of the batch statistics kept in each step, as in the paper (1 minus torch's and timm's
    number); rule is max(1 - 10 / steps an epoch, 0.9). By default the network's own."""
    batch_statistics: BatchStatistics | None = None
    """Batch normalization uses the source's running statistics (frozen) or those of each batch; by
    default what is recommended, frozen where nothing is."""
    freeze_bn_stats: Flag = False
    """The same as --batch-statistics frozen."""
    clip_grad_norm: Annotated[float, Field(ge=0, le=1e6)] = defaults.CLIP_GRAD_NORM
    """Largest norm of the gradient; longer ones are shortened to it. 0 clips nothing."""
    convention: UpdateConvention = "paper"
    """Where rate and decay stand in the update: equations (1) and (2), or as in torch and timm."""
    micro_batch_size: BatchSize | None = None
    """Most images that go through the network at once: the same batch in parts, for little
    memory."""
    precision: Precision = "float32"
    """bfloat16 runs forward and backward passes under autocast."""


class OutputOptions(Options):
    """Where to write."""

    output: Path | None = None
    """Folder for everything that is written; runs/DATA-MODEL by default."""

    @field_validator("output", mode="before")
    @classmethod
    def _is_named(cls, value: Any) -> Any:
        if value == "":  # which pathlib would take for the working folder
            raise ValueError("must not be empty")
        return value


class ComputeOptions(DecodeOptions):
    """With what to run."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = defaults.SEED
    """Seed of splits, new head, order and augmentation."""
    device: str = "auto"
    """cpu, cuda, cuda:1 ...; auto takes a GPU where there is one."""
    threads: Threads | None = None
    """CPU threads, for decoding too; all cores by default. Another number may give other last
    bits."""


class TaskOptions(ComputeOptions, ModelOptions, DataOptions):
    """Options of every command that loads images and a network."""
