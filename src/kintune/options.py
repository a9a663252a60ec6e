"""What a person can set, as records: the command line's flags and the Python API's keywords.

Each record checks its values when it is made, and all its faults are reported together.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import Field, ValidationError, field_validator

from kintune import defaults
from kintune.defaults import EngineName, RunnerName
from kintune.errors import OptionError
from kintune.hyperparameters import (
    AugmentationName,
    RegularizerName,
    ScheduleName,
    UpdateConvention,
)
from kintune.records import Record
from kintune.runs import Precision

Positional = tyro.conf.Positional
Flag = tyro.conf.FlagCreatePairsOff[bool]
Texts = tyro.conf.UseAppendAction[tuple[str, ...]]
Paths = tyro.conf.UseAppendAction[tuple[Path, ...]]


class Options(Record):
    """Base of all options: faults are told in the words of the command line."""

    as_json: Annotated[Flag, tyro.conf.arg(name="json")] = False
    """Print one JSON object on stdout and nothing else."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            lines = [_fault(fault) for fault in error.errors(include_url=False)]
            raise OptionError("\n".join(lines)) from None


def _fault(fault: Any) -> str:
    name = "--" + str(fault["loc"][0]).replace("_", "-") if fault["loc"] else "options"
    return f"{name}: {fault['msg'][:1].lower()}{fault['msg'][1:]}, got {fault['input']!r}."


class ImageOptions(Options):
    """Which images."""

    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")]
    """Folder of class folders, with or without train/val/test; CSV with path,label[,split];
    sklearn:digits; or paper:NAME=FOLDER, a set of the paper such as paper:cub200."""
    skip_unreadable: Flag = False
    """Go on without image files that cannot be read; they are recorded."""
    verify_cache: Flag = False
    """Hash every file instead of trusting its path, size and times; what changed is read again."""


class DataOptions(ImageOptions):
    """Which images, and which of them validate."""

    val_fraction: Annotated[float, Field(gt=0, lt=1)] = defaults.VAL_FRACTION
    """Share of the training images drawn for validation where the data has no validation split."""


class InputOptions(Options):
    """How a network is built and fed."""

    model_kwargs: tuple[str, ...] = ()
    """Arguments of the architecture, each KEY=VALUE, such as pad_type=same."""
    image_size: Annotated[int, Field(ge=8)] | None = None
    """Side of the crop that the network sees, pixels; the network's own by default."""
    mean: tuple[float, float, float] | None = None
    """Mean of the input channels, RGB in 0 to 1."""
    std: tuple[float, float, float] | None = None
    """Standard deviation of the input channels."""


class ModelOptions(InputOptions):
    """Which network."""

    model: str
    """A timm name (resnet50), torchvision:NAME, or pocket, the embedded network."""
    weights: Path | None = None
    """Local weights, .safetensors or a plain PyTorch checkpoint; a .json beside it is read."""


class SourceOptions(Options):
    """What stands for the source domain."""

    source: Path | None = None
    """The source domain's images (a folder) or saved prototypes (a file); else the network itself
    tells."""
    min_images: Annotated[int, Field(ge=1)] = 1
    """Leave out source classes with fewer images; the code that the paper builds on asks 200."""


