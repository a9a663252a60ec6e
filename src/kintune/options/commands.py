"""One record of options for each command."""

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import Field, field_validator

from kintune.options.bounds import (
    BatchSize,
    Clusters,
    Count,
    Decay,
    Epochs,
    Gamma,
    Hours,
    LearningRate,
    Minutes,
    Momentum,
    Repeats,
    Runs,
    Threads,
    Workers,
)
from kintune.options.parts import (
    ComputeOptions,
    DecodeOptions,
    Flag,
    ImageOptions,
    InputOptions,
    ModelOptions,
    Options,
    OutputOptions,
    Paths,
    Positional,
    SourceOptions,
    TaskOptions,
    Texts,
    TrainingOptions,
)
from kintune.runs import defaults
from kintune.runs.defaults import EngineName, RunnerName
from kintune.runs.hyperparameters import AugmentationName, RegularizerName
from kintune.runs.inputs import ImageSize


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
    min_images: Count = 1
    """Leave out source classes with fewer images; the code that the paper builds on asks 200."""
    clusters: Clusters | None = None
    """k-means clusters for images without class folders; by default one for twenty images, at most
    100."""
    gamma: Gamma = defaults.GAMMA
    """γ of the paper's similarity exp(-γ d)."""
    by: Literal["relative_distance", "distance"] = "relative_distance"
    """Order of several sources; distance only where one network measured them all."""

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
    min_images: Count = 1
    """Leave out classes with fewer images."""
    clusters: Clusters | None = None
    """k-means clusters for images without class folders."""

    @field_validator("output")
    @classmethod
    def _is_safetensors(cls, value: Path) -> Path:
        if value.suffix != ".safetensors":
            raise ValueError("the file's name must end in .safetensors")
        return value


class RecommendOptions(TrainingOptions, SourceOptions, TaskOptions):
    """A recipe before any training: what to train, at which rate, and what error to expect.

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
    lr: LearningRate | None = None
    """Learning rate η; by default what kintune recommend recommends, 0.01 with --from-scratch."""
    from_scratch: Flag = False
    """Start from random weights instead of the pretrained ones."""
    head_only: Flag = False
    """Freeze the network and train the new head alone."""
    dry_run: Flag = False
    """Show plan, time and disk, estimated from a sample of the images, and start nothing."""


class TuneOptions(OutputOptions, TrainingOptions, SourceOptions, TaskOptions):
    """The main job: measure, recommend, search in a handful of runs, keep the best, report.

    Example: kintune tune photos/ --model resnet50 --runs 3
    """

    runs: Runs | None = None
    """Configurations to train, by default those of --preset; 1 trains the recommendation alone."""
    max_minutes: Minutes | None = None
    """Begin no run that would probably end later than this after the start of the command."""
    retrain: Flag = False
    """Train the winner once more on training and validation images together; the default for up to
    2000 images where validation images were drawn from them."""
    no_retrain: Flag = False
    """Deliver the run that was validated."""
    compare_default: Flag = False
    """Also train the usual default: lr 0.01, momentum 0.9, decay 0.0001, a random head, the
    statistics of each batch."""
    dry_run: Flag = False
    """Show plan, time and disk, estimated from a sample of the images, and start nothing."""


class SearchOptions(TuneOptions):
    """The main job with every say over the search: engine, space, budget, and where runs happen.

    Example: kintune search photos/ --model resnet50 --runs 8 --engine bracket --workers 2
    """

    runs: Runs | None = None
    """Settings to train: exactly so many that differ; by default those of --preset."""
    runs_at_most: Runs | None = None
    """Instead of --runs: end before where the engine expects nothing of another run."""
    engine: EngineName = "recipes"
    """Engine that proposes the next setting."""
    no_recommendation: Flag = False
    """Measure and recommend nothing; search the rates of the paper's grid."""
    repeats: Repeats = 1
    """Runs of each setting, with seeds that follow --seed; their mean is compared."""
    momenta: tuple[Momentum, ...] = ()
    """Momenta to choose from, at the same effective rate and decay per step."""
    weight_decays: tuple[Decay, ...] = ()
    """Weight decays to choose from."""
    batch_sizes: tuple[BatchSize, ...] = ()
    """Batch sizes to choose from."""
    regularizers: tuple[RegularizerName, ...] = ()
    """Regularizers to choose from."""
    augmentations: tuple[AugmentationName, ...] = ()
    """Augmentations to choose from; see --augmentation."""
    max_epochs: Count | None = None
    """Epochs of all runs together, those of earlier starts too."""
    no_early_stopping: Flag = False
    """Train every run to its end, also those that are clearly lost."""
    from_scratch: Flag = False
    """Start from random weights instead of the pretrained ones."""
    head_only: Flag = False
    """Freeze the network and train the new head alone."""
    workers: Workers = 1
    """Runs at the same time; the cores are divided among them, and GPUs dealt out."""
    runner: RunnerName = "local"
    """Where runs happen: this machine, or a Ray cluster."""
    gpu_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of a GPU for each run, with --runner ray."""
    ray_address: str | None = None
    """Address of a running Ray cluster: auto, HOST:PORT or ray://HOST:PORT. By default the one that
    the environment variable RAY_ADDRESS names; where it is not set, a cluster is started on this
    machine, reachable from it alone."""


class CheckOptions(DecodeOptions):
    """Look for files that will not load, duplicates, leaks between train and test, tiny classes.

    Example: kintune check photos/
    """

    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")]
    """Folder of class folders, or CSV with path,label[,split]."""
    threads: Threads | None = None
    """CPU threads; all cores by default."""


class PredictOptions(DecodeOptions):
    """Classify images with a finished model.

    Example: kintune predict runs/photos-resnet50/best new/*.jpg
    """

    model: Positional[Path]
    """Model folder, as `tune` and `finetune` write it, or the output folder around it."""
    images: Positional[tuple[Path, ...]]
    """Image files, folders of images, or quoted patterns. Where some cannot be read, the others are
    classified and the exit code is 1."""
    top: Count = 1
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
    """References of recommendations: list them, add the best rate of your own search, or build
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
    image_size: ImageSize | None = None
    """For build, the side of the crop that the network sees, pixels."""
    epochs: Epochs | None = None
    """For build, passes over the training images; by default 2000 steps in all."""
    runs_at_most: Annotated[int, Field(ge=3, le=10_000)] = 8
    """For build, runs a data set; fewer where another is not expected to help."""
    workers: Workers = 1
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
    hours: Hours | None = None
    """Begin no run after so many hours; by default there is no end, and 0 draws what is there."""
    device: str = "cpu"
    """cpu, cuda, cuda:1 ...; auto takes a GPU where there is one."""


class DemoOptions(Options):
    """The main job on what is embedded: the pocket network and scikit-learn's digits.

    Example: kintune demo
    """

    output: Path = Path("runs/demo")
    """Folder for everything that is written."""
