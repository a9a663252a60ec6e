"""Networks and image sets of a study, each loaded once, and one run of it from claim to record."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from kintune.backbones import Backbone, BackboneOverrides, load_backbone
from kintune.base.errors import DataError, KintuneError, ModelError
from kintune.base.files import locked
from kintune.data import ImageDataset, load_dataset
from kintune.data.catalog import list_images
from kintune.runs import RunConfig
from kintune.training import replicas
from kintune_paper.image_sets import place_of, target_folder, what_is_missing
from kintune_paper.run_records import RunArchive, RunRecord, keep_only_json, recorded_run


class NetworkFile(NamedTuple):
    """Where a network of a study comes from."""

    model: str
    """As `load_backbone` takes it."""
    weights: str | None = None
    """A file in the folder of networks; None for what ships or is published."""
    image_size: int | None = None
    """Pixels; None leaves the network's own."""


@dataclass
class StudyContext:
    """Networks and image sets of a study, in memory from their first use on."""

    root: Path
    """Where runs are computed: `ID/` of each, `targets/`, `claims/`."""
    data: Path | None = None
    """A folder of image sets."""
    models: Path | None = None
    """A folder of networks."""
    device: str = "cpu"
    earlier: tuple[Path, ...] = ()
    """Outputs of searches and tunings, whose finished runs are taken over."""
    is_official: bool = False
    """Whether sets are whole, as their authors publish them."""
    places: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Folders of sets that are not in `data`, by name."""
    backbones: dict[NetworkFile, Backbone] = field(default_factory=dict[NetworkFile, Backbone])
    datasets: dict[tuple[str, int], ImageDataset] = field(
        default_factory=dict[tuple[str, int], ImageDataset]
    )
    given_up: set[str] = field(default_factory=set[str])
    """Runs that failed here: not tried again by this process."""

    def backbone(self, file: NetworkFile) -> Backbone:
        """The network of a file.

        Raises:
            ModelError: the file is not there; the text says where it was looked for.
        """
        if file not in self.backbones:
            self.backbones[file] = load_backbone(
                file.model,
                weights=None if file.weights is None else self._weights(file.weights),
                overrides=BackboneOverrides(image_size=file.image_size),
            )
        return self.backbones[file]

    def _weights(self, name: str) -> Path:
        fault = self.missing_weights(NetworkFile("", name))
        if fault or self.models is None:
            raise ModelError(fault)
        return self.models / name

    def missing_weights(self, file: NetworkFile) -> str:
        """Fault of the file of a network, in words; empty where it is there."""
        if file.weights is None:
            return ""
        if self.models is None:
            return f"{file.weights}: is needed. Give the folder that holds it: --models DIR."
        path = self.models / file.weights
        if path.is_file():
            return ""
        return (
            f"{path}: is needed and not there. Put the network there, a .json of its input "
            "statistics beside it, or give another folder: --models DIR."
        )

    def dataset(self, target: str, backbone: Backbone) -> ImageDataset:
        """A target (`kintune_paper.image_sets`) at the network's size, or the whole official
        set.

        Raises:
            DataError: the set is not there; the text says where it was looked for.
        """
        key = (target, backbone.input.image_size)
        if key not in self.datasets:
            self.datasets[key] = load_dataset(self._folder(target), backbone.input)
        return self.datasets[key]

    def _folder(self, target: str) -> str | Path:
        if self.is_official:
            return self.official(target)
        labels = load_backbone("pocket").source_labels
        with locked(self.root / "targets.lock"):
            return target_folder(self._place(target), target, self.root / "targets", labels)

    def _place(self, target: str) -> Path | None:
        return self.places.get(target) or place_of(self.data, target)

    def missing_set(self, target: str) -> str:
        """Fault of the folder of a set, in words; empty where it is there."""
        if (self.root / "targets" / target / ".complete").exists():
            return ""
        if not self.is_official:
            return what_is_missing(self._place(target), target)
        try:
            list_images(self.official(target))
        except DataError as error:
            return str(error)
        return ""

    def official(self, target: str) -> str:
        """An official set as `load_dataset` takes it.

        Raises:
            DataError: no folder of sets was named.
        """
        if self.data is None:
            raise DataError(f"{target}: is needed. Give the folder that holds it: --data DIR.")
        return f"paper:{target}={self.data.absolute() / target}"


class StudyTask(NamedTuple):
    """One run of a study: everything that decides it."""

    source: str
    """Name of the network, for the record."""
    backbone: Backbone
    dataset: ImageDataset
    config: RunConfig


def run_task(
    task: StudyTask, context: StudyContext, archive: RunArchive, *, keep_model: bool = False
) -> RunRecord | None:
    """Run it, unless another process does or it is recorded; None where it was not run here.

    Raises:
        KintuneError: the recorded runs of this network and set are of other images; or what the
            person must fix before the run can succeed.
    """
    source, backbone, dataset, config = task
    if config.id in context.given_up:
        return None
    here, folder = replicas(), context.root / config.id
    with (
        locked(context.root / "claims" / config.id, wait=False)
        if here.is_first
        else nullcontext() as held
    ):
        recorded = archive.read(source, dataset.name)
        configs = [other.config for other in recorded]
        refuse_other_images(archive.path(source, dataset.name), configs, dataset)
        is_due = held is not None and config.id_on_any_device not in {
            other.id_on_any_device for other in configs
        }
        if not here.from_first(is_due):
            return None
        if here.is_first:
            take_over(config, context.earlier, folder)
        record = recorded_run(backbone, dataset, config, folder, device=context.device)
        if record.result.status == "failed":
            context.given_up.add(config.id)
        elif here.is_first:
            archive.add(source, dataset, record)
            if not keep_model:
                keep_only_json(folder)
    return record


def take_over(config: RunConfig, outputs: Iterable[Path], folder: Path) -> None:
    """Copy a finished run of the same configuration, with its model, out of other outputs."""
    for output in outputs:
        run = output / "runs" / config.id
        if (run / "result.json").exists() and (run / "model").is_dir() and not folder.exists():
            temporary = folder.with_name(f".{folder.name}")
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.copytree(run, temporary)
            temporary.rename(folder)


def refuse_other_images(path: Path, configs: Sequence[RunConfig], dataset: ImageDataset) -> None:
    """Make sure that recorded runs are of the images at hand.

    Raises:
        KintuneError: they are not.
    """
    if {config.data_sha256 for config in configs} - {dataset.content_hash}:
        raise KintuneError(
            f"{path}: these runs were made with other images than {dataset.source} holds now. "
            "Restore the images, or move the file away."
        )