class TrainingOptions(Options):
    """How to train, apart from the rate."""

    batch_size: Annotated[int, Field(ge=2)] | None = None
    """Images a step; by default at most 256 with at least 40 steps an epoch."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the training images; by default 2000 steps in all."""
    iterations: Annotated[int, Field(ge=1)] | None = None
    """Steps in all, instead of --epochs."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = defaults.MOMENTUM
    """Momentum m; the learning rate follows it, so that the effective rate stays."""
    weight_decay: Annotated[float, Field(ge=0)] = defaults.WEIGHT_DECAY
    """Weight decay λ."""
    regularizer: RegularizerName = "l2"
    """What weight decay pulls towards: zero (l2) or the pretrained weights (l2-sp)."""
    new_part_decay: Annotated[float, Field(ge=0)] | None = None
    """Decay of the new head; by default --weight-decay with l2 and 0.01 with l2-sp."""
    exempt_bias_and_norm: Flag = False
    """No decay of biases and of the parameters of normalisation."""
    schedule: ScheduleName = "step"
    """Shape of the learning rate: step divides by 10 at each of --decay-milestones."""
    decay_milestones: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Epochs (iterations with --iterations), or shares of training below 1; by default 1/2 and
    5/6."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0
    """Epochs over which the rate grows linearly at the start."""
    head_lr_factor: Annotated[float, Field(gt=0)] = 1
    """The new head learns at this multiple of the rate."""
    augmentation: AugmentationName | None = None
    """How training images are varied; by default random_resized_crop from 1000 steps on, else
    flip."""
    bn_momentum: Annotated[float, Field(ge=0, lt=1)] | Literal["rule"] | None = None
    """Share of the batch statistics kept in each step, as in the paper (1 minus torch's and timm's
    number); rule is max(1 - 10 / steps an epoch, 0.9). By default the network's own."""
    freeze_bn_stats: Flag = False
    """Normalise by the source's running statistics and leave them alone."""
    convention: UpdateConvention = "paper"
    """Where rate and decay stand in the update: equations (1) and (2), or as in torch and timm."""
    micro_batch_size: Annotated[int, Field(ge=2)] | None = None
    """Most images that go through the network at once: the same batch in parts, for little
    memory."""
    precision: Precision = "float32"
    """bfloat16 runs forward and backward passes under autocast."""


class OutputOptions(Options):
    """Where to write."""

    output: Path | None = None
    """Folder for everything that is written; runs/DATA-MODEL by default."""


class ComputeOptions(Options):
    """With what to run."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = defaults.SEED
    """Seed of splits, new head, order and augmentation."""
    device: str = "auto"
    """cpu, cuda, cuda:1 ...; auto takes a GPU where there is one."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads; all cores by default. Another number gives other last bits."""


class TaskOptions(ComputeOptions, ModelOptions, DataOptions):
    """What every command that loads images and a network knows."""


class SimilarityOptions(ComputeOptions, InputOptions, ImageOptions):
    """How near the images are to what a network was trained on, or to which of several.

    --model, --weights and --source may each be given once for all candidates, or once for each.
    Images without class folders, of the target or of a source, are grouped by k-means.

    Example: kintune similarity photos/ --model resnet50

    Example: kintune similarity photos/ --model mobilenetv2_100 --weights a.safetensors
    --weights b.safetensors
    """

    model: Texts = ()
    """A timm name (resnet50), torchvision:NAME, pocket, or a weights file that says its
    architecture. Each measures with its own features; again for the next candidate."""
    weights: Paths = ()
    """Local weights, .safetensors or a plain PyTorch checkpoint; again for the next candidate."""
    source: Paths = ()
    """The source domain's images (a folder) or saved prototypes (a file); else the network itself
    tells. Again for the next candidate."""
    extractor: str | None = None
    """One network that measures every --source, in place of --model."""
    min_images: Annotated[int, Field(ge=1)] = 1
    """Leave out source classes with fewer images; the code that the paper builds on asks 200."""
    clusters: Annotated[int, Field(ge=1)] | None = None
    """k-means clusters for images without class folders; by default one for twenty images, at most
    100."""
    gamma: Annotated[float, Field(gt=0)] = defaults.GAMMA
    """γ of the paper's similarity exp(-γ d)."""
    by: Literal["relative_distance", "distance"] = "relative_distance"
    """What orders several sources; distance only where one network measured them all."""

    @field_validator("model", "weights", "source", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return (value,) if isinstance(value, (str, Path)) else value


class PrototypesOptions(ComputeOptions, ModelOptions, ImageOptions):
    """Write what stands for a domain, the class means of its images, to a file for --source.

    Example: kintune prototypes photos/ --model resnet50 --output photos.safetensors
    """

    output: Path
    """File to write, .safetensors."""
    min_images: Annotated[int, Field(ge=1)] = 1
    """Leave out classes with fewer images."""
    clusters: Annotated[int, Field(ge=1)] | None = None
    """k-means clusters for images without class folders."""

    @field_validator("output")
    @classmethod
    def _is_safetensors(cls, value: Path) -> Path:
        if value.suffix != ".safetensors":
            raise ValueError("the file's name must end in .safetensors")
        return value


class RecommendOptions(TrainingOptions, SourceOptions, TaskOptions):
    """A range of effective learning rates before any training, with reasons and doubts.

    Example: kintune recommend photos/ --model resnet50 --epochs 20
    """


class FinetuneOptions(OutputOptions, TrainingOptions, TaskOptions):
    """One fine-tuning run. The same command again resumes it or returns its result.

    Example: kintune finetune photos/ --model resnet50 --lr 0.01 --epochs 20
    """

    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")] = ""
    """Folder of class folders, with or without train/val/test; CSV with path,label[,split];
    sklearn:digits; or paper:NAME=FOLDER. With --from by default where the run found its images."""
    model: str = ""
    """A timm name (resnet50), torchvision:NAME, or pocket, the embedded network."""
    from_config: Annotated[Path | None, tyro.conf.arg(name="from", metavar="CONFIG.JSON")] = None
    """Repeat the run with this configuration, the config.json of a run's folder. It says all but
    where images and weights are, and those may be given."""
    lr: Annotated[float, Field(gt=0)] = defaults.USUAL_LR
    """Learning rate η."""
    from_scratch: Flag = False
    """Start from random weights instead of the pretrained ones."""
    head_only: Flag = False
    """Freeze the network and train the new head alone."""
    dry_run: Flag = False
    """Show plan, time and disk, and start nothing."""


class TuneOptions(OutputOptions, TrainingOptions, SourceOptions, TaskOptions):
    """The main job: measure, recommend, search in a handful of runs, keep the best, report.

    Example: kintune tune photos/ --model resnet50 --runs 3
    """

    runs: Annotated[int, Field(ge=1)] = defaults.RUNS
    """Configurations to train; 1 trains the recommendation alone."""
    compare_default: Flag = False
    """Also train the usual default, lr 0.01 with momentum 0.9."""
    dry_run: Flag = False
    """Show plan, time and disk, and start nothing."""


class SearchOptions(TuneOptions):
    """The main job with every say over the search: engine, space, budget, and where runs happen.

    Example: kintune search photos/ --model resnet50 --runs 8 --engine bracket --workers 2
    """

    runs: Annotated[int, Field(ge=1)] = defaults.SEARCH_RUNS
    """Settings to train: exactly so many that differ."""
    runs_at_most: Annotated[int, Field(ge=1)] | None = None
    """Instead of --runs: end before where the engine expects nothing of another run."""
    engine: EngineName = "bracket"
    """What proposes the next setting."""
    no_recommendation: Flag = False
    """Measure and recommend nothing; search the rates of the paper's grid."""
    repeats: Annotated[int, Field(ge=1)] = 1
    """Runs of each setting, with seeds that follow --seed; their mean is compared."""
    momenta: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = ()
    """Momenta to choose from, at the same effective rate and decay per step."""
    weight_decays: tuple[Annotated[float, Field(ge=0)], ...] = ()
    """Weight decays to choose from."""
    batch_sizes: tuple[Annotated[int, Field(ge=2)], ...] = ()
    """Batch sizes to choose from."""
    regularizers: tuple[RegularizerName, ...] = ()
    """Regularisers to choose from."""
    augmentations: tuple[AugmentationName, ...] = ()
    """Augmentations to choose from."""
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    """Begin no run that would probably end later than this after the start of the command."""
    max_epochs: Annotated[int, Field(ge=1)] | None = None
    """Epochs of all runs together, those of earlier starts too."""
    no_early_stopping: Flag = False
    """Train every run to its end, also those that are clearly lost."""
    retrain: Flag = False
    """Train the winner once more on training and validation images together."""
    from_scratch: Flag = False
    """Start from random weights instead of the pretrained ones."""
    head_only: Flag = False
    """Freeze the network and train the new head alone."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Runs at the same time; the cores are divided among them, and GPUs dealt out."""
    runner: RunnerName = "local"
    """Where runs happen: this machine, or a Ray cluster."""
    gpu_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of a GPU for each run, with --runner ray."""
    ray_address: str | None = None
    """Of the cluster, such as auto or ray://HOST:10001; by default one is started here."""


class CheckOptions(Options):
    """Look for files that will not load, duplicates, leaks between train and test, tiny classes.

    Example: kintune check photos/
    """

    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")]
    """Folder of class folders, or CSV with path,label[,split]."""


class PredictOptions(Options):
    """Classify images with a finished model.

    Example: kintune predict runs/photos-resnet50/best new/*.jpg
    """

    model: Positional[Path]
    """Model folder, as `tune` and `finetune` write it."""
    images: Positional[tuple[Path, ...]]
    """Image files."""
    top: Annotated[int, Field(ge=1)] = 1
    """How many classes to print for each image."""
    device: str = "auto"
    """cpu, cuda, cuda:1 ...; auto takes a GPU where there is one."""


class ReportOptions(Options):
    """Write the report page of an output folder again.

    Example: kintune report runs/photos-resnet50
    """

    folder: Positional[Path]
    """Output folder of `tune` or `finetune`."""


class CacheOptions(Options):
    """Where decoded images and features are kept, how much there is; --clear removes it.

    Example: kintune cache --clear
    """

    clear: Flag = False
    """Remove all entries; they are made again when they are needed."""


class ReferenceOptions(ComputeOptions):
    """What recommendations rest on: list it, add the best rate of your own search, or build
    references for a network by searching on several data sets.

    Example: kintune reference add runs/photos-resnet50

    Example: kintune reference build photos/ drawings/ --model resnet50 --dry-run
    """

    action: Positional[Literal["list", "add", "build"]]
    """list shows all references; add takes the FOLDER of a finished kintune tune; build takes the
    FOLDERs of data sets and a --model."""
    folders: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="[FOLDER ...]")] = ()
    """For add, an output folder of `tune`; for build, data sets unlike each other."""
    model: str | None = None
    """For build, the network: as in kintune tune."""
    weights: Path | None = None
    """For build, local weights of the network."""
    image_size: Annotated[int, Field(ge=8)] | None = None
    """For build, the side of the crop that the network sees, pixels."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """For build, passes over the training images; by default 2000 steps in all."""
    runs_at_most: Annotated[int, Field(ge=3)] = 8
    """For build, runs a data set; fewer where the best rate is found before."""
    workers: Annotated[int, Field(ge=1)] = 1
    """For build, runs at a time."""
    output: Path | None = None
    """For build, where the searches are kept; runs/references/MODEL by default."""
    dry_run: Flag = False
    """For build, say what it would cost, and stop."""


class ReproduceOptions(Options):
    """The tables and figures of the paper, computed again: one by name, or all.

    Example: kintune reproduce figure8 --sets sklearn:digits
    """

    name: Annotated[Positional[str], tyro.conf.arg(metavar="NAME")] = ""
    """table1 ... table8, figure1 ... figure13, or all."""
    list: Flag = False
    """List the experiments of both protocols, what they cost and what is done."""
    plan: Flag = False
    """Say which runs are missing and how long they take; run nothing."""
    protocol: Literal["small", "paper"] = "small"
    """small: hours on two processor cores. paper: the paper's data, networks and 300 epochs."""
    data: Path | None = None
    """Folder of image sets."""
    models: Path | None = None
    """Folder of networks."""
    sets: Texts = ()
    """Instead of the protocol's sets: a folder with train and test, the name of a set in --data, or
    sklearn:digits; again for the next, the nearest to the network's source first."""
    runs: Path = Path("runs/reproduce")
    """Folder where runs are computed."""
    results: Path | None = None
    """Folder for records, tables and figures; RUNS/results/PROTOCOL by default."""
    known: Paths = ()
    """Another folder of records, or the output of a search, whose runs count where the
    configuration is the same; again for the next."""
    hours: Annotated[float, Field(ge=0)] | None = None
    """Begin no run after so many hours; by default there is no end, and 0 draws what is there."""
    device: str = "cpu"
    """cpu, cuda, cuda:1 ...; auto takes a GPU where there is one."""


class DemoOptions(Options):
    """The main job on what is embedded: the pocket network and scikit-learn's digits.

    Example: kintune demo
    """

    output: Path = Path("runs/demo")
    """Folder for everything that is written."""
